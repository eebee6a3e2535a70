//go:build torture

package torture

import (
	"net/netip"
	"slices"
	"strings"
)

// expectation is what the model says of an operation under one policy.
type expectation struct {
	refuse []reason // the request may be refused for one of these
	pass   bool     // it may be let through
	hello  []reason // it is let through, and then ends for one of these
	report bool     // it is let through although the rules refuse something
	lookup bool     // the name may be asked upstream
	reach  []netip.Addr
}

// may reports whether a refusal is expected.
func (e expectation) may(why reason) bool { return slices.Contains(e.refuse, why) }

// refuseBy is the expectation of a refusal.
func refuseBy(all ...reason) expectation { return expectation{refuse: all} }

// expect says what the model expects of the operation under a variant. It walks
// the steps of the decision in their order.
func (w *world) expect(o *operation, v *variant) expectation {
	switch {
	case o.method == "LOOKUP":
		return w.expectLookup(o, v)
	case len(o.want) > 0:
		return refuseBy(o.want...)
	case o.balancer == balancerNone || o.balancer == balancerBad:
		return expectation{} // it ends without an answer
	case o.credential == badToken, o.credential == forgedToken, o.credential == awsToken && v.knowsNot(o.function):
		return refuseBy("identity_rejected", "limit_failures")
	case o.credential == noToken && o.function != seeker:
		return refuseBy("identity_required")
	}
	var r modelRule
	var why reason
	if o.literal.IsValid() {
		r.opens = []netip.Prefix{literalNet}
		why = v.decideLiteral(o.function, o.literal, o.port)
	} else {
		r, why = v.decide(o.function, o.zone, o.port)
	}
	reporting := o.function == gamma && why != "" && why != "host_denied"
	if why != "" && !reporting {
		return refuseBy(why)
	}
	if reporting {
		// What report mode lets through has the public internet alone, and no
		// address of this world is of it.
		r = modelRule{}
	}
	e := w.expectAddresses(o, r)
	e.lookup = !o.literal.IsValid()
	e.report = reporting
	if e.pass && o.method == "POST" {
		// The origin may close a kept connection just when a request is sent on
		// it, and one with content cannot be sent again.
		e.refuse = append(e.refuse, "origin_failed")
	}
	if e.pass && r.verify && o.method == "CONNECT" {
		e.expectHello(o)
	}
	return e
}

// knowsNot reports whether no token of AWS is the function's.
func (v *variant) knowsNot(function string) bool {
	return function == delta && v.strangers || function == epsilon && v.unfetched
}

// expectAddresses says what comes of the name's answer.
func (w *world) expectAddresses(o *operation, r modelRule) expectation {
	addrs := answers[o.word]
	switch o.word {
	case "nx", "fail":
		return refuseBy("dns_failed")
	case "silent":
		return refuseBy("dns_timeout")
	case "flip":
		if r.opensAll(flipped[:1]) {
			return expectation{pass: true, refuse: []reason{"address_not_allowed"}, reach: flipped[:1]}
		}
		return refuseBy("address_not_allowed")
	}
	if o.literal.IsValid() {
		addrs = []netip.Addr{o.literal}
	}
	listens := []uint16{w.ports.proxy, w.ports.admin, w.ports.dns}
	if !r.opensAll(addrs) || o.word == "self" && slices.Contains(listens, o.port) {
		return refuseBy("address_not_allowed")
	}
	switch o.word {
	case "dead", "self":
		return expectation{refuse: []reason{"dial_failed"}, reach: addrs, pass: o.method != "CONNECT"}
	case "hole":
		return expectation{refuse: []reason{"dial_timeout"}, reach: addrs}
	case "half", "beside":
		return expectation{pass: true, reach: addrs[1:]}
	}
	return expectation{pass: true, reach: addrs}
}

// expectHello says what comes of the tunnel's first bytes where the rule wants
// a ClientHello for the host.
func (e *expectation) expectHello(o *operation) {
	var why reason
	switch o.hello {
	case helloWrong:
		why = "sni_mismatch"
	case helloNone:
		why = "sni_missing"
	case helloNotTLS:
		why = "not_tls"
	case helloSilent:
		why = "hello_timeout"
	default:
		return
	}
	if o.function == gamma && why != "hello_timeout" {
		e.report = true
		return
	}
	e.hello = []reason{why}
}

// expectLookup says what comes of a question to the DNS filter.
func (w *world) expectLookup(o *operation, v *variant) expectation {
	r, why := v.lookup(o.function, o.zone)
	if why != "" {
		return refuseBy(why)
	}
	if o.qtype == 16 {
		return refuseBy("type_not_allowed")
	}
	var e expectation
	switch {
	case o.word == "nx":
		e = expectation{pass: true}
	case o.word == "fail":
		e = refuseBy("dns_failed")
	case o.word == "detour":
		e = refuseBy("host_denied")
	case o.qtype != 1:
		e = expectation{pass: true}
	case o.word == "flip":
		e = refuseBy("address_not_allowed")
		if r.opensAll(flipped[:1]) {
			e = expectation{pass: true, refuse: e.refuse, reach: flipped[:1]}
		}
	case !r.opensAll(answers[o.word]):
		e = refuseBy("address_not_allowed")
	default:
		e = expectation{pass: true, reach: answers[o.word]}
	}
	e.lookup = true
	return e
}

// lookup says what the rules have on a name whatever the port: those of one
// function, or of all where it is not known who asks.
func (v *variant) lookup(function, zone string) (modelRule, reason) {
	if zone == zoneDenied {
		return modelRule{}, "host_denied"
	}
	var all modelRule
	why := "host_not_allowed"
	for name, rules := range v.rules {
		r, ok := rules[zone]
		switch {
		case !ok || function != "" && function != name:
		case r.expired:
			if why != "" {
				why = "rule_expired"
			}
		default:
			why = ""
			all.opens = append(all.opens, r.opens...)
		}
	}
	return all, why
}

// excused are the reasons that faults give, by fault. Where no name is answered, and where
// a second's requests come at once because the program had no time, one function's lookups
// are more than it may have at a time.
var excused = map[fault][]reason{
	faultSink: {"audit_unavailable"},
	faultTerm: {"draining"},
	faultSlow: {"dns_timeout", "dns_failed", "dial_timeout", "hello_timeout", "limit_function"},
	faultFull: {"dns_timeout", "dns_failed", "dial_failed", "dial_timeout", "limit_total", "limit_function"},
	faultDNS:  {"dns_timeout", "dns_failed", "address_not_allowed", "limit_function"},
}

// excuses reports whether a fault during the operation explains a refusal.
func (w *world) excuses(o *operation, why reason) bool {
	for f, reasons := range excused {
		if slices.Contains(reasons, why) && w.timeline.during(o.start, o.end, f) {
			return true
		}
	}
	return why == "limit_function" && w.forged(o)
}

// forged reports whether others asked as who the operation was: a function that nothing
// but the address of a packet shows is whoever forges that. Of its tunnels they take
// nothing.
func (w *world) forged(o *operation) bool {
	return o.method == "LOOKUP" && o.function == seeker && w.timeline.during(o.start, o.end, faultForged)
}

// join writes expectations for people.
func (e expectation) String() string {
	var words []string
	if e.pass {
		words = append(words, "passed")
	}
	return strings.Join(append(append(words, e.refuse...), e.hello...), " or ")
}
