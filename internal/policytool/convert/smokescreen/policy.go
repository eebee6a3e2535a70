package smokescreen

import (
	"slices"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/convert"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/yamlread"
)

// policy says what the ACL allows.
func (r *reader) policy() (*convert.Policy, error) {
	r.addDefaults()
	// What both global lists have is denied, so it is allowed to nobody by them.
	r.allow = slices.DeleteFunc(r.allow, func(a domain) bool {
		return slices.ContainsFunc(r.deny, func(d domain) bool { return convert.Covers(d.pattern, a.pattern) })
	})
	p := &convert.Policy{}
	if r.denyMatters() {
		r.checkDeny()
		for _, d := range r.deny {
			p.Deny = append(p.Deny, d.pattern)
		}
	}
	for _, s := range r.services {
		f := convert.Function{At: s.Position(), Key: s.Path(), Name: s.name, Owner: s.project}
		if s.action == report {
			f.ReportUntil = r.options.ReportUntil
		}
		there := map[hostname.Pattern]bool{}
		for _, d := range slices.Concat(s.domains, r.allow) {
			if !there[d.pattern] {
				there[d.pattern] = true
				f.Allow = append(f.Allow, r.rule(d))
			}
		}
		p.Functions = append(p.Functions, f)
	}
	return p, r.Err()
}

// rule returns the rule of a domain.
func (r *reader) rule(d domain) convert.Rule {
	if r.options.TLSOnly {
		return convert.Rule{Pattern: d.pattern, Shared: d.shared}
	}
	return convert.Rule{Pattern: d.pattern, Ports: []hostname.PortRange{{First: 1, Last: 65535}}, TLSAny: true, Shared: d.shared}
}

// addDefaults makes a service of each caller that is to have the default. The default of
// everybody else has to be that nothing is allowed, for that is what becomes of them.
func (r *reader) addDefaults() {
	top := yamlread.Position{File: r.name, Line: 1}
	if r.fallback == nil {
		for _, name := range r.options.DefaultFor {
			r.FailAt(top, "default", "there is none, and %s is to have it; leave --default-for out", yamlread.Quote(name))
		}
		return
	}
	s := *r.fallback
	if len(r.options.DefaultFor) == 0 && (s.action != enforce || len(s.domains)+len(r.allow) > 0) {
		r.Fail(s.Node, "no function is everybody else; give the callers that are to have it with --default-for, and the rest is refused")
	}
	for _, name := range r.options.DefaultFor {
		switch {
		case r.names[name]:
			r.FailAt(top, "services", "%s is a service of its own; leave it out of --default-for", yamlread.Quote(name))
		case !identity.ValidFunction(name):
			r.FailAt(top, "default", "%s cannot be the name of a function; write 1 to 64 of A-Z a-z 0-9 - . _ ~", yamlread.Quote(name))
		}
		r.names[name] = true
		s.name = name
		r.services = append(r.services, s)
	}
}

// denyMatters reports whether the global deny list changes anything: it does for who reports,
// and for what the global allow list would allow.
func (r *reader) denyMatters() bool {
	return slices.ContainsFunc(r.services, func(s service) bool { return s.action == report }) ||
		slices.ContainsFunc(r.allow, func(a domain) bool { return r.denied(a) != nil })
}

// denied returns the first entry of the global deny list that has a name of the domain, or nil.
func (r *reader) denied(d domain) *domain {
	for i := range r.deny {
		if convert.Overlap(r.deny[i].pattern, d.pattern) {
			return &r.deny[i]
		}
	}
	return nil
}

// checkDeny notes the domains of services that the global deny list has: there they go before
// it, here the deny list wins over every rule.
func (r *reader) checkDeny() {
	for _, s := range r.services {
		for _, d := range s.domains {
			if by := r.denied(d); by != nil {
				r.Fail(d.Node, "the service allows %s although global_deny_list has %s (line %d), and here a deny line wins over every rule; take one of the two out",
					d.pattern, by.pattern, by.Line())
			}
		}
	}
}
