package policies

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/commandline"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/convert"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/convert/networkfirewall"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/convert/smokescreen"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/convert/squid"
)

// The programs whose lists convert reads.
const (
	fromSmokescreen = "smokescreen"
	fromSquid       = "squid"
	networkFirewall = "network-firewall"
)

var (
	programs = []string{networkFirewall, fromSmokescreen, fromSquid}
	// flagsOf are the programs that a flag is for, where it is not for all.
	flagsOf = map[string][]string{
		"report-until": {fromSmokescreen}, "default-for": {fromSmokescreen}, "tls-only": {fromSmokescreen, networkFirewall},
		"connect-only": {fromSquid}, "names-only": {fromSquid},
		"web-only": {networkFirewall}, "drop-rest": {networkFirewall}, "function": {networkFirewall},
	}
)

// convertFlags are the flags of convert.
type convertFlags struct {
	from, callers, format string
	smokescreen           smokescreen.Options
	squid                 squid.Options
	firewall              networkfirewall.Options
}

// convertHelp is what convert says of itself.
const convertHelp = `convert reads an ACL of Smokescreen (version v1), a squid.conf or a stateful rule group
of AWS Network Firewall, and prints the policy that says the same. It approximates
nothing: what no policy says exactly is named with its line, and then nothing else is
printed. FILE is a path, or "-" for standard input. --callers is a policy file without
rules: settings, and who calls as which function (identify), where FILE does not say it.

Smokescreen: a service is a function, its project the owner, and --callers has identify
for each. The ACL knows no ports, so its rules are for every port and any protocol;
--tls-only narrows them to TLS on port 443. Report mode needs an end here,
--report-until. The default is for nobody but the services that --default-for names.
Refused are: the action open, external proxies, domains whose TLS is opened, wildcards
over public suffixes, addresses, and a domain of a service that the global deny list has
too, where that list is needed: here it wins over every rule.

Squid: http_access in its order, with lists of the types src, dstdomain, port and method
(CONNECT). Sources that the rules tell apart are functions, by the names of their lists.
A rule of ours holds for CONNECT and plain requests alike: where Squid makes a difference,
as with Safe_ports and SSL_ports, --connect-only says that CONNECT alone counts.
--names-only allows no address: without -n Squid allows some by reverse lookups.

Network Firewall: what describe-rule-group prints, or the group alone: domain lists,
rules of Suricata and standard ones, in strict or action order. The group is a function,
called --function or as the group is; HOME_NET is its sources, or --callers says who it is.
TLS with a name is what a rule of ours is for, and plain HTTP on port 80: --web-only looks
at TLS on port 443 and HTTP on 80 alone, --tls-only at the first. What no rule of the group
decides is a problem, unless --drop-rest says that the firewall drops it.

What is compared is what both lists say of a host. Addresses that it resolves to and its
aliases are judged here as ever.

Exit code 0: done; 1: something cannot be said, or a file cannot be read.`

// newConvert returns the command that makes policies of the lists of other programs.
func newConvert() *cobra.Command {
	var f convertFlags
	cmd := &cobra.Command{
		Use:   "convert --from smokescreen|squid|network-firewall [--callers FILE] [--format text|json] FILE",
		Short: "Make a policy of the list of another program",
		Long:  convertHelp,
		Example: `  proxy convert --from smokescreen --callers callers.yaml acl.yaml > egress.yaml
  proxy convert --from smokescreen --callers callers.yaml --report-until 2027-03-31 --default-for batch acl.yaml
  proxy convert --from squid --connect-only --names-only squid.conf
  aws network-firewall describe-rule-group --rule-group-name egress --type STATEFUL |
    proxy convert --from network-firewall --web-only --callers callers.yaml -`,
		Args: commandline.Arguments("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(cmd, args[0]); err != nil {
				return err
			}
			policy, err := f.convert(args[0], cmd.InOrStdin())
			if f.format == "json" {
				return f.writeJSON(cmd.OutOrStdout(), policy, err)
			}
			if err == nil {
				_, err = cmd.OutOrStdout().Write(policy)
			}
			return commandline.Failed(err)
		},
	}
	f.add(cmd)
	return cmd
}

// add adds the flags.
func (f *convertFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.from, "from", "", "`PROGRAM` whose list FILE is: smokescreen, squid or network-firewall")
	cmd.Flags().StringVar(&f.callers, "callers", "", "policy `FILE` without rules, which says who calls; - is standard input")
	cmd.Flags().StringVar(&f.format, "format", "text", "`FORMAT` of the answer: text, which is the policy, or json, which has problems too")
	cmd.Flags().StringVar(&f.smokescreen.ReportUntil, "report-until", "", "last `DAY` of report mode, such as 2027-03-31, for services with the action report")
	cmd.Flags().StringSliceVar(&f.smokescreen.DefaultFor, "default-for", nil, "`SERVICE` that is not listed and gets the default; more than one by commas, or by more flags")
	cmd.Flags().BoolVar(&f.smokescreen.TLSOnly, "tls-only", false, "narrow each rule to TLS on port 443 (smokescreen, network-firewall)")
	cmd.Flags().BoolVar(&f.squid.ConnectOnly, "connect-only", false, "take what Squid says of CONNECT, whatever it says of other methods")
	cmd.Flags().BoolVar(&f.squid.NamesOnly, "names-only", false, "allow no literal address, where Squid would look its name up")
	cmd.Flags().BoolVar(&f.firewall.WebOnly, "web-only", false, "look at TLS on port 443 and at plain HTTP on port 80 alone")
	cmd.Flags().BoolVar(&f.firewall.DropRest, "drop-rest", false, "say that the firewall drops what no rule of the group decides")
	cmd.Flags().StringVar(&f.firewall.Function, "function", "", "`NAME` of the function, in place of that of the rule group")
	_ = cmd.MarkFlagRequired("from")
}

// check says what no command line may say.
func (f *convertFlags) check(cmd *cobra.Command, file string) error {
	if err := commandline.OneOf("from", f.from, programs...); err != nil {
		return err
	}
	if file == "-" && f.callers == "-" {
		return errors.New("FILE and --callers cannot both be standard input; write a path for one")
	}
	for flag, of := range flagsOf {
		if cmd.Flags().Changed(flag) && !slices.Contains(of, f.from) {
			return fmt.Errorf("--%s is for --from %s; leave it out", flag, strings.Join(of, " and "))
		}
	}
	if f.firewall.TLSOnly = f.smokescreen.TLSOnly; f.firewall.TLSOnly && f.firewall.WebOnly {
		return errors.New("--tls-only and --web-only are two views; write one")
	}
	if until := f.smokescreen.ReportUntil; until != "" {
		if _, err := time.Parse(time.DateOnly, until); err != nil {
			return fmt.Errorf("--report-until: %q is not a day; write one such as 2027-03-31", until)
		}
	}
	return commandline.OneOf("format", f.format, "json", "text")
}

// convert returns the policy.
func (f *convertFlags) convert(file string, stdin io.Reader) ([]byte, error) {
	data, err := readPolicy(file, stdin)
	if err != nil {
		return nil, err
	}
	callers := convert.Callers{Name: "callers"}
	if f.callers != "" {
		callers.Name = commandline.NameOf(f.callers)
		if callers.Data, err = readPolicy(f.callers, stdin); err != nil {
			return nil, err
		}
	}
	p, err := f.read(commandline.NameOf(file), data)
	if err != nil {
		return nil, err
	}
	return convert.Assemble(p, callers, config.ReadFile)
}

// read reads the list of the program.
func (f *convertFlags) read(name string, data []byte) (*convert.Policy, error) {
	switch f.from {
	case fromSquid:
		return squid.Read(name, data, f.squid, config.ReadFile)
	case networkFirewall:
		return networkfirewall.Read(name, data, f.firewall)
	}
	return smokescreen.Read(name, data, f.smokescreen)
}

// problem is one of the JSON.
type problem struct {
	File string `json:"file"`
	Line int    `json:"line"`
	Key  string `json:"key"`
	Text string `json:"text"`
}

// writeJSON writes the policy, or why there is none. What is no problem of a file is an error
// as in text.
func (f *convertFlags) writeJSON(w io.Writer, policy []byte, err error) error {
	answer := struct {
		Policy   *string   `json:"policy"` // null: there are problems
		Problems []problem `json:"problems"`
	}{Problems: []problem{}}
	wrong := (*config.Error)(nil)
	switch {
	case errors.As(err, &wrong):
		for _, p := range wrong.Problems {
			answer.Problems = append(answer.Problems, problem{p.File, p.Line, p.Key, p.Text})
		}
	case err != nil:
		return commandline.Failed(err)
	default:
		text := string(policy)
		answer.Policy = &text
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if failed := enc.Encode(answer); failed != nil || err == nil {
		return commandline.Failed(failed)
	}
	return &commandline.Exit{Code: commandline.ExitFailed}
}
