package policies

import (
	"fmt"
	"io"
	"net/netip"

	"github.com/spf13/cobra"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/config/schema"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/commandline"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/convert"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/convert/dnsfirewall"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/convert/networkfirewall"
)

// What convert writes of a policy, beside networkFirewall.
const (
	dnsFirewall = "route53-dns-firewall"
	jsonSchema  = "json-schema"
)

// checkTo says what no command line may say of --to.
func (f *convertFlags) checkTo(cmd *cobra.Command, args []string) error {
	if err := commandline.OneOf("to", f.to, jsonSchema, networkFirewall, dnsFirewall); err != nil {
		return err
	}
	switch {
	case f.to == jsonSchema && len(args) > 0:
		return fmt.Errorf("the schema is that of every policy; leave %q out", args[0])
	case f.to != jsonSchema && len(f.functions) == 0:
		return fmt.Errorf("--to %s is for some functions; name them with --function", f.to)
	case f.to == networkFirewall && len(f.functions) > 1:
		return fmt.Errorf("a rule group is for one function; leave %q out of --function", f.functions[1])
	case f.to != networkFirewall && cmd.Flags().Changed("home-net"):
		return fmt.Errorf("--home-net is for --to %s; leave it out", networkFirewall)
	case f.to == jsonSchema && len(f.functions) > 0:
		return fmt.Errorf("--function is not for --to %s; leave it out", jsonSchema)
	}
	return f.parseHomeNet()
}

// parseHomeNet reads the ranges of --home-net.
func (f *convertFlags) parseHomeNet() error {
	for _, s := range f.homeNet {
		p, err := netip.ParsePrefix(s)
		if err != nil || p != p.Masked() {
			return fmt.Errorf("--home-net: %q is not a range of addresses; write one such as 10.0.1.0/24", s)
		}
		f.home = append(f.home, p)
	}
	return nil
}

// convertTo returns what another program is told of a policy.
func (f *convertFlags) convertTo(args []string, stdin io.Reader) ([]byte, error) {
	if f.to == jsonSchema {
		return []byte(schema.Policy), nil
	}
	data, err := readPolicy(args[0], stdin)
	if err != nil {
		return nil, err
	}
	name := commandline.NameOf(args[0])
	cfg, err := config.Parse(name, data, config.ReadFile)
	if err != nil {
		return nil, err
	}
	all := make([]*convert.Extracted, len(f.functions))
	for i, function := range f.functions {
		all[i] = convert.Extract(cfg, name, function)
	}
	if f.to == dnsFirewall {
		return dnsfirewall.Write(all, cfg.DNS)
	}
	return networkfirewall.Write(all[0], f.home)
}
