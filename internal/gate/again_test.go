package gate_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/gate"
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
