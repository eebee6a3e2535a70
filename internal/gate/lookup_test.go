package gate_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/gate"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// Sources of the questions: of billing, of nightly, and of no function.
const (
	fromBilling = "10.0.1.7"
	fromNightly = "10.0.2.7"
	fromNobody  = "10.0.9.9"
)

// Numbers of record types and classes.
const (
	typeA, typeTXT, typeANY = 1, 16, 255
	classIN, classCHAOS     = 1, 3
)

// lookupRules returns the rules of
//
//	deny: ["*.evil.test"]
//	functions:
//	  billing: {allow: [{host: any.test}, {host: "*.wild.test"}, {host: inside.test, addresses: [10.1.0.0/16]}]}
//	  nightly: {mode: report, allow: [{host: nightly.test}, {host: very.deep.test}]}
//
// for each a source, and for other sources the union of both.
func lookupRules(t *testing.T) *gate.LookupRules {
	t.Helper()
	pattern := func(text string) hostname.Pattern {
		p, err := hostname.ParsePattern(text)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	rule := func(host string, opened ...netip.Prefix) policy.RuleSpec {
		return policy.RuleSpec{Pattern: pattern(host), Conditions: &policy.Conditions{Ports: hostname.Ports(443), Addresses: opened}}
	}
	p, err := policy.Compile(policy.Spec{
		Deny: []policy.DenySpec{{Pattern: pattern("*.evil.test"), Line: 2}, {Pattern: pattern("evil.test"), Line: 3}},
		Functions: []policy.FunctionSpec{
			{Name: "billing", Owner: "payments", Rules: []policy.RuleSpec{
				rule("any.test"), rule("*.wild.test"), rule("inside.test", netip.MustParsePrefix("10.1.0.0/16")),
			}},
			{Name: "nightly", ReportUntil: now.Add(time.Hour), Rules: []policy.RuleSpec{rule("nightly.test"), rule("very.deep.test")}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ids, err := identity.New([]identity.Entry{
		{Function: "billing", Sources: []netip.Prefix{netip.MustParsePrefix("10.0.1.0/24")}},
		{Function: "nightly", Sources: []netip.Prefix{netip.MustParsePrefix("10.0.2.0/24")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	union, err := policy.NewUnion(p)
	if err != nil {
		t.Fatal(err)
	}
	return &gate.LookupRules{
		Policy: p, Sources: identity.NewSources(ids), Union: func() *policy.Union { return union },
		Types: map[uint16]bool{typeA: true},
	}
}

// question begins a decision about a name that a source asks for.
func question(t *testing.T, source, name string, qtype, class uint16) *gate.LookupDecision {
	t.Helper()
	d := &gate.LookupDecision{}
	d.Begin(lookupRules(t))
	d.Event.Client = netip.AddrPortFrom(netip.MustParseAddr(source), 5353)
	d.BeginName(name, qtype, class, now)
	return d
}

// lookupNeeds says the needs of a question in words.
var lookupNeeds = map[gate.Need]string{
	gate.Names: "names", gate.Records: "records", gate.Record: "record", gate.Answer: "answer", gate.Refused: "refused",
}

// resolver is what a walk brings.
type resolver struct {
	full      bool // there is no room for another name
	aliases   []string
	addresses []netip.Addr
	refuseAt  gate.Need // Refused: nowhere
}

// walkLookup brings whatever is asked for, or refuses at the need given, and returns all
// needs.
func walkLookup(d *gate.LookupDecision, r resolver) string {
	var needs []string
	for range 10 {
		need := d.Next()
		needs = append(needs, lookupNeeds[need])
		switch {
		case need == gate.Refused || need == gate.Answer:
			return strings.Join(needs, " ")
		case need == r.refuseAt:
			d.Give(verdict.ReasonDraining)
		case need == gate.Names:
			d.GiveNames(!r.full)
		case need == gate.Records:
			d.GiveAnswer(r.aliases, r.addresses)
		default:
			d.Give(verdict.ReasonNone)
		}
	}
	return strings.Join(append(needs, "without end"), " ")
}

// addrs parses addresses.
func addrs(all ...string) (parsed []netip.Addr) {
	for _, a := range all {
		parsed = append(parsed, netip.MustParseAddr(a))
	}
	return parsed
}

func TestALookupWalksItsStepsInOrder(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		what, source, name string
		qtype, class       uint16 // 0: A and IN
		lone               bool   // sources of no function get nothing
		resolver           resolver
		needs              string
		reason             verdict.Reason
		verdict            verdict.Verdict
	}{
		{what: "allowed", name: "any.test", needs: "records record answer", verdict: verdict.Allow},
		{what: "below a wildcard", name: "a.wild.test", needs: "names records record answer", verdict: verdict.Allow},
		{what: "the limit of names", name: "a.wild.test", resolver: resolver{full: true}, needs: "names refused", reason: verdict.ReasonLimitNames},
		{what: "the limit of names is none of an exact rule's", name: "any.test", resolver: resolver{full: true}, needs: "records record answer", verdict: verdict.Allow},
		{what: "the limit of names comes before the type", name: "a.wild.test", qtype: typeTXT, resolver: resolver{full: true}, needs: "names refused", reason: verdict.ReasonLimitNames},
		{what: "not on the list", name: "other.test", needs: "refused", reason: verdict.ReasonHostNotAllowed},
		{what: "the list comes before the type", name: "other.test", qtype: typeTXT, needs: "refused", reason: verdict.ReasonHostNotAllowed},
		{what: "denied", name: "a.evil.test", needs: "refused", reason: verdict.ReasonHostDenied},
		{what: "no hostname", name: "a b", needs: "refused", reason: verdict.ReasonBadTarget},
		{what: "a name is read before its source is refused", source: fromNobody, lone: true, name: "a b", needs: "refused", reason: verdict.ReasonBadTarget},
		{what: "an unknown source", source: fromNobody, lone: true, name: "any.test", needs: "refused", reason: verdict.ReasonIdentityRequired},
		{what: "an unknown source, the union", source: fromNobody, name: "nightly.test", needs: "records record answer", verdict: verdict.Allow},
		{what: "an unknown source, beyond the union", source: fromNobody, name: "other.test", needs: "refused", reason: verdict.ReasonHostNotAllowed},
		{what: "a known source gets no union", name: "nightly.test", needs: "refused", reason: verdict.ReasonHostNotAllowed},
		{what: "report mode", source: fromNightly, name: "other.test", needs: "records record answer", verdict: verdict.Report},
		{what: "report mode, denied", source: fromNightly, name: "a.evil.test", needs: "refused", reason: verdict.ReasonHostDenied},
		{what: "the type", name: "any.test", qtype: typeTXT, needs: "refused", reason: verdict.ReasonTypeNotAllowed},
		{what: "the class", name: "any.test", class: classCHAOS, needs: "refused", reason: verdict.ReasonTypeNotAllowed},
		{what: "all types", name: "any.test", qtype: typeANY, needs: "record answer", verdict: verdict.Allow},
		{what: "all types of another class", name: "any.test", qtype: typeANY, class: classCHAOS, needs: "refused", reason: verdict.ReasonTypeNotAllowed},
		{what: "an alias", name: "any.test", resolver: resolver{aliases: []string{"cdn.test"}}, needs: "records record answer", verdict: verdict.Allow},
		{what: "an alias that is denied", name: "any.test", resolver: resolver{aliases: []string{"cdn.test", "a.evil.test"}}, needs: "records refused", reason: verdict.ReasonHostDenied},
		{what: "aliases of odd forms", name: "any.test", resolver: resolver{aliases: []string{"a\\ b", "5.0/25.2.0.192.in-addr.arpa", "ends-.test", "xn--a.test", "*.test", "192.0.2.1"}}, needs: "records record answer", verdict: verdict.Allow},
		{what: "an alias of odd form that is denied", name: "any.test", resolver: resolver{aliases: []string{"a\\ b.evil.test"}}, needs: "records refused", reason: verdict.ReasonHostDenied},
		{what: "an alias behind one of odd form", name: "any.test", resolver: resolver{aliases: []string{"ends-.test", "a.evil.test"}}, needs: "records refused", reason: verdict.ReasonHostDenied},
		{what: "an alias that is denied, in report mode", source: fromNightly, name: "other.test", resolver: resolver{aliases: []string{"a.evil.test"}}, needs: "records refused", reason: verdict.ReasonHostDenied},
		{what: "an alias is judged before an address", name: "any.test", resolver: resolver{aliases: []string{"a.evil.test"}, addresses: addrs("10.0.0.1")}, needs: "records refused", reason: verdict.ReasonHostDenied},
		{what: "an address", name: "any.test", resolver: resolver{addresses: addrs("1.1.1.1")}, needs: "records record answer", verdict: verdict.Allow},
		{what: "one address of two", name: "any.test", resolver: resolver{addresses: addrs("1.1.1.1", "10.1.0.1")}, needs: "records refused", reason: verdict.ReasonAddressNotAllowed},
		{what: "an address that is none", name: "any.test", resolver: resolver{addresses: make([]netip.Addr, 1)}, needs: "records refused", reason: verdict.ReasonAddressNotAllowed},
		{what: "an address that the rule opens", name: "inside.test", resolver: resolver{addresses: addrs("10.1.0.1")}, needs: "records record answer", verdict: verdict.Allow},
		{what: "an address that no rule opens", name: "inside.test", resolver: resolver{addresses: addrs("169.254.169.254")}, needs: "records refused", reason: verdict.ReasonAddressNotAllowed},
	} {
		qtype, class, source := row.qtype, row.class, row.source
		if qtype == 0 {
			qtype = typeA
		}
		if class == 0 {
			class = classIN
		}
		if source == "" {
			source = fromBilling
		}
		d := question(t, source, row.name, qtype, class)
		if row.lone {
			d.Rules.Union = nil
		}
		if got := walkLookup(d, row.resolver); got != row.needs || d.Reason != row.reason {
			t.Errorf("%s: %s, reason %q; want %s, %q", row.what, got, d.Reason, row.needs, row.reason)
		}
		if d.Event.Verdict != row.verdict || row.reason != verdict.ReasonNone && d.Event.Reason != row.reason {
			t.Errorf("%s: the event says %v, %q; want %v, %q", row.what, d.Event.Verdict, d.Event.Reason, row.verdict, row.reason)
		}
	}
}

// A record has what was found up to the refusal: the source's function whatever is wrong
// with the name, and all aliases and addresses where one of them is refused.
func TestALookupsEventHasWhatWasFound(t *testing.T) {
	t.Parallel()
	d := question(t, fromBilling, "a b", typeA, classIN)
	walkLookup(d, resolver{})
	if e := d.Event; e.Host != "a b" || e.Function != "billing" || e.Owner != "payments" || e.Via != "source" {
		t.Errorf("of a name that is none: host %q, function %q of %q by %q", e.Host, e.Function, e.Owner, e.Via)
	}
	d = question(t, fromBilling, "any.test", typeA, classIN)
	found := resolver{aliases: []string{"cdn.test", "a.evil.test", "evil.test"}, addresses: addrs("1.1.1.1", "10.0.0.1")}
	walkLookup(d, found)
	if !slices.Equal(d.Event.Addresses, found.addresses) || d.Event.Rule.Line() != 2 {
		t.Errorf("of an alias that is denied: addresses %v, line %d", d.Event.Addresses, d.Event.Rule.Line())
	}
	d = question(t, fromNightly, "other.test", typeA, classIN)
	walkLookup(d, resolver{})
	if d.Event.Reason != verdict.ReasonHostNotAllowed {
		t.Errorf("of report mode: reason %q", d.Event.Reason)
	}
}

// An answer that was kept is judged by its special addresses, and all are recorded.
func TestAnAnswerThatWasKeptIsJudgedAgain(t *testing.T) {
	t.Parallel()
	all := addrs("1.1.1.1", "10.1.0.1", "169.254.169.254", "2606:4700::1111")
	if got := gate.Special(all); !slices.Equal(got, all[1:3]) {
		t.Fatalf("special are %v", got)
	}
	for _, row := range []struct {
		name string
		kept []netip.Addr
		want gate.Need
	}{
		{"inside.test", all[:2], gate.Record},
		{"any.test", all[:2], gate.Refused},
		{"any.test", all[:1], gate.Record},
	} {
		d := question(t, fromBilling, row.name, typeA, classIN)
		d.Next()
		d.GiveStored(row.kept, gate.Special(row.kept))
		if need := d.Next(); need != row.want || need == gate.Refused && d.Reason != verdict.ReasonAddressNotAllowed {
			t.Errorf("%s with %v: need %s, reason %q", row.name, row.kept, lookupNeeds[need], d.Reason)
		}
		if !slices.Equal(d.Event.Addresses, row.kept) {
			t.Errorf("%s: recorded %v, want %v", row.name, d.Event.Addresses, row.kept)
		}
	}
}

func TestTheZeroLookupRefuses(t *testing.T) {
	t.Parallel()
	var zero gate.LookupDecision
	rules := lookupRules(t)
	for what, d := range map[string]*gate.LookupDecision{
		"zero":        &zero,
		"no rules":    {},
		"empty rules": {Rules: &gate.LookupRules{}},
		"no question": {Rules: rules},
		"no client":   {Rules: &gate.LookupRules{Policy: rules.Policy, Sources: rules.Sources, Types: rules.Types}},
		"no policy":   {Rules: &gate.LookupRules{Sources: rules.Sources, Types: rules.Types}, Event: audit.Event{Client: netip.MustParseAddrPort(fromBilling + ":53")}},
		"a nil union": {Rules: &gate.LookupRules{Union: func() *policy.Union { return nil }, Types: rules.Types}},
	} {
		if what != "zero" && what != "no question" {
			d.BeginName("any.test", typeA, classIN, now)
		}
		if need := d.Next(); need != gate.Refused || d.Reason == verdict.ReasonNone || d.Event.Verdict != verdict.Deny {
			t.Errorf("%s: need %s, reason %q", what, lookupNeeds[need], d.Reason)
		}
	}
	d := question(t, fromBilling, "any.test", typeA, classIN)
	d.Rules.Types = nil
	if need := d.Next(); need != gate.Refused || d.Reason != verdict.ReasonTypeNotAllowed {
		t.Errorf("no types: need %s, reason %q", lookupNeeds[need], d.Reason)
	}
}

// Whatever a driver is asked for it can refuse with, and then nothing more is asked.
func TestAReasonThatIsGivenRefusesALookupAtEveryNeed(t *testing.T) {
	t.Parallel()
	for need, want := range map[gate.Need]string{
		gate.Names: "names refused", gate.Records: "names records refused", gate.Record: "names records record refused",
	} {
		d := question(t, fromBilling, "a.wild.test", typeA, classIN)
		if got := walkLookup(d, resolver{refuseAt: need}); got != want || d.Reason != verdict.ReasonDraining || d.Event.Reason != d.Reason {
			t.Errorf("refused at %s: %s, reason %q", lookupNeeds[need], got, d.Reason)
		}
	}
}

// A driver that brings what was not asked for gets no further, and neither does one that
// brings nothing.
func TestALookupGoesOnByWhatWasAskedForAlone(t *testing.T) {
	t.Parallel()
	bring := map[string]func(*gate.LookupDecision){
		"nothing":          func(d *gate.LookupDecision) { d.Give(verdict.ReasonNone) },
		"room":             func(d *gate.LookupDecision) { d.GiveNames(true) },
		"an answer":        func(d *gate.LookupDecision) { d.GiveAnswer(nil, nil) },
		"one that is kept": func(d *gate.LookupDecision) { d.GiveStored(nil, nil) },
	}
	fits := map[gate.Need][]string{gate.Names: {"room"}, gate.Records: {"an answer", "one that is kept"}, gate.Record: {"nothing"}}
	for at, name := range lookupNeeds {
		for what, give := range bring {
			d := question(t, fromBilling, "a.wild.test", typeA, classIN)
			if at == gate.Refused {
				d.Refuse(verdict.ReasonDraining)
			}
			need := d.Next()
			for ; need != at && need != gate.Refused && need != gate.Answer; need = d.Next() {
				switch need {
				case gate.Names:
					d.GiveNames(true)
				case gate.Records:
					d.GiveAnswer(nil, nil)
				default:
					d.Give(verdict.ReasonNone)
				}
			}
			if need != at {
				t.Errorf("need %s never comes", name)
				continue
			}
			give(d)
			if need, fit := d.Next(), slices.Contains(fits[at], what); (need == gate.Refused) == fit || need == at && at != gate.Refused {
				t.Errorf("%s brought at %s: need %s, reason %q", what, name, lookupNeeds[need], d.Reason)
			}
		}
	}
	d := question(t, fromBilling, "any.test", typeA, classIN)
	for range 3 {
		if need := d.Next(); need != gate.Records {
			t.Fatalf("need %s", lookupNeeds[need])
		}
	}
}

// The memory of a question is used for the next one, which has nothing of it.
func TestALookupBeginsWithNothingOfTheOneBefore(t *testing.T) {
	t.Parallel()
	d := question(t, fromBilling, "any.test", typeA, classIN)
	walkLookup(d, resolver{aliases: []string{"a.evil.test"}})
	rules, client := d.Rules, d.Event.Client
	d.Begin(rules)
	d.Event = audit.Event{Client: client}
	d.BeginName("any.test", typeANY, classIN, now)
	if got := walkLookup(d, resolver{}); got != "record answer" || d.Reason != verdict.ReasonNone {
		t.Errorf("after a refusal: %s, reason %q", got, d.Reason)
	}
	d.Begin(rules)
	d.Event = audit.Event{Client: client}
	if need := d.Next(); need != gate.Refused {
		t.Errorf("begun and not asked: need %s", lookupNeeds[need])
	}
}
