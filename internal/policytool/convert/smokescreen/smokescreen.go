// Package smokescreen reads the ACL of Smokescreen, version v1, and says what it allows as a
// policy of ours.
//
// What it does: each service becomes a function, its project the owner, its domains rules, and
// the global allow list rules of every function. Smokescreen's order is kept: the domains of a
// service go before the global deny list, that before the global allow list, that before the
// action. What our files cannot say exactly is a problem with its line: open, proxies behind
// the proxy, TLS that is opened, a default for callers that nobody names.
//
// What it does not do: it knows the ACL alone, not the flags of Smokescreen. The ACL knows no
// ports and no TLS, so its rules are for every port and any protocol, unless TLSOnly narrows them.
//
//	p, err := smokescreen.Read("acl.yaml", data, smokescreen.Options{ReportUntil: "2027-03-31"})
package smokescreen

import (
	"fmt"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config/patterns"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/convert"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/yamlread"
)

// maxText bounds what is read of a name or a project, as the policy file bounds an owner.
const maxText = 256

// Options say what the ACL leaves open.
type Options struct {
	// ReportUntil is the last day, 2027-03-31, of the report mode of services that have the
	// action report; "": those are a problem, for report mode of ours needs an end.
	ReportUntil string
	// DefaultFor are names of services that the ACL does not list: the default rule is theirs.
	// Nobody else gets it.
	DefaultFor []string
	// TLSOnly narrows each rule to TLS on port 443 that names the host.
	TLSOnly bool
}

// Read reads an ACL. What is wrong with it, and what a policy cannot say of it, is a
// *yamlread.Error that calls the file name.
func Read(name string, data []byte, o Options) (*convert.Policy, error) {
	r := &reader{Reader: yamlread.New(name, nil), name: name, options: o, suffixes: hostname.NewSuffixes(), names: map[string]bool{}}
	root, ok := r.Document(data, yamlread.Hints{Empty: "write version: v1 and services", Anchors: "write the values out"})
	if ok {
		r.acl(root)
	}
	if err := r.Err(); err != nil {
		return nil, err
	}
	return r.policy()
}

// action is what becomes of a host that no list has. The zero value refuses.
type action int

// The actions that a policy can say.
const (
	enforce action = iota
	report
)

// domain is a pattern and its place.
type domain struct {
	yamlread.Node
	pattern hostname.Pattern
	shared  bool // it is a wildcard where anyone can rent a name
}

// service is one service, or the default.
type service struct {
	yamlread.Node
	name, project string
	action        action
	domains       []domain
}

// reader reads one ACL.
type reader struct {
	*yamlread.Reader
	name        string // of the file, in problems
	options     Options
	suffixes    *hostname.Suffixes
	names       map[string]bool
	services    []service
	fallback    *service // the default; nil: there is none
	allow, deny []domain // the global lists
}

// acl reads the file.
func (r *reader) acl(n yamlread.Node) {
	found := r.Object(n,
		yamlread.Key("version", func(n yamlread.Node) { r.Word(n, "v1") }),
		yamlread.Key("services", func(n yamlread.Node) {
			r.List(n, func(item yamlread.Node) { r.services = append(r.services, r.service(item, true)) })
		}),
		yamlread.Key("default", func(n yamlread.Node) {
			s := r.service(n, false)
			r.fallback = &s
		}),
		yamlread.Key("global_allow_list", func(n yamlread.Node) { r.allow = r.domains(n, true) }),
		yamlread.Key("global_deny_list", func(n yamlread.Node) { r.deny = r.domains(n, false) }),
	)
	r.Require(n, found, "Smokescreen does not load without it", "version", "services")
}

// service reads one service, or the default, whose name says nothing.
func (r *reader) service(n yamlread.Node, named bool) service {
	s := service{Node: n}
	found := r.Object(n,
		yamlread.Key("name", func(n yamlread.Node) { s.name = r.Text(n, maxText) }),
		yamlread.Key("project", func(n yamlread.Node) { s.project = r.Text(n, maxText) }),
		yamlread.Key("action", func(n yamlread.Node) { s.action = r.action(n) }),
		yamlread.Key("allowed_domains", func(n yamlread.Node) { s.domains = r.domains(n, true) }),
		yamlread.Key("allowed_external_proxies", func(n yamlread.Node) {
			r.none(n, "no request goes on to another proxy here; have the service reach its hosts directly, and take the list out")
		}),
		yamlread.Key("mitm_domains", func(n yamlread.Node) {
			r.none(n, "TLS is not opened here, nor are fields added; take the list out if the hosts alone are meant")
		}),
	)
	r.Require(n, found, "Smokescreen does not load without it", "action")
	if named {
		r.Require(n, found, "it is who the service is", "name")
		if _, ok := found["name"]; ok {
			r.serviceName(found["name"], s.name)
		}
	}
	return s
}

// serviceName checks the name of a service.
func (r *reader) serviceName(n yamlread.Node, name string) {
	switch {
	case r.names[name]:
		r.Fail(n, "service %s is there already; keep one of the two", yamlread.Quote(name))
	case !identity.ValidFunction(name):
		r.Fail(n, "%s cannot be the name of a function; call the service by 1 to 64 of A-Z a-z 0-9 - . _ ~", yamlread.Quote(name))
	}
	r.names[name] = true
}

// action reads an action.
func (r *reader) action(n yamlread.Node) action {
	switch r.Word(n, "enforce", "report", "open") {
	case 1:
		if r.options.ReportUntil == "" {
			r.Fail(n, "report mode needs an end; give its last day with --report-until")
		}
		return report
	case 2:
		r.Fail(n, "open allows every host, which no list says; list what the service needs, or let it report until a day")
	}
	return enforce
}

// none notes a list that is not empty.
func (r *reader) none(n yamlread.Node, why string) {
	r.List(n, func(item yamlread.Node) { r.Fail(item, "%s", why) })
}

// domains reads a list of globs, each once. One that allows may not be wider than rules may be.
func (r *reader) domains(n yamlread.Node, allows bool) (all []domain) {
	there := map[hostname.Pattern]bool{}
	r.List(n, func(item yamlread.Node) {
		s, ok := r.Scalar(item, "a name, or *. and a name")
		if !ok {
			return
		}
		p, wrong := patterns.Parse(s)
		if wrong == "" && p.Wildcard() && p.Exact() {
			wrong = fmt.Sprintf("%s is no glob of Smokescreen; write a name, or *. and a name", yamlread.Quote(s))
		}
		d := domain{item, p, false}
		if wrong == "" && allows {
			switch r.suffixes.WildcardScope(p) {
			case hostname.ScopeRegistry:
				wrong = patterns.TooWide(p)
			case hostname.ScopeShared:
				d.shared = true
			case hostname.ScopeOne:
			}
		}
		if wrong != "" {
			r.Fail(item, "%s", wrong)
			return
		}
		if !there[p] {
			there[p] = true
			all = append(all, d)
		}
	})
	return all
}
