package policy

import (
	"hash/maphash"
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
	return p.decide(f, t, now, nil)
}

// decide is Decide with a trail to write to; nil writes none.
func (p *Policy) decide(f *Function, t Target, now time.Time, tr *trail) Decision {
	if p == nil || f == nil || t.Host.IsZero() || t.Port == 0 {
		tr.note("no policy, no function or no target: refused")
		return Decision{Reason: ReasonHostNotAllowed}
	}
	if e, denied := p.deny.first(p.seed, t.Host.name.s); denied {
		rule := Rule{deny: true, index: e.index, line: e.line}
		tr.rule(rule, "the deny list has the host")
		return Decision{Reason: ReasonHostDenied, Rule: rule}
	}
	tr.note("deny list: does not have the host")
	w := walk{f: f, port: t.Port, now: now.Unix(), trail: tr, reason: ReasonHostNotAllowed}
	if t.Host.addr.IsValid() {
		w.literal(t.Host.addr)
	} else {
		w.name(t.Host.name.s)
	}
	verdict := Allow
	if w.reason != ReasonNone {
		verdict = Deny
		if f.Reports(now) {
			verdict = Report
			tr.note("the function is in report mode: let through and recorded")
		}
	}
	return Decision{Verdict: verdict, Reason: w.reason, Rule: w.rule()}
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

// rule returns what has been found in the form that is handed out.
func (w *walk) rule() Rule {
	if w.found.terms == nil {
		return Rule{}
	}
	return Rule{function: w.f, terms: w.found.terms, literal: w.prefix, index: w.found.index, line: w.found.line}
}

// name tries the exact name, then the wildcards, longest first, until one fits.
func (w *walk) name(name string) {
	if w.f.exact && w.at(name, false) {
		return
	}
	s := newSuffixes(name, w.f.depth.most)
	for suffix, labels, ok := s.next(); ok; suffix, labels, ok = s.next() {
		if w.f.depth.has(labels) && w.at(suffix, true) {
			return
		}
	}
}

// at tries the entries for one pattern text in the function's own list, then
// in its sets, in the order of the file within each. It returns true when one fits.
func (w *walk) at(text string, wild bool) bool {
	h := maphash.String(w.f.seed, text)
	c := w.f.own.table(wild).find(h, text)
	for e, ok := c.next(); ok; e, ok = c.next() {
		if w.try(rule{index: e.index, line: e.line, terms: w.f.terms[e.terms]}, nil) {
			return true
		}
	}
	for i := range w.f.sets {
		ref := &w.f.sets[i]
		c := ref.list.table(wild).find(h, text)
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
	switch {
	case reason == ReasonNone:
		w.reason, w.found, w.prefix = reason, r, literal
		return true
	case w.reason == ReasonHostNotAllowed, w.reason == ReasonPortNotAllowed && reason == ReasonRuleExpired:
		w.reason, w.found, w.prefix = reason, r, literal
	}
	return false
}
