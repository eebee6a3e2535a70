package gate_test

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/gate"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hello"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/httphead"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// now is the instant of every decision.
var now = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// sample is the policy of the tests:
//
//	deny: ["*.evil.test"]
//	functions:
//	  billing:  {allow: [{host: tls.test, ports: [443, 80]}, {host: any.test, ports: [443], tls: any}]}
//	  nightly:  {mode: report, allow: [{host: tls.test, ports: [443]}, {host: "*.wild.test", ports: [443]}]}
//	  wild:     {allow: [{host: own.wild.test, ports: [22], tls: any}, {host: "*.wild.test", ports: [443, 80], tls: any}]}
func sample(t *testing.T) (*policy.Policy, *identity.Table) {
	t.Helper()
	conditions := func(mode policy.TLSMode, ports ...uint16) *policy.Conditions {
		return &policy.Conditions{Ports: hostname.Ports(ports...), TLS: mode}
	}
	rule := func(host string, c *policy.Conditions) policy.RuleSpec {
		p, err := hostname.ParsePattern(host)
		if err != nil {
			t.Fatal(err)
		}
		return policy.RuleSpec{Pattern: p, Conditions: c}
	}
	evil, err := hostname.ParsePattern("*.evil.test")
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Compile(policy.Spec{
		Deny: []policy.DenySpec{{Pattern: evil}},
		Functions: []policy.FunctionSpec{
			{Name: "billing", Owner: "payments", Rules: []policy.RuleSpec{rule("tls.test", conditions(policy.TLSVerify, 443, 80)), rule("any.test", conditions(policy.TLSAny, 443))}},
			{Name: "nightly", ReportUntil: now.Add(time.Hour), Rules: []policy.RuleSpec{
				rule("tls.test", conditions(policy.TLSVerify, 443)), rule("*.wild.test", conditions(policy.TLSAny, 443)),
			}},
			{Name: "wild", Rules: []policy.RuleSpec{rule("own.wild.test", conditions(policy.TLSAny, 22)), rule("*.wild.test", conditions(policy.TLSAny, 443, 80))}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	var entries []identity.Entry
	for _, name := range p.Functions() {
		entries = append(entries, identity.Entry{Function: name, Tokens: []identity.Token{sha256.Sum256([]byte(name))}})
	}
	ids, err := identity.New(entries)
	if err != nil {
		t.Fatal(err)
	}
	return p, ids
}

// ask begins a decision about "METHOD TARGET", by a function with its token, or by
// nobody ("").
func ask(t *testing.T, function, request string, fields ...string) *gate.Decision {
	t.Helper()
	method, target, _ := strings.Cut(request, " ")
	raw := method + " " + target + " HTTP/1.1\r\nHost: x\r\n"
	if function != "" {
		raw += "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(function+":"+function)) + "\r\n"
	}
	h, err := httphead.Parse(raw + strings.Join(fields, "") + "\r\n")
	if err != nil {
		t.Fatal(err)
	}
	front := gate.Plain
	if method == "CONNECT" {
		front = gate.Connect
	}
	d := &gate.Decision{}
	d.Policy, d.Identities = sample(t)
	d.Begin(front, h, now)
	return d
}

// public is what lookups find unless a test says otherwise.
var public = []netip.Addr{netip.MustParseAddr("1.1.1.1")}

// names says needs in words.
var names = map[gate.Need]string{
	gate.Token: "token", gate.Failure: "failure", gate.Slot: "slot", gate.Names: "names", gate.Lookup: "lookup", gate.Recordable: "recordable",
	gate.Dial: "dial", gate.Open: "open", gate.Hello: "hello", gate.Forward: "forward", gate.Tunnel: "tunnel", gate.Refused: "refused",
}

// walk brings whatever is asked for, or refuses at the need given, and returns all needs.
func walk(d *gate.Decision, aliases []string, helloErr error, refuseAt gate.Need) (needs []string) {
	for range 20 {
		need := d.Next()
		needs = append(needs, names[need])
		switch {
		case need == gate.Refused || need == gate.Tunnel || need == gate.Forward:
			return needs
		case need == refuseAt:
			d.Give(verdict.ReasonDraining)
		case need == gate.Names:
			d.GiveNames(true)
		case need == gate.Lookup:
			d.GiveAddresses(public, aliases)
		case need == gate.Hello:
			d.GiveHello(hello.Hello{}, helloErr)
		default:
			d.Give(verdict.ReasonNone)
		}
	}
	return append(needs, "without end")
}

func TestTheZeroDecisionRefuses(t *testing.T) {
	var d gate.Decision
	if need := d.Next(); need != gate.Refused || d.Reason == verdict.ReasonNone {
		t.Errorf("need %v, reason %q", need, d.Reason)
	}
	var zero gate.Need
	if zero != gate.Refused {
		t.Error("the zero Need is no refusal")
	}
	d = gate.Decision{}
	d.Begin(gate.Front(99), &httphead.Head{}, now)
	if need := d.Next(); need != gate.Refused || d.Reason == verdict.ReasonNone {
		t.Errorf("an unknown front: need %v, reason %q", need, d.Reason)
	}
	d = gate.Decision{} // neither policy nor identities
	d.Begin(gate.Connect, &httphead.Head{Method: "CONNECT", Target: "any.test:443"}, now)
	if need := d.Next(); need != gate.Refused {
		t.Errorf("without a policy: need %v", need)
	}
}

func TestFrontsWalkTheirStepsInOrder(t *testing.T) {
	t.Parallel()
	mismatch := error(hello.ErrMismatch)
	for _, row := range []struct {
		function, request string
		fields            []string
		aliases           []string
		helloErr          error
		needs             string
		reason            verdict.Reason
	}{
		{function: "billing", request: "CONNECT any.test:443", needs: "slot lookup recordable dial open tunnel"},
		{function: "billing", request: "CONNECT tls.test:443", helloErr: mismatch, needs: "slot lookup recordable dial open hello refused", reason: verdict.ReasonSNIMismatch},
		{function: "billing", request: "CONNECT tls.test:443", helloErr: hello.ErrMissing, needs: "slot lookup recordable dial open hello refused", reason: verdict.ReasonSNIMissing},
		{function: "billing", request: "CONNECT tls.test:443", helloErr: hello.ErrNotTLS, needs: "slot lookup recordable dial open hello refused", reason: verdict.ReasonNotTLS},
		{function: "billing", request: "CONNECT tls.test:443", helloErr: errors.New("of another kind"), needs: "slot lookup recordable dial open hello refused", reason: verdict.ReasonNotTLS},
		{function: "nightly", request: "CONNECT tls.test:443", helloErr: mismatch, needs: "slot lookup recordable dial open hello open tunnel"},
		{function: "nightly", request: "CONNECT other.test:443", needs: "slot lookup recordable dial open tunnel"},
		{function: "billing", request: "GET http://tls.test/", needs: "slot lookup recordable open forward"},
		{function: "billing", request: "POST http://tls.test/", fields: []string{"Content-Length: 5\r\n"}, needs: "slot lookup recordable open forward"},
		{function: "billing", request: "GET http://tls.test:443/", needs: "slot refused", reason: verdict.ReasonNotTLS},
		{function: "billing", request: "GET http://any.test:443/", needs: "slot lookup recordable open forward"},
		{function: "nightly", request: "GET http://tls.test:443/", needs: "slot lookup recordable open forward"},
		{function: "wild", request: "CONNECT a.wild.test:443", needs: "slot names lookup recordable dial open tunnel"},
		{function: "wild", request: "GET http://a.wild.test/", needs: "slot names lookup recordable open forward"},
		{function: "wild", request: "CONNECT own.wild.test:443", needs: "slot lookup recordable dial open tunnel"},
		{function: "wild", request: "CONNECT a.wild.test:22", needs: "slot refused", reason: verdict.ReasonPortNotAllowed},
		{function: "nightly", request: "CONNECT a.wild.test:443", needs: "slot names lookup recordable dial open tunnel"},
		{function: "nightly", request: "CONNECT a.wild.test:22", needs: "slot names lookup recordable dial open tunnel"},
		{function: "billing", request: "CONNECT other.test:443", needs: "slot refused", reason: verdict.ReasonHostNotAllowed},
		{function: "billing", request: "CONNECT any.test:22", needs: "slot refused", reason: verdict.ReasonPortNotAllowed},
		{function: "billing", request: "CONNECT a.evil.test:443", needs: "slot refused", reason: verdict.ReasonHostDenied},
		{function: "nightly", request: "CONNECT a.evil.test:443", needs: "slot refused", reason: verdict.ReasonHostDenied},
		{function: "billing", request: "CONNECT any.test:443", aliases: []string{"a.evil.test"}, needs: "slot lookup refused", reason: verdict.ReasonHostDenied},
		{function: "billing", request: "CONNECT any.test", needs: "refused", reason: verdict.ReasonBadTarget},
		{function: "billing", request: "CONNECT any.test:443", fields: []string{"Content-Length: 5\r\n"}, needs: "refused", reason: verdict.ReasonBadRequest},
		{function: "billing", request: "CONNECT any.test:443", fields: []string{"Via: 1.1 egress\r\n"}, needs: "refused", reason: verdict.ReasonLoop},
		{function: "billing", request: "TRACE http://tls.test/", needs: "refused", reason: verdict.ReasonMethodNotAllowed},
		{function: "billing", request: "GET https://tls.test/", needs: "refused", reason: verdict.ReasonHTTPSNotTunneled},
		{function: "billing", request: "GET ftp://tls.test/", needs: "refused", reason: verdict.ReasonSchemeNotSupported},
		{function: "billing", request: "GET http://tls.test/", fields: []string{"Expect: tea\r\n"}, needs: "refused", reason: verdict.ReasonBadRequest},
		{function: "", request: "CONNECT any.test:443", needs: "refused", reason: verdict.ReasonIdentityRequired},
		{function: "nobody", request: "CONNECT any.test:443", needs: "failure refused", reason: verdict.ReasonIdentityRejected},
	} {
		d := ask(t, row.function, row.request, row.fields...)
		if got := strings.Join(walk(d, row.aliases, row.helloErr, gate.Refused), " "); got != row.needs || d.Reason != row.reason {
			t.Errorf("%s by %q: %s, reason %q; want %s, %q", row.request, row.function, got, d.Reason, row.needs, row.reason)
		}
	}
}

// Whatever a driver is asked for it can refuse with, and then nothing more is asked.
func TestAReasonThatIsGivenRefusesAtEveryNeed(t *testing.T) {
	t.Parallel()
	for request, function := range map[string]string{"CONNECT tls.test:443": "billing", "POST http://tls.test/": "billing", "CONNECT a.wild.test:443": "wild", "GET http://a.wild.test/": "wild"} {
		for need, name := range names {
			if need == gate.Refused || need == gate.Tunnel || need == gate.Forward {
				continue
			}
			d := ask(t, function, request, strings.Repeat("Content-Length: 5\r\n", strings.Count(request, "POST")))
			needs := walk(d, nil, hello.ErrMismatch, need)
			if slices.Contains(needs, name) && (d.Reason != verdict.ReasonDraining || needs[len(needs)-2] != name) {
				t.Errorf("%s refused at %s: %v, reason %q", request, name, needs, d.Reason)
			}
		}
	}
}

// A driver that does not bring what is asked for gets no further.
func TestNextAsksAgainUntilItIsGiven(t *testing.T) {
	d := ask(t, "billing", "CONNECT any.test:443")
	for range 3 {
		if need := d.Next(); need != gate.Slot {
			t.Fatalf("need %v", names[need])
		}
	}
}

func TestACredentialThatDoesNotHoldIsRefusedWhateverIsGiven(t *testing.T) {
	for _, given := range []verdict.Reason{verdict.ReasonNone, verdict.ReasonLimitFailures} {
		d := ask(t, "nobody", "CONNECT any.test:443")
		if need := d.Next(); need != gate.Failure {
			t.Fatalf("need %s", names[need])
		}
		d.Give(given)
		if need := d.Next(); need != gate.Refused || d.Reason == verdict.ReasonNone {
			t.Errorf("given %q: need %s, reason %q", given, names[need], d.Reason)
		}
	}
}

// What was not asked for, or is brought by the wrong method, opens nothing: not a need
// that is skipped, and not a refusal that is taken back.
func TestWhatWasNotAskedForRefuses(t *testing.T) {
	t.Parallel()
	brought := map[string]func(*gate.Decision){
		"nothing":   func(d *gate.Decision) { d.Give(verdict.ReasonNone) },
		"room":      func(d *gate.Decision) { d.GiveNames(true) },
		"addresses": func(d *gate.Decision) { d.GiveAddresses(public, nil) },
		"hello":     func(d *gate.Decision) { d.GiveHello(hello.Hello{}, nil) },
		"no reason": func(d *gate.Decision) { d.Refuse(verdict.ReasonNone, nil) },
	}
	fits := map[gate.Need]string{gate.Names: "room", gate.Lookup: "addresses", gate.Hello: "hello"}
	for request, function := range map[string]string{"CONNECT tls.test:443": "billing", "CONNECT other.test:443": "billing", "CONNECT a.wild.test:443": "wild"} {
		for what, bring := range brought {
			for stop := range 8 {
				d := ask(t, function, request)
				need := d.Next()
				for range stop {
					switch need {
					case gate.Names:
						d.GiveNames(true)
					case gate.Lookup:
						d.GiveAddresses(public, nil)
					case gate.Refused, gate.Hello:
					default:
						d.Give(verdict.ReasonNone)
					}
					need = d.Next()
				}
				fit := fits[need]
				if fit == "" {
					fit = "nothing"
				}
				if what == fit && need != gate.Refused {
					continue
				}
				if bring(d); d.Next() != gate.Refused || d.Reason == verdict.ReasonNone {
					t.Errorf("%s at %s: %s goes on to %s", request, names[need], what, names[d.Next()])
				}
			}
		}
	}
}

// A name below a wildcard for which there is no room is refused before it is looked up.
func TestANameThatThereIsNoRoomForIsNotLookedUp(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ function, request string }{
		{"wild", "CONNECT a.wild.test:443"}, {"wild", "GET http://a.wild.test/"}, {"nightly", "CONNECT a.wild.test:443"},
	} {
		d := ask(t, row.function, row.request)
		d.Next()
		d.Give(verdict.ReasonNone)
		if need := d.Next(); need != gate.Names || d.Wildcard != "wild.test" {
			t.Fatalf("%s by %s: need %s below %q", row.request, row.function, names[need], d.Wildcard)
		}
		d.GiveNames(false)
		if need := d.Next(); need != gate.Refused || d.Reason != verdict.ReasonLimitNames {
			t.Errorf("%s by %s: need %s, reason %q", row.request, row.function, names[need], d.Reason)
		}
	}
}

func TestALookupWithoutAddressesIsRefused(t *testing.T) {
	d := ask(t, "billing", "CONNECT any.test:443")
	d.Next()
	d.Give(verdict.ReasonNone)
	d.Next()
	d.GiveAddresses(nil, nil)
	if need := d.Next(); need != gate.Refused || d.Reason != verdict.ReasonDNSFailed {
		t.Errorf("need %s, reason %q", names[need], d.Reason)
	}
}

// An address is checked against the list of our own before the dial, and by Permits
// again when the kernel is given it.
func TestAddressThatIsNotPermittedIsNotDialed(t *testing.T) {
	for _, row := range []struct {
		addrs []string
		self  bool
		want  gate.Need
	}{
		{[]string{"1.1.1.1"}, false, gate.Recordable},
		{[]string{"1.1.1.1"}, true, gate.Refused},
		{[]string{"10.0.0.1"}, false, gate.Refused},
		{[]string{"1.1.1.1", "169.254.169.254"}, false, gate.Refused},
		{[]string{"::ffff:169.254.169.254"}, false, gate.Refused},
	} {
		d := ask(t, "billing", "CONNECT any.test:443")
		d.Self = func(netip.AddrPort) bool { return row.self }
		var addrs []netip.Addr
		for _, a := range row.addrs {
			addrs = append(addrs, netip.MustParseAddr(a))
		}
		d.Next()
		d.Give(verdict.ReasonNone)
		d.Next()
		d.GiveAddresses(addrs, nil)
		if need := d.Next(); need != row.want || need == gate.Refused && d.Reason != verdict.ReasonAddressNotAllowed {
			t.Errorf("%v, own %v: need %s, reason %q", row.addrs, row.self, names[need], d.Reason)
		}
	}
}

// What is open is judged again by the policy that has come, without what only the way
// there needed.
func TestWhatIsOpenIsJudgedAgain(t *testing.T) {
	d := ask(t, "billing", "CONNECT any.test:443")
	walk(d, []string{"cdn.test"}, nil, gate.Refused)
	d.Event.Dialed = netip.AddrPortFrom(public[0], 443)
	p, ids, o := d.Policy, d.Identities, d.Opened
	if !o.StillAllowed(p, ids, now) {
		t.Error("the same policy ends it")
	}
	if o.StillAllowed(nil, ids, now) || o.StillAllowed(p, nil, now) {
		t.Error("it outlives its policy or its caller")
	}
	o.Aliases = []string{"cdn.evil.test"}
	if o.StillAllowed(p, ids, now) {
		t.Error("it outlives a denied alias")
	}
}
