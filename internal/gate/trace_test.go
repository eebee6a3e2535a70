package gate_test

import (
	"encoding/base64"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/gate"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// traced walks a request whose lookup finds one address, and returns what explain would
// print, and the decision.
func traced(t *testing.T, function, request, address string, aliases ...string) (string, *gate.Decision) {
	t.Helper()
	d := ask(t, function, request)
	var trace []string
	d.Trace = func(line string) { trace = append(trace, line) }
	d.Self = func(a netip.AddrPort) bool { return a == netip.MustParseAddrPort("1.0.0.1:443") }
	for need := d.Next(); need != gate.Refused && need != gate.Recordable; need = d.Next() {
		switch need {
		case gate.Names:
			d.GiveNames(true)
		case gate.Lookup:
			d.GiveAddresses([]netip.Addr{netip.MustParseAddr(address)}, aliases)
		default:
			d.Give(verdict.ReasonNone)
		}
	}
	return strings.Join(trace, "\n"), d
}

// The trace says what each step has found, as explain prints it.
func TestTheTraceSaysWhatEachStepHasFound(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		function, request, address string
		aliases                    []string
		want                       []string
		refused                    verdict.Reason
	}{
		{function: "billing", request: "CONNECT any.test:443", address: "1.1.1.1", want: []string{
			"deny list: does not have the host", "functions.billing.allow[1]", "addresses: 1.1.1.1 is permitted",
		}},
		{function: "billing", request: "CONNECT any.test:443", address: "1.0.0.1", want: []string{"addresses: 1.0.0.1 is the proxy itself"}, refused: verdict.ReasonAddressNotAllowed},
		{function: "billing", request: "CONNECT any.test:443", address: "::ffff:1.0.0.1", want: []string{"addresses: ::ffff:1.0.0.1 is the proxy itself"}, refused: verdict.ReasonAddressNotAllowed},
		{function: "billing", request: "CONNECT any.test:443", address: "169.254.169.254", want: []string{"addresses: 169.254.169.254 can be opened by no rule"}, refused: verdict.ReasonAddressNotAllowed},
		{function: "billing", request: "CONNECT any.test:443", address: "10.0.0.1", want: []string{"addresses: 10.0.0.1 is not public, and the rule does not open it"}, refused: verdict.ReasonAddressNotAllowed},
		{function: "billing", request: "CONNECT any.test:443", address: "::ffff:10.0.0.1", want: []string{"addresses: ::ffff:10.0.0.1 is not public, and the rule does not open it"}, refused: verdict.ReasonAddressNotAllowed},
		{function: "wild", request: "CONNECT a.wild.test:443", address: "1.1.1.1", want: []string{"names: this is one of those below *.wild.test that"}},
		{function: "billing", request: "CONNECT any.test:443", address: "1.1.1.1", aliases: []string{"cdn.test", "a.evil.test"}, want: []string{
			"aliases: any.test leads through cdn.test, a.evil.test, of which the deny list has one (deny[0], line 0)",
		}, refused: verdict.ReasonHostDenied},
		{function: "billing", request: "GET http://tls.test:443/", address: "1.1.1.1", want: []string{"the rule wants TLS, and plain HTTP goes to port 80 alone"}, refused: verdict.ReasonNotTLS},
		{function: "nightly", request: "GET http://tls.test:443/", address: "1.1.1.1", want: []string{"the rule wants TLS, and plain HTTP goes to port 80 alone"}},
	} {
		text, d := traced(t, row.function, row.request, row.address, row.aliases...)
		for _, want := range row.want {
			if !strings.Contains(text, want) {
				t.Errorf("%s to %s: the trace lacks %q:\n%s", row.request, row.address, want, text)
			}
		}
		if d.Reason != row.refused {
			t.Errorf("%s to %s: reason %q", row.request, row.address, d.Reason)
		}
	}
}

// A refusal is recorded with everything that was found before it.
func TestTheEventHasWhatWasFoundUpToTheRefusal(t *testing.T) {
	t.Parallel()
	_, d := traced(t, "billing", "CONNECT any.test:443", "1.1.1.1", "a.evil.test")
	e := d.Event
	if e.Host != "any.test" || e.Port != 443 || e.Function != "billing" || e.Owner != "payments" || e.Via != "token" ||
		!slices.Equal(e.Addresses, public) || e.Rule.String() != "deny[0]" {
		t.Errorf("of an alias that is denied: %+v", e)
	}
	_, d = traced(t, "billing", "CONNECT any.test:22", "1.1.1.1")
	if e := d.Event; e.Rule.String() != "functions.billing.allow[1]" || e.Verdict != verdict.Deny || e.Reason != verdict.ReasonPortNotAllowed || e.Addresses != nil {
		t.Errorf("of a port that is not allowed: %+v", e)
	}
	_, d = traced(t, "nightly", "GET http://tls.test:443/", "1.1.1.1")
	d.Give(verdict.ReasonNone)
	if need := d.Next(); need != gate.Open || d.Event.Verdict != verdict.Report || d.Event.Reason != verdict.ReasonNotTLS {
		t.Errorf("of a report: need %s, %v, %q", names[need], d.Event.Verdict, d.Event.Reason)
	}
}

// What is brought unasked refuses, and is neither kept nor recorded.
func TestWhatWasNotAskedForIsNotKept(t *testing.T) {
	t.Parallel()
	d := ask(t, "billing", "CONNECT any.test:443")
	d.Next()
	d.GiveAddresses(public, []string{"cdn.test"})
	if need := d.Next(); need != gate.Refused || d.Reason != verdict.ReasonHostNotAllowed || d.Addresses != nil || d.Aliases != nil {
		t.Errorf("a request: need %s, reason %q, addresses %v by way of %v", names[need], d.Reason, d.Addresses, d.Aliases)
	}
	l := question(t, fromBilling, "a.wild.test", typeA, classIN)
	l.Next()
	l.GiveAnswer(nil, public)
	if need := l.Next(); need != gate.Refused || l.Reason != verdict.ReasonHostNotAllowed || l.Event.Addresses != nil {
		t.Errorf("a lookup: need %s, reason %q, addresses %v", lookupNeeds[need], l.Reason, l.Event.Addresses)
	}
}

// Whoever shows a credential that does not hold is of no function; the one that it names
// is recorded as claimed, if there is one, and nothing else that a caller wrote.
func TestFunctionOfACredentialThatDoesNotHoldIsClaimedAlone(t *testing.T) {
	t.Parallel()
	credential := func(name, secret string) string {
		return "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+secret)) + "\r\n"
	}
	for what, row := range map[string]struct{ fields, claimed string }{
		"a wrong token":              {credential("billing", "wrong"), "billing"},
		"a name that is no function": {credential("nobody", "wrong"), ""},
		"two credentials":            {credential("billing", "billing") + credential("billing", "billing"), "billing"},
		"another scheme":             {"Proxy-Authorization: Bearer billing\r\n", ""},
	} {
		d := ask(t, "", "CONNECT any.test:443", row.fields)
		if need := d.Next(); need != gate.Failure {
			t.Errorf("%s: need %s", what, names[need])
		}
		if e := d.Event; e.Claimed != row.claimed || e.Function != "" || e.Owner != "" || d.Function != nil {
			t.Errorf("%s: function %q of %q, claimed %q; want %q", what, e.Function, e.Owner, e.Claimed, row.claimed)
		}
	}
}

// A literal address is looked up nowhere: it is the one that may be dialed.
func TestLiteralAddressIsItsOwnAnswer(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ request, needs string }{
		{"CONNECT 1.1.1.1:443", "slot recordable dial open tunnel"}, {"CONNECT 10.0.0.1:443", "slot refused"},
	} {
		d := ask(t, "nightly", row.request)
		if needs := strings.Join(walk(d, nil, nil, gate.Refused), " "); needs != row.needs || !slices.Equal(d.Addresses, []netip.Addr{d.Target.Host.Addr()}) {
			t.Errorf("%s: %s, addresses %v", row.request, needs, d.Addresses)
		}
	}
}
