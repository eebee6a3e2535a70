package policy

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy/matcher"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// Lookup is the answer to the question whether a name may be looked up. A
// lookup has no port: any rule that has the name, has a port and has not
// expired allows it. The zero Lookup refuses and permits no address.
type Lookup struct {
	Decision
	// Wildcard is the part of the name that stands behind the "*." of the
	// pattern that allows it. "": a pattern for the name itself, or none.
	Wildcard string

	function *Function // whose rules were asked
	union    *Union    // instead of function: the rules of all
	name     string
	now      int64
}

// PermitsAddress reports whether an answer to the lookup may hold a. Where rules
// open the name on several ports with addresses of their own, any of them
// permits: the proxy tells ports apart when it comes to a connection.
func (l *Lookup) PermitsAddress(a netip.Addr) bool {
	if l.Decision.PermitsAddress(a) {
		return true
	}
	if l.Verdict != verdict.Allow {
		return false
	}
	permitted := false
	l.each(func(r Rule, _ string) bool {
		permitted = r.conditions.allowAnyPort(l.now) == verdict.ReasonNone && r.permits(a)
		return !permitted
	})
	return permitted
}

// Denies returns the line of the deny list that has the name. A nil policy has
// no deny list.
func (p *Policy) Denies(n hostname.Name) (Rule, bool) { return p.DeniesAlias(n.String()) }

// DeniesAlias is Denies for a name that a CNAME led to, in lower case and without
// the final dot. It need not be a hostname: its owner chose it, so what the deny
// list says of the names below another holds for odd forms as well. A nil policy
// has no deny list.
func (p *Policy) DeniesAlias(alias string) (Rule, bool) {
	if p == nil {
		return Rule{}, false
	}
	// Its end is what a wildcard covers; more than a name can have is escapes.
	alias = alias[max(0, len(alias)-hostname.MaxName):]
	e, denied := p.deny.First(alias)
	if !denied {
		return Rule{}, false
	}
	return Rule{deny: true, index: e.Index, line: e.Line}, true
}

// Lookup decides whether f may look a name up: the deny list first, then the
// function's rules, whatever their ports. In report mode a refusal by the rules
// becomes Report. A nil policy, a nil function and the zero name are refused.
// It does not allocate.
func (p *Policy) Lookup(f *Function, n hostname.Name, now time.Time) Lookup {
	if p == nil || f == nil || n.IsZero() {
		return Lookup{Decision: Decision{Reason: verdict.ReasonHostNotAllowed}}
	}
	l := Lookup{function: f, name: n.String(), now: now.Unix()}
	l.decide(p, n)
	if l.Verdict == verdict.Deny && l.Reason != verdict.ReasonHostDenied && f.Reports(now) {
		l.Verdict = verdict.Report
	}
	return l
}

// decide walks the deny list and the rules.
func (l *Lookup) decide(p *Policy, n hostname.Name) {
	if rule, denied := p.Denies(n); denied {
		l.Decision = Decision{Reason: verdict.ReasonHostDenied, Rule: rule}
		return
	}
	l.Decision = Decision{Reason: verdict.ReasonHostNotAllowed}
	l.each(func(r Rule, suffix string) bool {
		reason := r.conditions.allowAnyPort(l.now)
		if reason == verdict.ReasonNone {
			l.Decision, l.Wildcard = Decision{Verdict: verdict.Allow, Rule: r, ByWildcard: suffix != ""}, suffix
			return false
		}
		if l.Reason == verdict.ReasonHostNotAllowed {
			l.Decision = Decision{Reason: reason, Rule: r}
		}
		return true
	})
}

// each calls yield for every rule that has the name, the exact ones first, then
// the longer wildcards before the shorter, until it returns false.
func (l *Lookup) each(yield func(r Rule, suffix string) bool) {
	if l.union != nil {
		l.union.each(l.name, yield)
	} else if l.function != nil {
		l.function.each(l.name, yield)
	}
}

// allowAnyPort reports whether the conditions allow any port at that Unix second, or why not.
func (t *Conditions) allowAnyPort(now int64) verdict.Reason {
	if len(t.Ports) == 0 {
		return verdict.ReasonPortNotAllowed
	}
	return t.fit(t.Ports[0].First, now)
}

// each calls yield for every rule of the function that has the name.
func (f *Function) each(name string, yield func(r Rule, suffix string) bool) {
	var c matcher.Candidates
	for c.Begin(&f.lists, name); c.Next(); {
		if !f.eachAt(&c, yield) {
			return
		}
	}
}

// eachAt calls yield for the rules of one pattern text. It returns false once
// yield has.
func (f *Function) eachAt(text *matcher.Candidates, yield func(r Rule, suffix string) bool) bool {
	suffix := text.Suffix()
	var c matcher.Cursor
	text.In(f.own, &c)
	for e, ok := c.Next(); ok; e, ok = c.Next() {
		if !yield(Rule{function: f, conditions: f.conditions[e.Conditions], index: e.Index, line: e.Line}, suffix) {
			return false
		}
	}
	for i := range f.sets {
		ref := &f.sets[i]
		text.In(ref.list, &c)
		if _, ok := c.Next(); ok && !yield(f.ruleOf(ref), suffix) {
			return false
		}
	}
	return true
}

// ruleOf returns an allow entry that names a set in the form that is handed out.
func (f *Function) ruleOf(ref *setRef) Rule {
	return Rule{function: f, conditions: ref.rule.conditions, index: ref.rule.index, line: ref.rule.line}
}

// Union is the names of all functions of a policy in one list: what a caller
// gets who might be any of them. It is immutable. A nil *Union refuses
// everything.
//
// It takes one entry for each distinct pattern and set of addresses, however
// many functions have it; of several the one that expires last is kept, and
// with it the rule that records show.
type Union struct {
	policy *Policy
	list   *matcher.List
	lists  matcher.Group // list alone
	rules  []Rule        // by the conditions of an entry
}

// NewUnion builds the union of p's functions, which takes a time and memory
// that grow with the file: keep it as long as the policy. Of a nil policy it
// is nil.
func NewUnion(p *Policy) (*Union, error) {
	if p == nil {
		return nil, nil
	}
	b := unionBuilder{
		at:      map[unionKey]int{},
		numbers: map[Rule]int32{},
		list:    matcher.Builder{Seed: p.seed},
		done:    map[setClass]*Conditions{},
	}
	for _, name := range p.names {
		b.add(p.functions[name])
	}
	l, err := b.list.Build()
	if err != nil {
		return nil, fmt.Errorf("compiling the union of all functions: %w", err)
	}
	return &Union{policy: p, list: l, lists: matcher.NewGroup(p.seed, l), rules: b.rules}, nil
}

// Lookup decides whether any function may look the name up, by the deny list
// and by the rules alone: report mode is of a function, and nobody knows which
// one asks. It does not allocate.
func (u *Union) Lookup(n hostname.Name, now time.Time) Lookup {
	if u == nil || n.IsZero() {
		return Lookup{Decision: Decision{Reason: verdict.ReasonHostNotAllowed}}
	}
	l := Lookup{union: u, name: n.String(), now: now.Unix()}
	l.decide(u.policy, n)
	return l
}

// each calls yield for every rule of the union that has the name.
func (u *Union) each(name string, yield func(r Rule, suffix string) bool) {
	var text matcher.Candidates
	var c matcher.Cursor
	for text.Begin(&u.lists, name); text.Next(); {
		suffix := text.Suffix()
		text.In(u.list, &c)
		for e, ok := c.Next(); ok; e, ok = c.Next() {
			if !yield(u.rules[e.Conditions], suffix) {
				return
			}
		}
	}
}

// Patterns returns how many entries the union has.
func (u *Union) Patterns() int {
	if u == nil {
		return 0
	}
	return u.list.Len()
}
