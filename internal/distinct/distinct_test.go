package distinct_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/distinct"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/fair"
)

// caller reads one: an address, or the name of a function.
func caller(text string) fair.Caller {
	if a, err := netip.ParseAddr(text); err == nil {
		return fair.CallerOf("", a)
	}
	return fair.CallerOf(text, netip.Addr{})
}

// start is when the tests begin.
var start = time.Unix(1000, 0)

func TestNamesAreCountedByCallerAndWildcardForAMinute(t *testing.T) {
	c := distinct.New(distinct.Options{Limit: 2})
	for _, row := range []struct {
		after          time.Duration
		caller         string
		wildcard, name string
		want           bool
	}{
		{0, "192.0.2.1", "*.a.example", "1.a.example", true},
		{0, "192.0.2.1", "*.a.example", "2.a.example", true},
		{0, "192.0.2.1", "*.a.example", "3.a.example", false},
		{0, "192.0.2.1", "*.a.example", "1.a.example", true}, // it is counted already
		{0, "192.0.2.1", "*.b.example", "3.b.example", true},
		{0, "192.0.2.2", "*.a.example", "3.a.example", true},
		{0, "billing", "*.a.example", "3.a.example", true},
		{0, "2001:db8::1", "*.a.example", "1.a.example", true},
		{0, "2001:db8::2", "*.a.example", "2.a.example", true},
		{0, "2001:db8::3", "*.a.example", "3.a.example", false}, // it is one client with those
		{59 * time.Second, "192.0.2.1", "*.a.example", "3.a.example", false},
		{time.Minute, "192.0.2.1", "*.a.example", "3.a.example", true},
	} {
		if got := c.Allow(caller(row.caller), row.wildcard, row.name, start.Add(row.after)); got != row.want {
			t.Errorf("after %v, %s by %s: %t", row.after, row.name, row.caller, got)
		}
	}
}

// full counts what Options.Full was told.
type full map[string]int

func (f full) add(c fair.Caller, cause string) { f[c.Function+" "+cause]++ }

// flood asks for a name below each of many wildcards, by a caller for each i.
func flood(c *distinct.Counter, n int, who func(i int) string) (allowed int) {
	for i := range n {
		if c.Allow(caller(who(i)), fmt.Sprintf("*.w%d.example", i%100), fmt.Sprintf("n%d.w%d.example", i, i%100), start) {
			allowed++
		}
	}
	return allowed
}

// What one caller, and all that may have forged their addresses, hold leaves the names of
// others alone; and there is space again when their minute is over.
func TestNamesOfOneCallerStandInNobodysWay(t *testing.T) {
	const most = 8000
	for _, attacker := range []struct {
		name string
		who  func(i int) string
		most int // names that are remembered of it
	}{
		{"one function", func(int) string { return "attacker" }, most / 4},
		{"one source", func(int) string { return "10.0.0.1" }, most / 8},
		{"many addresses of one prefix", func(i int) string { return fmt.Sprintf("2001:db8::%x", i+1) }, most / 8},
		{"many sources of no function", func(i int) string { return fmt.Sprintf("10.%d.%d.1", i/250, i%250) }, most / 2},
	} {
		t.Run(attacker.name, func(t *testing.T) {
			told := full{}
			c := distinct.New(distinct.Options{Limit: 1000, Most: most, Full: told.add})
			if got := flood(c, 20_000, attacker.who); got > attacker.most || got == 0 {
				t.Errorf("%d names are remembered, want at most %d", got, attacker.most)
			}
			for i := range 900 {
				if !c.Allow(caller("honest"), "*.a.example", fmt.Sprintf("%d.a.example", i), start) {
					t.Fatalf("name %d of another function is refused", i)
				}
			}
			if attacker.name != "many sources of no function" && !c.Allow(caller("192.0.2.1"), "*.a.example", "1.a.example", start) {
				t.Error("a name of another source is refused")
			}
			if len(told) != 1 {
				t.Errorf("told %v", told)
			}
			if got := flood(c, 100, func(int) string { return "10.9.9.9" }); attacker.name == "many sources of no function" && got > 0 {
				t.Errorf("%d names more are remembered", got)
			}
			if !c.Allow(caller(attacker.who(0)), "*.a.example", "new.a.example", start.Add(2*time.Minute)) {
				t.Error("there is no space after the windows are over")
			}
		})
	}
}

// Where functions take all, the one that has most gives way, and gets no name more by it.
func TestFunctionThatHasMostGivesWay(t *testing.T) {
	const most, limit = 8000, 10
	told := full{}
	c := distinct.New(distinct.Options{Limit: limit, Most: most, Full: told.add})
	passed := map[string]int{}
	ask := func(function, wildcard, name string) bool {
		ok := c.Allow(caller(function), wildcard, name, start)
		if ok {
			passed[function+" "+wildcard]++
		}
		return ok
	}
	for round := range 2 { // other names in the second one, by which nobody may get more
		for attacker := range 7 {
			for i := range 100 * 2 * limit {
				ask(fmt.Sprintf("attacker%d", attacker), fmt.Sprintf("*.w%d.example", i%100), fmt.Sprintf("n%d-%d.example", round, i))
			}
		}
		for i := range limit / 2 {
			if !ask("honest", "*.a.example", fmt.Sprintf("n%d-%d.a.example", round, i)) {
				t.Fatalf("round %d: name %d is refused", round, i)
			}
		}
	}
	if ask("honest", "*.a.example", "more.a.example") {
		t.Error("a name beyond the limit passes")
	}
	if !c.Allow(caller("honest"), "*.a.example", "n0-0.a.example", start) {
		t.Error("a name that is remembered is refused")
	}
	for who, n := range passed {
		if n > limit {
			t.Errorf("%d names of %s have passed, of %d", n, who, limit)
		}
	}
	if told["honest function"] != 0 || len(told) == 0 {
		t.Errorf("told %v", told)
	}
}
