package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/ipclass"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/suggest"
)

// ruleBuilder is a rule that is being read.
type ruleBuilder struct {
	spec       policy.RuleSpec
	conditions policy.Conditions
	set        *set
	setName    string
	addresses  value // zero: there are none
	shared     value // of shared_suffix; zero: it is not there
	wide       bool  // shared_suffix: true
}

// rules reads the allow list of a function.
func (r *reader) rules(v value) (all []policy.RuleSpec) {
	r.list(v, func(item value) {
		d := ruleBuilder{conditions: policy.Conditions{Ports: []uint16{443}}}
		before := len(r.problems)
		if item.node.Kind == yaml.MappingNode {
			r.longRule(item, &d)
		} else {
			r.host(item, &d)
		}
		r.checkScope(item, &d)
		if len(r.problems) > before {
			return
		}
		d.spec.Line = item.line
		d.spec.Conditions = r.share(d.conditions)
		all = append(all, d.spec)
	})
	return all
}

// longRule reads a rule that is a mapping.
func (r *reader) longRule(v value, d *ruleBuilder) {
	found := r.object(v, []field{
		{"host", func(v value) { r.host(v, d) }},
		{"set", func(v value) { r.setRef(v, d) }},
		{"cidr", func(v value) { r.cidr(v, d) }},
		{"ports", func(v value) { d.conditions.Ports = r.ports(v) }},
		{"tls", func(v value) {
			d.conditions.TLS = policy.TLSMode(r.word(v, policy.TLSVerify.String(), policy.TLSAny.String()))
		}},
		{"expires", func(v value) { d.conditions.Expires = r.lastDay(v) }},
		{"ticket", func(v value) { d.conditions.Ticket = r.text(v) }},
		{"addresses", func(v value) { d.addresses, d.conditions.Addresses = v, r.openable(v) }},
		{"shared_suffix", func(v value) { d.shared, d.wide = v, r.boolean(v) }},
	})
	var kinds []string
	for _, kind := range []string{"host", "set", "cidr"} {
		if _, ok := found[kind]; ok {
			kinds = append(kinds, kind)
		}
	}
	switch {
	case v.node.Kind != yaml.MappingNode || v.node.Style&yaml.TaggedStyle != 0:
		return // said before
	case len(kinds) == 0:
		r.fail(v, "the rule covers nothing; write one of host, set, cidr")
	case len(kinds) > 1:
		r.fail(v, "the rule has %s; write a rule for each", strings.Join(kinds, " and "))
	case kinds[0] != "host" && d.addresses.node != nil:
		r.fail(d.addresses, "it belongs to one host; write it in a rule with host")
	case kinds[0] == "cidr" && d.shared.node != nil:
		r.fail(d.shared, "it is about names; write it in a rule with host or set")
	}
}

// host reads the pattern of a rule.
func (r *reader) host(v value, d *ruleBuilder) {
	s, ok := r.scalar(v, "a pattern such as api.example.com")
	if !ok {
		return
	}
	p, text := pattern(s)
	if text != "" {
		r.fail(v, "%s", text)
		return
	}
	d.spec.Pattern = p
}

// setRef reads the name of a set.
func (r *reader) setRef(v value, d *ruleBuilder) {
	name, ok := r.scalar(v, "the name of a set")
	if !ok {
		return
	}
	if d.set = r.sets[name]; d.set == nil {
		hint := "write it under sets"
		if len(r.sets) > 0 {
			hint = suggest.For(name, r.setNames())
		}
		r.fail(v, "there is no set %s; %s", quote(name), hint)
		return
	}
	d.setName, d.spec.Set = name, 1+d.set.index
}

// cidr reads the range of a rule for literal addresses.
func (r *reader) cidr(v value, d *ruleBuilder) {
	if p, ok := r.prefix(v); ok && r.canOpen(v, p) {
		d.spec.Prefix = p
	}
}

// openable reads the ranges that a rule opens for its host.
func (r *reader) openable(v value) (all []netip.Prefix) {
	r.list(v, func(item value) {
		if p, ok := r.prefix(item); ok && r.canOpen(item, p) {
			all = append(all, p)
		}
	})
	return all
}

// canOpen notes a range that no rule can open.
func (r *reader) canOpen(v value, p netip.Prefix) bool {
	never := ipclass.AlwaysBlockedPrefix(p)
	if never {
		r.fail(v, "%s can be opened by no rule: credentials of the machine lie in such ranges; remove it", p)
	}
	return !never
}

// ports reads the ports of a rule.
func (r *reader) ports(v value) (all []uint16) {
	if r.list(v, func(item value) {
		n, ok := r.integer(item, 1, 65535)
		switch {
		case !ok:
		case slices.Contains(all, uint16(n)):
			r.fail(item, "%d is listed twice; write it once", n)
		default:
			all = append(all, uint16(n))
		}
	}) && len(v.node.Content) == 0 {
		r.fail(v, "the rule has no port; write at least one, or leave the key out for [443]")
	}
	return all
}

// checkScope notes wildcards that cover what others own.
func (r *reader) checkScope(v value, d *ruleBuilder) {
	const cure = "write the names that are needed, or shared_suffix: true on this rule"
	if d.set != nil && !d.set.shared.IsZero() && !d.wide {
		w := d.set.where
		r.fail(v, "set %s has %s (%s:%d), where anyone can rent a name; %s", d.setName, quote(d.set.shared.String()), w.File, w.Line, cure)
	}
	if d.spec.Pattern.IsZero() {
		return
	}
	switch r.wildcardScope(d.spec.Pattern) {
	case hostname.ScopeRegistry:
		r.fail(v, "%s", tooWide(d.spec.Pattern))
	case hostname.ScopeShared:
		if !d.wide {
			r.fail(v, "%s covers names that anyone can rent; %s", quote(d.spec.Pattern.String()), cure)
		}
	}
}

// share returns the conditions, one value for all rules with equal ones: a file of
// a hundred thousand short rules has one.
func (r *reader) share(t policy.Conditions) *policy.Conditions {
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
	return len(t.Ports) == 1 && t.Ports[0] == 443 && t.TLS == policy.TLSVerify && t.Expires.IsZero() && t.Ticket == "" && len(t.Addresses) == 0
}
