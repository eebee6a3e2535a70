package config

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/ipclass"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/suggest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/yamlread"
)

// ruleBuilder is a rule that is being read.
type ruleBuilder struct {
	spec       policy.RuleSpec
	conditions policy.Conditions
	set        *set
	setName    string
	addresses  yamlread.Node // zero: there are none
	shared     yamlread.Node // of shared_suffix; zero: it is not there
	wide       bool          // shared_suffix: true
}

// rules reads the allow list of a function.
func (r *reader) rules(n yamlread.Node) (all []policy.RuleSpec) {
	r.List(n, func(item yamlread.Node) {
		d := ruleBuilder{conditions: policy.Conditions{Ports: hostname.Ports(443)}}
		before := r.Problems()
		if item.IsMapping() {
			r.longRule(item, &d)
		} else {
			r.host(item, &d)
		}
		r.checkScope(item, &d)
		if r.Problems() > before {
			return
		}
		d.spec.Line = item.Line()
		d.spec.Conditions = r.intern(d.conditions)
		all = append(all, d.spec)
	})
	r.checkRepeats(n, all)
	return all
}

// longRule reads a rule that is a mapping.
func (r *reader) longRule(n yamlread.Node, d *ruleBuilder) {
	found := r.Object(n,
		yamlread.Key("host", func(n yamlread.Node) { r.host(n, d) }),
		yamlread.Key("set", func(n yamlread.Node) { r.setRef(n, d) }),
		yamlread.Key("cidr", func(n yamlread.Node) { r.cidr(n, d) }),
		yamlread.Key("ports", func(n yamlread.Node) { d.conditions.Ports = r.ports(n) }),
		yamlread.Key("tls", func(n yamlread.Node) {
			d.conditions.TLS = policy.TLSMode(r.Word(n, policy.TLSVerify.String(), policy.TLSAny.String()))
		}),
		yamlread.Key("expires", func(n yamlread.Node) { d.conditions.Expires = r.LastDay(n) }),
		yamlread.Key("ticket", func(n yamlread.Node) { d.conditions.Ticket = r.Text(n, maxFreeText) }),
		yamlread.Key("addresses", func(n yamlread.Node) { d.addresses, d.conditions.Addresses = n, r.openable(n) }),
		yamlread.Key("shared_suffix", func(n yamlread.Node) { d.shared, d.wide = n, r.Boolean(n) }),
	)
	var kinds []string
	for _, kind := range []string{"host", "set", "cidr"} {
		if _, ok := found[kind]; ok {
			kinds = append(kinds, kind)
		}
	}
	switch {
	case n.IsTagged(): // said before
	case len(kinds) == 0:
		r.Fail(n, "the rule covers nothing; write one of host, set, cidr")
	case len(kinds) > 1:
		r.Fail(n, "the rule has %s; write a rule for each", strings.Join(kinds, " and "))
	case kinds[0] != "host" && !d.addresses.IsZero():
		r.Fail(d.addresses, "it belongs to one host; write it in a rule with host")
	case kinds[0] == "cidr" && !d.shared.IsZero():
		r.Fail(d.shared, "it is about names; write it in a rule with host or set")
	}
}

// host reads the pattern of a rule.
func (r *reader) host(n yamlread.Node, d *ruleBuilder) {
	s, ok := r.Scalar(n, "a pattern such as api.example.com")
	if !ok {
		return
	}
	p, text := pattern(s)
	if text != "" {
		r.Fail(n, "%s", text)
		return
	}
	d.spec.Pattern = p
}

// setRef reads the name of a set.
func (r *reader) setRef(n yamlread.Node, d *ruleBuilder) {
	name, ok := r.Scalar(n, "the name of a set")
	if !ok {
		return
	}
	if d.set = r.sets[name]; d.set == nil {
		hint := "write it under sets"
		switch {
		case len(r.sets) > suggest.MaxWords:
			hint = "write one that is defined" // and do not sort them all for each mistake
		case len(r.sets) > 0:
			hint = suggest.For(name, r.setNames())
		}
		r.Fail(n, "there is no set %s; %s", yamlread.Quote(name), hint)
		return
	}
	d.setName, d.spec.Set = name, 1+d.set.index
	if d.set.ports != nil {
		d.conditions.Ports = d.set.ports // the rule's own are read behind it
	}
}

// cidr reads the range of a rule for literal addresses.
func (r *reader) cidr(n yamlread.Node, d *ruleBuilder) {
	if p, ok := r.Prefix(n); ok && r.canOpen(n, p) {
		d.spec.Prefix = p
	}
}

// openable reads the ranges that a rule opens for its host.
func (r *reader) openable(n yamlread.Node) (all []netip.Prefix) {
	r.List(n, func(item yamlread.Node) {
		if p, ok := r.Prefix(item); ok && r.canOpen(item, p) {
			all = append(all, p)
		}
	})
	return all
}

// canOpen notes a range that no rule can open.
func (r *reader) canOpen(n yamlread.Node, p netip.Prefix) bool {
	never := ipclass.AlwaysBlockedPrefix(p)
	if never {
		r.Fail(n, "%s can be opened by no rule: such ranges serve the credentials of the machine; remove it", p)
	}
	return !never
}

// checkScope notes wildcards that cover what others own.
func (r *reader) checkScope(n yamlread.Node, d *ruleBuilder) {
	const cure = "write the names that are needed, or shared_suffix: true on this rule"
	if d.set != nil && !d.set.shared.IsZero() && !d.wide {
		w := d.set.where
		r.Fail(n, "set %s has %s (%s:%d), where anyone can rent a name; %s", d.setName, yamlread.Quote(d.set.shared.String()), w.File, w.Line, cure)
	}
	if d.spec.Pattern.IsZero() {
		return
	}
	switch r.wildcardScope(d.spec.Pattern) {
	case hostname.ScopeRegistry:
		r.Fail(n, "%s", tooWide(d.spec.Pattern))
	case hostname.ScopeShared:
		if !d.wide {
			r.Fail(n, "%s covers names that anyone can rent; %s", yamlread.Quote(d.spec.Pattern.String()), cure)
		}
	}
}

// intern returns the conditions, one value for all rules with equal ones: a file of
// a hundred thousand short rules has one.
func (r *reader) intern(t policy.Conditions) *policy.Conditions {
	key := ""
	if !isDefault(t) {
		key = fmt.Sprintf("%v %d %s %q %v", t.Ports, t.TLS, t.Expires.Format(time.DateOnly), t.Ticket, t.Addresses)
	}
	shared := r.conditions[key]
	if shared == nil {
		shared = &t
		r.conditions[key] = shared
	}
	return shared
}

// isDefault reports whether t are the conditions of the short form.
func isDefault(t policy.Conditions) bool {
	return len(t.Ports) == 1 && t.Ports[0] == hostname.Port(443) && t.TLS == policy.TLSVerify && t.Expires.IsZero() && t.Ticket == "" && len(t.Addresses) == 0
}
