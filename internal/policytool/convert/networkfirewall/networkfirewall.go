// Package networkfirewall reads stateful rule groups of AWS Network Firewall and says what
// they pass as a policy of ours, and writes one for what a function of a policy may reach.
//
// What it does: Read takes what "aws network-firewall describe-rule-group" prints, or the rule
// group alone: domain lists, Suricata compatible rules and standard stateful rules. The rules
// are asked in their order, strict or by action, about a member of each region of names that
// they tell apart, on each range of ports, for TLS and for plain HTTP. Write is the way back.
//
// What it does not do: it does not guess. An option of which no policy says the same is a
// problem with its place, and so is traffic that no rule of the group decides, unless the
// caller says that it is dropped. It compares names: the firewall believes the name that
// a client shows, whatever the address is; a proxy of ours looks the name up itself.
//
//	p, err := networkfirewall.Read("group.json", data, networkfirewall.Options{TLSOnly: true})
package networkfirewall

import (
	"fmt"
	"net/netip"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/convert"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/yamlread"
)

// Options say what the rule group leaves open, and narrow what is looked at.
type Options struct {
	// Function is the name of the function that the group is about; "": that of the group.
	Function string
	// TLSOnly narrows each rule to TLS on port 443.
	TLSOnly bool
	// WebOnly looks at TLS on port 443 and at plain HTTP on port 80 alone, whatever the group
	// says of other ports and of TLS on port 80.
	WebOnly bool
	// DropRest says that the firewall drops what no rule of the group decides.
	DropRest bool
}

// Read reads a rule group. What is wrong with it, and what a policy cannot say of it, is a
// *yamlread.Error that calls the file name.
func Read(name string, data []byte, o Options) (*convert.Policy, error) {
	r := &reader{Reader: yamlread.New(name, nil), options: o, name: name, portSets: map[string][]hostname.PortRange{}}
	root, ok := r.Document(data, yamlread.Hints{Empty: "write what describe-rule-group prints", Anchors: "write the values out"})
	if ok {
		r.document(root)
	}
	if err := r.Err(); err != nil {
		return nil, err
	}
	t := newTable(r)
	p := t.policy()
	if err := r.Err(); err != nil {
		return nil, err
	}
	return p, nil
}

// rule is one that passes or drops traffic from the inside. Rules without a say in that are
// not kept.
type rule struct {
	at        yamlread.Position
	key       string               // RulesSource.RulesString, line 2
	allow     bool                 // it passes; false: it drops
	tls, http bool                 // what it is about
	host      hostname.Pattern     // zero: every host
	ports     []hostname.PortRange // merged; of the destination
	early     bool                 // it drops packets before a name is known
	anySource bool                 // it is not about $HOME_NET alone
}

// reader reads one rule group.
type reader struct {
	*yamlread.Reader
	name     string
	options  Options
	function string            // the name of the function
	top      yamlread.Position // of the rules
	strict   bool              // rules are in their order; false: those that pass come first
	homeText []string          // the definition of HOME_NET as it is written
	home     []netip.Prefix    // nil: the group does not define it
	portSets map[string][]hostname.PortRange
	rules    []rule
}

// failRule notes a problem with a rule.
func (r *reader) failRule(u *rule, format string, args ...any) {
	r.FailAt(u.at, u.key, "%s", fmt.Sprintf(format, args...))
}

// allPorts are all that there are.
func allPorts() []hostname.PortRange { return []hostname.PortRange{{First: 1, Last: 65535}} }
