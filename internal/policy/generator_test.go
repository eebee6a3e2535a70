package policy_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
)

// generator makes random policies and requests that overlap a great deal.
type generator struct {
	rng    *rand.Rand
	labels int // how many different labels there are
	short  int // the fewest labels of a name, less one
}

// newGenerator returns the generator of a seed, with a vocabulary that fits n rules.
func newGenerator(seed uint64, n int) *generator {
	w := &generator{rng: rand.New(rand.NewPCG(seed, 7)), labels: 3}
	for w.labels*w.labels < n {
		w.labels++
	}
	if n > 1000 {
		w.short = 1 // a wildcard over a top-level label would cover everything
	}
	return w
}

// name is a random name of one to five labels.
func (w *generator) name() string {
	parts := []string{[]string{"test", "example", "xn--p1ai"}[w.rng.IntN(3)]}
	for range w.short + w.rng.IntN(5-w.short) {
		parts = append(parts, fmt.Sprintf("l%d", w.rng.IntN(w.labels)))
	}
	slices.Reverse(parts)
	return strings.Join(parts, ".")
}

// pattern is a random pattern: a name, those below one, or both.
func (w *generator) pattern() hostname.Pattern {
	return mustPattern([]string{"", "", "", "", "*.", "."}[w.rng.IntN(6)] + w.name())
}

// patterns are up to n random patterns.
func (w *generator) patterns(n int) []hostname.Pattern {
	var all []hostname.Pattern
	for range w.rng.IntN(n + 1) {
		all = append(all, w.pattern())
	}
	return all
}

// port is one of few ports.
func (w *generator) port() uint16 { return []uint16{443, 443, 443, 80, 22}[w.rng.IntN(5)] }

// ports are one of those or some that follow each other.
func (w *generator) ports() hostname.PortRange {
	ranges := []hostname.PortRange{{First: 22, Last: 80}, {First: 79, Last: 81}, {First: 1, Last: 79}, {First: 80, Last: 442}}
	if w.rng.IntN(4) > 0 {
		return hostname.Port(w.port())
	}
	return ranges[w.rng.IntN(len(ranges))]
}

// conditions are random conditions: some without a port, some expired, some that
// expire at this very instant.
func (w *generator) conditions() *policy.Conditions {
	if w.rng.IntN(40) == 0 {
		return nil
	}
	t := &policy.Conditions{}
	for range w.rng.IntN(4) {
		t.Ports = append(t.Ports, w.ports())
	}
	switch w.rng.IntN(6) {
	case 0:
		t.Expires = noon.Add(-24 * time.Hour)
	case 1:
		t.Expires = noon
	case 2:
		t.Expires = noon.Add(time.Second)
	}
	return t
}

// addr is a random address out of few.
func (w *generator) addr() netip.Addr {
	if w.rng.IntN(2) == 0 {
		return netip.AddrFrom4([4]byte{10, byte(w.rng.IntN(2)), byte(w.rng.IntN(2)), byte(w.rng.IntN(4))})
	}
	return netip.AddrFrom16([16]byte{0: 0x20, 1: 1, 2: 0x0d, 3: 0xb8, 7: byte(w.rng.IntN(2)), 15: byte(w.rng.IntN(4))})
}

// spec is a random policy whose function "f" has n rules.
func (w *generator) spec(n int) policy.Spec {
	s := policy.Spec{Sets: [][]hostname.Pattern{w.patterns(4), w.patterns(40), w.patterns(n/10 + 4)}}
	for range w.rng.IntN(min(n/20, 300) + 2) {
		s.Deny = append(s.Deny, policy.DenySpec{Pattern: w.pattern(), Line: len(s.Deny) + 2})
	}
	f := policy.FunctionSpec{Name: "f"}
	for i := range n {
		r := policy.RuleSpec{Line: 100 + i, Conditions: w.conditions()}
		switch k := w.rng.IntN(20); {
		case k == 0 && i < 200:
			r.Set = 1 + w.rng.IntN(len(s.Sets))
		case k < 3:
			a := w.addr()
			r.Prefix = netip.PrefixFrom(a, w.rng.IntN(a.BitLen()+1)).Masked()
		default:
			r.Pattern = w.pattern()
		}
		f.Rules = append(f.Rules, r)
	}
	if w.rng.IntN(3) == 0 {
		f.ReportUntil = noon.Add(time.Duration(w.rng.IntN(3)-1) * time.Hour)
	}
	s.Functions = []policy.FunctionSpec{f, {Name: "other", Rules: []policy.RuleSpec{host("other.test")}}}
	return s
}

// host is a random request's host, near to some rule of the spec.
func (w *generator) host(s policy.Spec) string {
	rules := s.Functions[0].Rules
	name := w.name()
	switch k := w.rng.IntN(8); {
	case k == 0:
		if a := w.addr(); a.Is4() {
			return a.String()
		} else {
			return "[" + a.String() + "]"
		}
	case k == 1 && len(s.Deny) > 0:
		name = s.Deny[w.rng.IntN(len(s.Deny))].Pattern.Name().String()
	case k < 6 && len(rules) > 0:
		if p := rules[w.rng.IntN(len(rules))].Pattern; !p.IsZero() {
			name = p.Name().String()
		}
	}
	for range w.rng.IntN(3) {
		name = fmt.Sprintf("l%d.", w.rng.IntN(w.labels)) + name
	}
	return name
}

// respell is the same host in random case, with a trailing dot now and then.
func (w *generator) respell(host string) string {
	if strings.HasPrefix(host, "[") || host[0] <= '9' {
		return host
	}
	b := []byte(host)
	for i, c := range b {
		if 'a' <= c && c <= 'z' && w.rng.IntN(2) == 0 {
			b[i] = c - 'a' + 'A'
		}
	}
	if w.rng.IntN(2) == 0 && !strings.HasSuffix(host, ".") {
		b = append(b, '.')
	}
	return string(b)
}
