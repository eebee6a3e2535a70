package policies

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
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
		"web-only": {networkFirewall}, "drop-rest": {networkFirewall}, "callers": programs,
	}
)

// convertFlags are the flags of convert.
type convertFlags struct {
	from, to, callers, format string
	functions, homeNet        []string
	home                      []netip.Prefix // of homeNet
	smokescreen               smokescreen.Options
	squid                     squid.Options
	firewall                  networkfirewall.Options
}

// convertHelp is what convert says of itself.
const convertHelp = `convert --from reads an ACL of Smokescreen (version v1), a squid.conf or a stateful rule
group of AWS Network Firewall, and prints the policy that says the same. convert --to
reads a policy, and prints what another program has to be told. It approximates nothing:
what cannot be said exactly is named with its line, and then nothing else is printed.
FILE is a path, or "-" for standard input. --callers is a policy file without rules:
settings, and who calls as which function (identify), where FILE does not say it.

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

To network-firewall: a rule group in strict order, for create-rule-group, of what one
--function may reach. The firewall knows callers by their addresses alone: those of
sources, or --home-net. Refused are tls: any, addresses, ends of rules, report mode.

To route53-dns-firewall: a CloudFormation template with the lists and the rule group of
what each --function may look up. It holds for whole VPCs, whoever asks.

To json-schema: the JSON Schema of policy files, by which editors complete keys.

What is compared is what both lists say of a host. Addresses that it resolves to and its
aliases are judged here as ever.

Exit code 0: done; 1: something cannot be said, or a file cannot be read.`

// newConvert returns the command that makes policies of the lists of other programs.
func newConvert() *cobra.Command {
	var f convertFlags
	cmd := &cobra.Command{
		Use:   "convert --from PROGRAM|--to PROGRAM [--format text|json] [FILE]",
		Short: "Make a policy of the list of another program, or the other way round",
		Long:  convertHelp,
		Example: `  proxy convert --from smokescreen --callers callers.yaml acl.yaml > egress.yaml
  proxy convert --from smokescreen --callers callers.yaml --report-until 2027-03-31 --default-for batch acl.yaml
  proxy convert --from squid --connect-only --names-only squid.conf
  aws network-firewall describe-rule-group --rule-group-name egress --type STATEFUL |
    proxy convert --from network-firewall --web-only --callers callers.yaml -
  proxy convert --to network-firewall --function billing-webhook egress.yaml > group.json`,
		Args: func(cmd *cobra.Command, args []string) error {
			if f.to == jsonSchema {
				return nil // which is of no file; see checkTo
			}
			return commandline.Arguments("FILE")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(cmd, args); err != nil {
				return err
			}
			convert := f.convert
			if f.to != "" {
				convert = f.convertTo
			}
			text, err := convert(args, cmd.InOrStdin())
			if f.format == "json" {
				return f.writeJSON(cmd.OutOrStdout(), text, err)
			}
			if err == nil {
				_, err = cmd.OutOrStdout().Write(text)
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
	cmd.Flags().StringVar(&f.to, "to", "", "`PROGRAM` that is told what the policy FILE says: network-firewall, route53-dns-firewall or json-schema")
	cmd.Flags().StringVar(&f.callers, "callers", "", "policy `FILE` without rules, which says who calls; - is standard input")
	cmd.Flags().StringVar(&f.format, "format", "text", "`FORMAT` of the answer: text, which is what was converted, or json, which has problems too")
	cmd.Flags().StringVar(&f.smokescreen.ReportUntil, "report-until", "", "last `DAY` of report mode, such as 2027-03-31, for services with the action report")
	cmd.Flags().StringSliceVar(&f.smokescreen.DefaultFor, "default-for", nil, "`SERVICE` that is not listed and gets the default; more than one by commas, or by more flags")
	cmd.Flags().BoolVar(&f.smokescreen.TLSOnly, "tls-only", false, "narrow each rule to TLS on port 443 (smokescreen, network-firewall)")
	cmd.Flags().BoolVar(&f.squid.ConnectOnly, "connect-only", false, "take what Squid says of CONNECT, whatever it says of other methods")
	cmd.Flags().BoolVar(&f.squid.NamesOnly, "names-only", false, "allow no literal address, where Squid would look its name up")
	cmd.Flags().BoolVar(&f.firewall.WebOnly, "web-only", false, "look at TLS on port 443 and at plain HTTP on port 80 alone")
	cmd.Flags().BoolVar(&f.firewall.DropRest, "drop-rest", false, "say that the firewall drops what no rule of the group decides")
	cmd.Flags().StringSliceVar(&f.functions, "function", nil, "`NAME` of the function that a rule group is for, in place of that of the group; with --to route53-dns-firewall more than one by commas, or by more flags")
	cmd.Flags().StringSliceVar(&f.homeNet, "home-net", nil, "`RANGE` from which the function calls, whatever its identify says; more than one by commas, or by more flags")
}

// check says what no command line may say.
func (f *convertFlags) check(cmd *cobra.Command, args []string) error {
	if err := commandline.OneOf("format", f.format, "json", "text"); err != nil {
		return err
	}
	if (f.from == "") == (f.to == "") {
		return errors.New("it is either from a program or to one; write --from PROGRAM or --to PROGRAM")
	}
	if f.to != "" {
		if err := f.checkFlags(cmd, f.to); err != nil {
			return err
		}
		return f.checkTo(cmd, args)
	}
	return f.checkFrom(cmd, args[0])
}

// checkFrom says what no command line may say of --from.
func (f *convertFlags) checkFrom(cmd *cobra.Command, file string) error {
	if err := commandline.OneOf("from", f.from, programs...); err != nil {
		return err
	}
	if file == "-" && f.callers == "-" {
		return errors.New("FILE and --callers cannot both be standard input; write a path for one")
	}
	if err := f.checkFlags(cmd, f.from); err != nil {
		return err
	}
	if len(f.functions) > 1 {
		return fmt.Errorf("a rule group is one function; leave %q out of --function", f.functions[1])
	}
	f.firewall.Function = strings.Join(f.functions, "")
	if f.firewall.TLSOnly = f.smokescreen.TLSOnly; f.firewall.TLSOnly && f.firewall.WebOnly {
		return errors.New("--tls-only and --web-only are two views; write one")
	}
	if until := f.smokescreen.ReportUntil; until != "" {
		if _, err := time.Parse(time.DateOnly, until); err != nil {
			return fmt.Errorf("--report-until: %q is not a day; write one such as 2027-03-31", until)
		}
	}
	return nil
}

// checkFlags says which flag is not for the program.
func (f *convertFlags) checkFlags(cmd *cobra.Command, program string) error {
	for flag, of := range flagsOf {
		if cmd.Flags().Changed(flag) && (f.to != "" || !slices.Contains(of, program)) {
			return fmt.Errorf("--%s is for --from %s; leave it out", flag, strings.Join(of, " and "))
		}
	}
	if f.to == "" && cmd.Flags().Changed("home-net") {
		return fmt.Errorf("--home-net is for --to %s; leave it out", networkFirewall)
	}
	if f.to == "" && f.from != networkFirewall && cmd.Flags().Changed("function") {
		return fmt.Errorf("--function is for --from %s, and for --to; leave it out", networkFirewall)
	}
	return nil
}

// convert returns the policy.
func (f *convertFlags) convert(args []string, stdin io.Reader) ([]byte, error) {
	file := args[0]
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

// writeJSON writes what came out, or why nothing has. What is no problem of a file is an
// error as in text.
func (f *convertFlags) writeJSON(w io.Writer, text []byte, err error) error {
	problems, out := []problem{}, (*string)(nil)
	wrong := (*config.Error)(nil)
	switch {
	case errors.As(err, &wrong):
		for _, p := range wrong.Problems {
			problems = append(problems, problem{p.File, p.Line, p.Key, p.Text})
		}
	case err != nil:
		return commandline.Failed(err)
	default:
		converted := string(text)
		out = &converted
	}
	key := "policy"
	if f.to != "" {
		key = "converted"
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	failed := enc.Encode(map[string]any{key: out, "problems": problems}) // the key is null where there are problems
	if failed != nil || err == nil {
		return commandline.Failed(failed)
	}
	return &commandline.Exit{Code: commandline.ExitFailed}
}
