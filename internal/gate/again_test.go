package gate_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/gate"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// A plain request is judged again as one: the rule may want TLS, at another port than 80,
// and every address is asked about, for it may go to any.
func TestPlainRequestIsJudgedAgainAsOne(t *testing.T) {
	d := ask(t, "billing", "GET http://tls.test/")
	if needs := walk(d, []string{"cdn.test"}, nil, gate.Refused); needs[len(needs)-1] != "forward" {
		t.Fatalf("needs %v", needs)
	}
	still := func(change func(o *gate.Opened)) bool {
		o := d.Opened
		change(&o)
		return o.StillAllowed(d.Policy, d.Identities, now)
	}
	if !still(func(*gate.Opened) {}) {
		t.Error("the same policy ends it")
	}
	for why, change := range map[string]func(o *gate.Opened){
		"a port where the rule wants TLS":      func(o *gate.Opened) { o.Target.Port = 443 },
		"a tunnel to port 80, without a hello": func(o *gate.Opened) { o.Clear = false; o.Event.Dialed = netip.AddrPortFrom(public[0], 80) },
		"an address that is not permitted": func(o *gate.Opened) {
			o.Event.Addresses = append(slices.Clone(public), netip.MustParseAddr("10.0.0.1"))
		},
		"a denied alias":                   func(o *gate.Opened) { o.Aliases = []string{"cdn.evil.test"} },
		"another function, with its token": func(o *gate.Opened) { o.Event.Function = "nightly" },
		"a host without a rule":            func(o *gate.Opened) { o.Target = ask(t, "billing", "CONNECT tls.test:22").Target },
	} {
		if still(change) {
			t.Errorf("it outlives %s", why)
		}
	}
}

// A certificate may show who calls while its time lasts; what has been opened by it
// outlives that, and ends when its authority is not trusted any more.
func TestCertificateHasToHoldForANewRequestAndToBeTrustedForAnOldOne(t *testing.T) {
	a, other := egresstest.NewAuthority(t), egresstest.NewAuthority(t)
	certificate := a.Issue("billing.internal")
	certified := func(authority *egresstest.Authority) *identity.Table {
		table, err := identity.NewTrusting(authority.Pool(), []identity.Entry{{Function: "billing", Certificates: []string{"billing.internal"}}})
		if err != nil {
			t.Fatal(err)
		}
		return table
	}
	within := certificate.Leaf.NotAfter.Add(-time.Minute)
	over := certificate.Leaf.NotAfter.Add(time.Minute)
	asked := func(table *identity.Table, at time.Time) *gate.Decision {
		d := ask(t, "", "CONNECT any.test:443")
		d.Identities = table
		d.Caller.Chain = identity.NewChain(tls.ConnectionState{
			VerifiedChains: [][]*x509.Certificate{{certificate.Leaf}}, PeerCertificates: []*x509.Certificate{certificate.Leaf},
		}, within)
		d.Caller.Certificate = d.Caller.Chain.Names()
		d.Begin(gate.Connect, d.Head, at)
		return d
	}
	if need := asked(certified(a), over).Next(); need != gate.Failure {
		t.Errorf("behind its end it needs %s", names[need])
	}
	if need := asked(certified(other), within).Next(); need != gate.Failure {
		t.Errorf("of another authority it needs %s", names[need])
	}
	d := asked(certified(a), within)
	if needs := walk(d, nil, nil, gate.Refused); needs[len(needs)-1] != "tunnel" {
		t.Fatalf("needs %v", needs)
	}
	d.Event.Dialed = netip.AddrPortFrom(public[0], 443)
	if !d.StillAllowed(d.Policy, certified(a), over) {
		t.Error("the tunnel does not outlive its certificate's time")
	}
	if d.StillAllowed(d.Policy, certified(other), within) {
		t.Error("the tunnel outlives its certificate's authority")
	}
}

// A tunnel under a rule that wants TLS stays by its ClientHello: one that was let through
// in report mode holds as long as that does.
func TestTunnelStaysByTheHelloThatOpenedIt(t *testing.T) {
	t.Parallel()
	later := now.Add(2 * time.Hour) // nightly enforces then
	for _, row := range []struct {
		function, request, sni, dialed string
		at                             time.Time
		want                           bool
	}{
		{"billing", "CONNECT tls.test:443", "tls.test", "1.1.1.1", now, true},
		{"billing", "CONNECT tls.test:443", "tls.test", "10.0.0.1", now, false},
		{"nightly", "CONNECT tls.test:443", "tls.test", "1.1.1.1", later, true},
		{"nightly", "CONNECT tls.test:443", "other.test", "1.1.1.1", now, true},
		{"nightly", "CONNECT tls.test:443", "other.test", "1.1.1.1", later, false},
		{"nightly", "CONNECT other.test:443", "", "1.1.1.1", now, true},
		{"nightly", "CONNECT other.test:443", "", "1.1.1.1", later, false},
	} {
		d := ask(t, row.function, row.request)
		need := d.Next()
		for ; need != gate.Tunnel && need != gate.Refused; need = d.Next() {
			switch need {
			case gate.Lookup:
				d.GiveAddresses(public, nil)
			case gate.Hello:
				d.GiveHello(helloFor(t, row.sni), nil)
			default:
				d.Give(verdict.ReasonNone)
			}
		}
		if d.Event.Dialed = netip.AddrPortFrom(netip.MustParseAddr(row.dialed), 443); need != gate.Tunnel {
			t.Fatalf("%s with %q: need %s", row.request, row.sni, names[need])
		}
		if got := d.StillAllowed(d.Policy, d.Identities, row.at); got != row.want {
			t.Errorf("%s by %s with %q, dialed %s, at %s: it stays: %t", row.request, row.function, row.sni, row.dialed, row.at, got)
		}
	}
}
