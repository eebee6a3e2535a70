package networkfirewall

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/convert"
)

// maxRules is the capacity of all stateful groups of a firewall policy; each rule takes one.
// https://docs.aws.amazon.com/network-firewall/latest/developerguide/nwfw-rule-group-capacity.html
const maxRules = 30_000

// group is a rule group as create-rule-group reads it.
type group struct {
	RuleVariables struct {
		IPSets map[string]definition
	}
	RulesSource struct {
		RulesString string
	}
	StatefulRuleOptions struct {
		RuleOrder string
	}
}

// definition is the value of a variable.
type definition struct{ Definition []string }

// Write writes a rule group, in strict order, that passes what the function may reach by TLS
// and by plain HTTP, and drops all other TLS and plain HTTP. home is from where it calls; nil:
// its sources, which then have to be all that identifies it. What the group cannot say is a
// *yamlread.Error.
func Write(e *convert.Extracted, home []netip.Prefix) ([]byte, error) {
	w := writer{Extracted: e}
	if home == nil {
		home = e.Caller.Sources
		if len(e.Caller.Tokens)+len(e.Caller.Certificates)+len(e.Caller.AWS) > 0 {
			e.Refuse(e.At, e.Key+".identify", "Network Firewall knows callers by their addresses alone; give those of the function with --home-net")
		}
	}
	var g group
	g.RuleVariables.IPSets = map[string]definition{"HOME_NET": {}}
	for _, p := range home {
		g.RuleVariables.IPSets["HOME_NET"] = definition{append(g.RuleVariables.IPSets["HOME_NET"].Definition, p.String())}
	}
	w.rules()
	g.RulesSource.RulesString = w.text.String()
	g.StatefulRuleOptions.RuleOrder = "STRICT_ORDER"
	if w.sid > maxRules {
		e.Refuse(e.At, e.Key, "it would be %d rules, and a firewall policy holds %d; write fewer", w.sid, maxRules)
	}
	if err := convert.Errors(e); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(g); err != nil {
		return nil, fmt.Errorf("writing the rule group: %w", err)
	}
	return out.Bytes(), nil
}

// writer writes rules of Suricata.
type writer struct {
	*convert.Extracted
	text strings.Builder
	sid  int
}

// rules writes what is denied, what is passed, and that the rest is dropped.
func (w *writer) rules() {
	for _, p := range w.Deny {
		w.rule("drop", "tls", allPorts(), name("tls", p), "deny")
		w.rule("drop", "http", allPorts(), name("http", p), "deny")
	}
	for i := range w.Rules {
		r := &w.Rules[i]
		switch {
		case r.Pattern.IsZero():
			w.Refuse(r.At, r.Key, "it is about addresses, and the group is about names; take it out, or write it by hand beside the group")
		case r.Conditions.TLS == policy.TLSAny:
			w.Refuse(r.At, r.Key, "tls: any lets protocols through that show no name, by which the firewall knows a host; write tls: verify")
		case len(r.Conditions.Addresses) > 0:
			w.Refuse(r.At, r.Key, "its host may resolve to private addresses, and the group is about what lies outside; take addresses out")
		default:
			w.rule("pass", "tls", r.Conditions.Ports, name("tls", r.Pattern), r.Key)
			for _, p := range r.Conditions.Ports {
				if p.Contains(80) { // the one port on which such a rule is for plain HTTP
					w.rule("pass", "http", hostname.Ports(80), name("http", r.Pattern), r.Key)
				}
			}
		}
	}
	w.rule("drop", "tls", allPorts(), "ssl_state:client_hello; ", w.Key+" has no rule for it")
	w.rule("drop", "http", allPorts(), `http.header_names; content:"|0d 0a|"; startswith; `, w.Key+" has no rule for it")
}

// rule writes one rule.
func (w *writer) rule(action, protocol string, ports []hostname.PortRange, what, why string) {
	w.sid++
	_, _ = fmt.Fprintf(&w.text, "%s %s $HOME_NET any -> $EXTERNAL_NET %s (%smsg:\"%s\"; flow:to_server, established; sid:%d; rev:1;)\n",
		action, protocol, portText(ports), what, why, w.sid) // a Builder never fails
}

// name returns the options that fit the names of a pattern, as Network Firewall writes those
// of a domain list.
func name(protocol string, p hostname.Pattern) string {
	text, form := p.Name().String(), `content:"%s"; startswith; %sendswith; `
	switch {
	case p.Wildcard() && p.Exact():
		form = `dotprefix; content:".%s"; %sendswith; `
	case p.Wildcard():
		form = `content:".%s"; %sendswith; `
	}
	if protocol == "http" {
		return "http.host; " + fmt.Sprintf(form, text, "") // which is in small letters
	}
	return "ssl_state:client_hello; tls.sni; " + fmt.Sprintf(form, text, "nocase; ")
}

// portText writes ports as Suricata does.
func portText(all []hostname.PortRange) string {
	all = hostname.MergePorts(all)
	if len(all) == 1 && all[0] == allPorts()[0] {
		return "any"
	}
	parts := make([]string, len(all))
	for i, p := range all {
		parts[i] = strings.ReplaceAll(p.String(), "-", ":")
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return "[" + strings.Join(parts, ",") + "]"
}
