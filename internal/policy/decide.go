package policy

import (
	"net/netip"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy/matcher"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// Decision is the answer to one request, and what the later steps need of it.
// The zero Decision refuses and permits no address.
type Decision struct {
	Verdict verdict.Verdict
	// Reason says why it is refused; under Report, why it would be. It is
	// verdict.ReasonNone for Allow alone.
	Reason verdict.Reason
	// Rule is the rule that decided: the one that allows, the deny line, or
	// the rule that has the host but not the port or the date. Zero where no
	// rule has the host.
	Rule Rule
	// ByWildcard: what allows the host is a wildcard. Where nothing does it is false.
	ByWildcard bool
}

// PermitsAddress reports whether the host may be reached at a. Public unicast
// always may, other ranges where the rule opens them, link-local and the
// like never. Of a refusal nothing is permitted.
func (d Decision) PermitsAddress(a netip.Addr) bool {
	return (d.Verdict == verdict.Allow || d.Verdict == verdict.Report) && d.Rule.permits(a)
}

// Decide walks the deny list and the function's rules for one target at one
// instant. An exact name goes before a wildcard, a longer wildcard before a
// shorter, and any rule that fits in port and date allows. In report mode a
// refusal by the function's rules becomes Report; one by the deny list does
// not. A nil policy, a nil function and the zero target are refused. It does
// not allocate.
func (p *Policy) Decide(f *Function, t hostname.Target, now time.Time) Decision {
	return p.decide(f, &t, now, nil)
}

// decide is Decide with a trace to write to; nil writes none.
func (p *Policy) decide(f *Function, t *hostname.Target, now time.Time, tr *trace) (d Decision) {
	name, addr := t.Parts()
	d.Reason = verdict.ReasonHostNotAllowed
	if p == nil || f == nil || name == "" && !addr.IsValid() || t.Port == 0 {
		tr.add("no policy, no function or no target: refused")
		return d
	}
	if e, denied := p.deny.First(name); denied {
		d.Reason, d.Rule = verdict.ReasonHostDenied, Rule{deny: true, index: e.Index, line: e.Line}
		tr.rule(d.Rule, "the deny list has the host")
		return d
	}
	tr.add("deny list: does not have the host")
	var w walk // field by field, here and below: larger copies wait for the stores before them
	w.f, w.port, w.now, w.trace, w.reason = f, t.Port, now.Unix(), tr, verdict.ReasonHostNotAllowed
	if addr.IsValid() {
		w.literal(addr)
	} else {
		w.name(name)
	}
	d.Reason = w.reason
	if w.found.conditions != nil {
		d.Rule.function, d.Rule.conditions, d.Rule.literal = f, w.found.conditions, w.prefix
		d.Rule.index, d.Rule.line = w.found.index, w.found.line
	}
	switch {
	case d.Reason == verdict.ReasonNone:
		d.Verdict, d.ByWildcard = verdict.Allow, w.wild
	case f.reports(w.now):
		d.Verdict = verdict.Report
		tr.add("the function is in report mode: its list is recorded, not enforced")
	}
	return d
}

// walk is one pass over a function's rules. What it has found so far is in
// reason, found and prefix.
type walk struct {
	f      *Function
	port   uint16
	now    int64
	trace  *trace
	reason verdict.Reason
	found  rule          // without conditions: none
	prefix *netip.Prefix // of found, where it is a cidr rule
	wild   bool          // what fits is a wildcard
}

// name tries the exact name, then the wildcards, longest first, until one fits.
func (w *walk) name(name string) {
	var c matcher.Candidates
	for c.Begin(&w.f.lists, name); c.Next(); {
		if w.at(&c) {
			w.wild = c.Suffix() != ""
			return
		}
	}
}

// at tries the entries for one pattern text in the function's own list, then
// in its sets, in the order of the file within each. It returns true when one fits.
func (w *walk) at(text *matcher.Candidates) bool {
	var c matcher.Cursor
	text.In(w.f.own, &c)
	for e, ok := c.Next(); ok; e, ok = c.Next() {
		if w.try(rule{index: e.Index, line: e.Line, conditions: w.f.conditions[e.Conditions]}, nil) {
			return true
		}
	}
	for i := range w.f.sets {
		ref := &w.f.sets[i]
		text.In(ref.list, &c)
		if _, ok := c.Next(); ok && w.try(ref.rule, nil) {
			return true
		}
	}
	return false
}

// literal tries the cidr rules that contain the address, longest prefix first,
// until one fits.
func (w *walk) literal(a netip.Addr) {
	for c := w.f.cidrs.longest(a); c != nil; c = c.wider {
		for _, r := range c.rules {
			if w.try(r, &c.prefix) {
				return
			}
		}
	}
}

// try judges one rule that has the host. It keeps the first rule that fits,
// else the one that came nearest: an expired rule that has the port before one
// that lacks it.
func (w *walk) try(r rule, literal *netip.Prefix) bool {
	reason := r.conditions.fit(w.port, w.now)
	if w.trace != nil {
		w.trace.rule(Rule{function: w.f, conditions: r.conditions, index: r.index, line: r.line}, finding(reason))
	}
	nearer := w.reason == verdict.ReasonHostNotAllowed || w.reason == verdict.ReasonPortNotAllowed && reason == verdict.ReasonRuleExpired
	if reason == verdict.ReasonNone || nearer {
		w.reason, w.found, w.prefix = reason, r, literal
	}
	return reason == verdict.ReasonNone
}
