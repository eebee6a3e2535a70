package diff_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/ipclass"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/diff"
)

// noon is when the comparisons of these tests are made; rules end at midnights.
var noon = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// question is one thing that can be asked of a policy.
type question struct {
	host    string // a name or an address
	port    uint16
	tls     bool       // by TLS to the name, or by something else
	address netip.Addr // where a name resolves to
	at      time.Time
}

// match is a rule that has the host of a question.
type match struct {
	conditions *policy.Conditions
	rank       []int // which goes first: the smaller
	literal    netip.Prefix
}

// String shows a question.
func (q question) String() string {
	return fmt.Sprintf("%s:%d at %s on %s, TLS %v", q.host, q.port, q.address, q.at.Format(time.DateTime), q.tls)
}

// may is the slow twin: it reads a Spec from front to back for one question, compares
// plain strings, and is written to be seen through.
func may(s policy.Spec, function string, q question) bool {
	i := slices.IndexFunc(s.Functions, func(f policy.FunctionSpec) bool { return f.Name == function })
	if i < 0 {
		return false
	}
	f, addr := s.Functions[i], q.address
	literal, err := netip.ParseAddr(q.host)
	if err == nil {
		addr = literal
	} else if slices.ContainsFunc(s.Deny, func(d policy.DenySpec) bool { return covers(d.Pattern.String(), q.host) }) {
		return false
	}
	if ipclass.AlwaysBlocked(addr) {
		return false
	}
	reports := q.at.Before(f.ReportUntil)
	var nearest *match
	nearness := 0
	for _, m := range matches(s, f, q.host, literal) {
		port, day := m.conditions != nil && hasPort(m.conditions.Ports, q.port), m.conditions != nil && (m.conditions.Expires.IsZero() || q.at.Before(m.conditions.Expires))
		if port && day {
			return opens(&m, addr) && (q.tls || reports || m.conditions.TLS == policy.TLSAny)
		}
		n := 1
		if port {
			n = 2 // it has expired
		}
		if n > nearness {
			nearest, nearness = &m, n
		}
	}
	return reports && opens(nearest, addr)
}

// hasPort reports whether a port is one of those.
func hasPort(ranges []hostname.PortRange, port uint16) bool {
	return slices.ContainsFunc(ranges, func(r hostname.PortRange) bool { return r.First <= port && port <= r.Last })
}

// opens reports whether a rule, or none, lets a connection go to an address that is not
// blocked.
func opens(m *match, a netip.Addr) bool {
	if ipclass.IsPublic(a) || m == nil {
		return ipclass.IsPublic(a)
	}
	in := func(p netip.Prefix) bool { return p.Contains(a) }
	return in(m.literal) || m.conditions != nil && slices.ContainsFunc(m.conditions.Addresses, in)
}

// covers reports whether the text of a pattern covers a name; "*" covers every one.
func covers(pattern, name string) bool {
	if apex, both := strings.CutPrefix(pattern, "."); both {
		return name == apex || strings.HasSuffix(name, pattern)
	}
	if tail, wildcard := strings.CutPrefix(pattern, "*"); wildcard {
		return strings.HasSuffix(name, tail) && len(name) > len(tail)
	}
	return pattern == name
}

// matches returns the rules that have a host in the order in which they are tried.
func matches(s policy.Spec, f policy.FunctionSpec, host string, literal netip.Addr) (all []match) {
	for i, r := range f.Rules {
		if literal.IsValid() {
			if r.Prefix.IsValid() && r.Prefix.Contains(literal) {
				all = append(all, match{r.Conditions, []int{-r.Prefix.Bits(), i}, r.Prefix})
			}
			continue
		}
		patterns, set := []hostname.Pattern{r.Pattern}, 0
		if r.Set > 0 {
			patterns, set = s.Sets[r.Set-1], 1
		}
		for _, p := range patterns {
			text := p.String()
			if text == "" || !covers(text, host) {
				continue
			}
			length := len(strings.TrimLeft(text, "*."))
			if length == len(host) {
				length = 1000
			}
			all = append(all, match{conditions: r.Conditions, rank: []int{-length, set, i}})
		}
	}
	slices.SortStableFunc(all, func(a, b match) int { return slices.Compare(a.rank, b.rank) })
	return all
}

// says reports whether one of the changes is about a question.
func says(all []diff.Change, q question) bool {
	return slices.ContainsFunc(all, func(c diff.Change) bool {
		port := hasPort(c.Ports, q.port) || c.EveryPort && !hasPort(c.NotPorts, q.port)
		carries := c.Carries == "any" || c.Carries == map[bool]string{true: "tls", false: "other"}[q.tls]
		return port && carries && saysWhen(c.When, q.at) && saysWhere(c, q)
	})
}

// saysWhen reports whether an instant is in one of the spans.
func saysWhen(all []diff.Span, at time.Time) bool {
	day := at.Format(time.DateOnly)
	return len(all) == 0 || slices.ContainsFunc(all, func(s diff.Span) bool {
		return s.From <= day && (s.Until == "" || day <= s.Until)
	})
}

// saysWhere reports whether a change is about the host and the address of a question.
func saysWhere(c diff.Change, q question) bool {
	if literal, err := netip.ParseAddr(q.host); err == nil {
		part := c.Part == "" || (c.Part == "public") == ipclass.IsPublic(literal)
		return strings.Contains(c.Covers, "/") && part && inRegion(c.Region, literal)
	}
	outside := func(p string) bool { return covers(p, q.host) }
	if strings.Contains(c.Covers, "/") || !covers(c.Covers, q.host) || slices.ContainsFunc(c.Except, outside) {
		return false
	}
	if ipclass.IsPublic(q.address) {
		return c.Public
	}
	return slices.ContainsFunc(c.Addresses, func(r diff.Region) bool { return inRegion(r, q.address) })
}

// inRegion reports whether an address is in a range and in none of its exceptions.
func inRegion(r diff.Region, a netip.Addr) bool {
	in := func(p string) bool { return netip.MustParsePrefix(p).Contains(a) }
	return !ipclass.AlwaysBlocked(a) && in(r.Covers) && !slices.ContainsFunc(r.Except, in)
}

// generator makes random pairs of policies and questions about them.
type generator struct{ *rand.Rand }

// one returns one of the choices.
func one[T any](g generator, all ...T) T { return all[g.IntN(len(all))] }

// name is a random name of few.
func (g generator) name() string {
	name := one(g, "example", "test")
	for range g.IntN(4) {
		name = one(g, "a", "b", "0", "c-d") + "." + name
	}
	return name
}

// pattern is a random pattern.
func (g generator) pattern() hostname.Pattern {
	p, err := hostname.ParsePattern(one(g, "", "", "", "*.", "*.", ".") + g.name())
	if err != nil {
		panic(err)
	}
	return p
}

// patterns are a few.
func (g generator) patterns(n int) (all []hostname.Pattern) {
	for range g.IntN(n + 1) {
		all = append(all, g.pattern())
	}
	return all
}

// ranges are what rules have under cidr and addresses: one within another, public and not,
// blocked in part, and with IPv4 addresses in them.
var ranges = []string{
	"0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.0.0.0/7", "1.1.1.0/24", "1.1.1.1/32", "203.0.113.0/24", "168.0.0.0/6", "192.0.0.0/8",
	"::/0", "2000::/3", "2600::/16", "2600:1::/32", "fc00::/7", "64:ff9b::/96", "2001::/16", "2002::/16", "2002:a00::/24",
}

// prefix is one of ranges.
func (g generator) prefix() netip.Prefix { return netip.MustParsePrefix(one(g, ranges...)) }

// day is a midnight, gone or to come; zero most of the time.
func (g generator) day() time.Time {
	if g.IntN(3) > 0 {
		return time.Time{}
	}
	return time.Date(2026, 11, 30+one(g, -5, 0, 1, 2, 9), 0, 0, 0, 0, time.UTC)
}

// in is an address of a range: the first, or another.
func (g generator) in(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	if g.IntN(2) == 0 {
		for i := p.Bits(); i < 8*len(b); i++ {
			b[i/8] |= byte(g.IntN(2)) << (7 - i%8)
		}
	} else if p.Bits() < 8*len(b) {
		b[len(b)-1] |= 1
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// rule is a random rule.
func (g generator) rule(sets int) policy.RuleSpec {
	c := &policy.Conditions{TLS: one(g, policy.TLSVerify, policy.TLSVerify, policy.TLSAny), Expires: g.day(), Ticket: one(g, "", "T-1")}
	for range g.IntN(4) {
		c.Ports = append(c.Ports, one(g, append(hostname.Ports(443, 443, 80, 22, 65535), hostname.PortRange{First: 22, Last: 80}, hostname.PortRange{First: 80, Last: 65534})...))
	}
	r := policy.RuleSpec{Conditions: c}
	switch k := g.IntN(8); {
	case k == 0 && sets > 0:
		r.Set = 1 + g.IntN(sets)
	case k == 1:
		r.Prefix = g.prefix()
	default:
		r.Pattern = g.pattern()
		for range max(g.IntN(5)-2, 0) {
			c.Addresses = append(c.Addresses, g.prefix())
		}
	}
	return r
}

// spec is a random policy.
func (g generator) spec() (s policy.Spec) {
	s.Sets = [][]hostname.Pattern{g.patterns(3), g.patterns(3)}
	for _, p := range g.patterns(2) {
		s.Deny = append(s.Deny, policy.DenySpec{Pattern: p})
	}
	for _, name := range []string{"f", "g"} {
		if g.IntN(8) == 0 {
			continue
		}
		f := policy.FunctionSpec{Name: name}
		if g.IntN(3) == 0 {
			f.ReportUntil = g.day()
		}
		for range g.IntN(6) {
			f.Rules = append(f.Rules, g.rule(len(s.Sets)))
		}
		s.Functions = append(s.Functions, f)
	}
	return s
}

// edited is a policy after a few edits, as a person makes them.
func (g generator) edited(s policy.Spec) policy.Spec {
	s.Functions, s.Deny, s.Sets = slices.Clone(s.Functions), slices.Clone(s.Deny), slices.Clone(s.Sets)
	for range 1 + g.IntN(3) {
		i := g.IntN(len(s.Functions) + 1)
		if i == len(s.Functions) {
			if g.IntN(2) == 0 {
				s.Deny = append(s.Deny, policy.DenySpec{Pattern: g.pattern()})
			} else {
				s.Sets[0] = g.patterns(3)
			}
			continue
		}
		rules := slices.Clone(s.Functions[i].Rules)
		switch k := g.IntN(4); {
		case k == 0 || len(rules) == 0:
			rules = append(rules, g.rule(len(s.Sets)))
		case k == 1:
			rules = slices.Delete(rules, 0, 1)
		case k == 2:
			g.Shuffle(len(rules), func(a, b int) { rules[a], rules[b] = rules[b], rules[a] })
		default:
			s.Functions[i].ReportUntil = g.day()
		}
		s.Functions[i].Rules = rules
	}
	return s
}

// question is a random one, about something that the policies or a change have now and then.
func (g generator) question(changes []diff.Change) question {
	q := question{
		host: g.name(), port: one[uint16](g, 443, 443, 80, 22, 23, 79, 81, 65535, 65534, 7), tls: g.IntN(2) == 0,
		address: g.in(g.prefix()), at: noon.AddDate(0, 0, g.IntN(12)),
	}
	if g.IntN(4) == 0 {
		q.host = g.in(g.prefix()).String()
	}
	if len(changes) == 0 || g.IntN(4) == 0 {
		return q
	}
	c := one(g, changes...)
	q.host = strings.Replace(c.Covers, "*", one(g, "a", "z", "a.b", "0"), 1)
	if p, err := netip.ParsePrefix(c.Covers); err == nil {
		q.host = g.in(p).String()
	}
	if len(c.Ports) > 0 {
		q.port = one(g, one(g, c.Ports...).First, one(g, c.Ports...).Last)
	}
	if len(c.Addresses) > 0 && g.IntN(2) == 0 {
		q.address = g.in(netip.MustParsePrefix(one(g, c.Addresses...).Covers))
	} else if c.Public {
		q.address = one(g, netip.MustParseAddr("1.1.1.1"), q.address)
	}
	if len(c.When) > 0 {
		q.at = noon.AddDate(0, 0, g.IntN(3))
	}
	return q
}

// pairs is how many pairs of policies are compared; .ci/long has more.
func pairs(t *testing.T) int {
	n, err := strconv.Atoi(cmp.Or(os.Getenv("EGRESS_DIFF_PAIRS"), "400"))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestDiffSaysWhatASlowMatcherSays(t *testing.T) {
	gained, lost, neither := 0, 0, 0
	for seed := range pairs(t) {
		g := generator{rand.New(rand.NewPCG(uint64(seed), 21))}
		old := g.spec()
		fresh := g.edited(old)
		if g.IntN(4) == 0 {
			fresh = g.spec()
		}
		d, err := diff.Compare(diff.Side{Spec: old}, diff.Side{Spec: fresh}, noon)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"f", "g"} {
			var f diff.Function
			if i := slices.IndexFunc(d.Functions, func(f diff.Function) bool { return f.Name == name }); i >= 0 {
				f = d.Functions[i]
			}
			for range 60 {
				q := g.question(slices.Concat(f.Gains, f.Loses))
				before, after := may(old, name, q), may(fresh, name, q)
				if says(f.Gains, q) != (after && !before) || says(f.Loses, q) != (before && !after) {
					t.Fatalf("pair %d, %s, %v: %v before, %v after; diff has\n%s%s", seed, name, q, before, after, lines("gains", f.Gains), lines("loses", f.Loses))
				}
				switch {
				case after && !before:
					gained++
				case before && !after:
					lost++
				default:
					neither++
				}
			}
		}
	}
	if all := gained + lost + neither; 30*gained < all || 30*lost < all {
		t.Errorf("of %d questions %d are about a gain, %d about a loss: the test says little", all, gained, lost)
	}
}

// lines shows changes.
func lines(word string, all []diff.Change) string {
	var b strings.Builder
	for _, c := range all {
		fmt.Fprintf(&b, "%s %+v\n", word, c)
	}
	return b.String()
}
