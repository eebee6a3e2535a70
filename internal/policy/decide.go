package policy

import (
	"net/netip"
	"time"
)

// Decision is the answer to one request, and what the later steps need of it.
// The zero Decision refuses and permits no address.
type Decision struct {
	Verdict Verdict
	// Reason says why it is refused; under Report, why it would be. It is
	// ReasonNone for Allow alone.
	Reason Reason
	// Rule is the rule that decided: the one that allows, the deny line, or
	// the rule that has the host but not the port or the date. Zero where no
	// rule has the host.
	Rule Rule
}

// PermitsAddress tells whether the host may be reached at a. Public unicast
// always may, other ranges where the rule opens them, link-local and the
// like never. Of a refusal nothing is permitted.
func (d Decision) PermitsAddress(a netip.Addr) bool {
	return (d.Verdict == Allow || d.Verdict == Report) && d.Rule.permits(a)
}

// Decide walks the deny list and the function's rules for one target at one
// instant. An exact name goes before a wildcard, a longer wildcard before a
// shorter, and any rule that fits in port and date allows. In report mode a
// refusal by the function's rules becomes Report; one by the deny list does
// not. A nil policy, a nil function and the zero target are refused. It does
// not allocate.
func (p *Policy) Decide(f *Function, t Target, now time.Time) Decision {
	return p.decide(f, &t, now, nil)
}

// decide is Decide with a trail to write to; nil writes none.
func (p *Policy) decide(f *Function, t *Target, now time.Time, tr *trail) (d Decision) {
	name, addr := t.Host.name.s, t.Host.addr
	d.Reason = ReasonHostNotAllowed
	if p == nil || f == nil || name == "" && !addr.IsValid() || t.Port == 0 {
		tr.note("no policy, no function or no target: refused")
		return d
	}
	if e, denied := p.deny.first(name); denied {
		d.Reason, d.Rule = ReasonHostDenied, Rule{deny: true, index: e.index, line: e.line}
		tr.rule(d.Rule, "the deny list has the host")
		return d
	}
	tr.note("deny list: does not have the host")
	var w walk // field by field, here and below: larger copies wait for the stores before them
	w.f, w.port, w.now, w.trail, w.reason = f, t.Port, now.Unix(), tr, ReasonHostNotAllowed
	if addr.IsValid() {
		w.literal(addr)
	} else {
		w.name(name)
	}
	d.Reason = w.reason
	if w.found.terms != nil {
		d.Rule.function, d.Rule.terms, d.Rule.literal = f, w.found.terms, w.prefix
		d.Rule.index, d.Rule.line = w.found.index, w.found.line
	}
	switch {
	case d.Reason == ReasonNone:
		d.Verdict = Allow
	case w.now < f.reportUntil:
		d.Verdict = Report
		tr.note("the function is in report mode: its list is recorded, not enforced")
	}
	return d
}

// walk is one pass over a function's rules. What it has found so far is in
// reason, found and prefix.
type walk struct {
	f      *Function
	port   uint16
	now    int64
	trail  *trail
	reason Reason
	found  rule          // without terms: none
	prefix *netip.Prefix // of found, where it is a cidr rule
}

// name tries the exact name, then the wildcards, longest first, until one fits.
func (w *walk) name(name string) {
	var c candidates
	for c.begin(&w.f.lists, name); c.next(); {
		if w.at(&c) {
			return
		}
	}
}

// at tries the entries for one pattern text in the function's own list, then
// in its sets, in the order of the file within each. It returns true when one fits.
func (w *walk) at(text *candidates) bool {
	var c cursor
	text.in(w.f.own, &c)
	for e, ok := c.next(); ok; e, ok = c.next() {
		if w.try(rule{index: e.index, line: e.line, terms: w.f.terms[e.terms]}, nil) {
			return true
		}
	}
	for i := range w.f.sets {
		ref := &w.f.sets[i]
		text.in(ref.list, &c)
		if _, ok := c.next(); ok && w.try(ref.rule, nil) {
			return true
		}
	}
	return false
}

// literal tries the cidr rules that contain the address.
func (w *walk) literal(a netip.Addr) {
	w.f.cidrs.each(a, func(r *cidrRule) bool { return !w.try(r.rule, &r.prefix) })
}

// try judges one rule that has the host. It keeps the first rule that fits,
// else the one that came nearest: an expired rule that has the port before one
// that lacks it.
func (w *walk) try(r rule, literal *netip.Prefix) bool {
	reason := r.terms.fit(w.port, w.now)
	if w.trail != nil {
		w.trail.rule(Rule{function: w.f, terms: r.terms, index: r.index, line: r.line}, reason.explain())
	}
	nearer := w.reason == ReasonHostNotAllowed || w.reason == ReasonPortNotAllowed && reason == ReasonRuleExpired
	if reason == ReasonNone || nearer {
		w.reason, w.found, w.prefix = reason, r, literal
	}
	return reason == ReasonNone
}
