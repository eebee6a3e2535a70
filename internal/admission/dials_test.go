package admission

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// dead returns the n-th of as many addresses as one likes.
func dead(n int) []netip.Addr {
	return []netip.Addr{netip.AddrFrom4([4]byte{203, 0, byte(n >> 8), byte(n)})}
}

// However many functions have as many dials under way as they may, to as many dead hosts
// as they like, another is not refused one, nor one beside it.
func TestFunctionsThatDialDeadHostsLeaveRoomForOthers(t *testing.T) {
	for _, functions := range []int{1, 3, 4, 10, 40} {
		var excess Excess
		var d DialLimiter
		d.Init(2000, &excess)
		s := slotsFor(0, &excess)
		usage := func(name string) *Usage {
			u, reason, _ := s.Acquire(name, 0)
			if reason != verdict.ReasonNone {
				t.Fatal(reason)
			}
			return u
		}
		attack := func(n int) {
			for i := range n {
				u := usage(fmt.Sprint("greedy-", i%functions))
				if d.Begin(u.Dials(dead(i), 443)) == verdict.ReasonLimitTotal {
					t.Fatalf("%d functions: all dials are taken", functions)
				}
				u.AcquireExtra()
				s.Release(u, 0)
			}
		}
		attack(10000)
		honest := usage("honest")
		for i := range 8 {
			if reason := d.Begin(honest.Dials(dead(i), 443)); reason != verdict.ReasonNone {
				t.Fatalf("%d functions: dial %d of another: %v", functions, i, reason)
			}
			if !honest.AcquireExtra() {
				t.Fatalf("%d functions: dial %d of another has none beside it", functions, i)
			}
			attack(100)
		}
		for i := range 8 {
			d.End(honest.Dials(dead(i), 443))
			honest.ReleaseExtra()
		}
		if n := d.Count(); n > 1000 {
			t.Errorf("%d functions: %d dials", functions, n)
		}
		rows := map[Row]bool{}
		for _, c := range excess.Report(time.Now()) {
			if rows[c.Row] = true; c.Caller.Function == "honest" {
				t.Errorf("%d functions: %v", functions, c)
			}
		}
		if !rows[RowDials] || !rows[RowExtraDials] {
			t.Errorf("%d functions: reported %v", functions, rows)
		}
	}
}

// A host is its least address in whatever order the resolver has them, and however it is
// called: half of a function's dials go to it, the others elsewhere.
func TestOneHostTakesHalfOfAFunctionsDials(t *testing.T) {
	var d DialLimiter
	d.Init(2000, nil)
	s := slotsFor(0, nil)
	u, _, _ := s.Acquire("one", 0)
	all := append(dead(1), dead(2)...)
	turned := append(dead(2), dead(1)...)
	n := 0
	for d.Begin(u.Dials([][]netip.Addr{all, turned}[n%2], 443)) == verdict.ReasonNone {
		n++
	}
	if n != 125 {
		t.Errorf("%d dials to one host", n)
	}
	for i := range 100 {
		if reason := d.Begin(u.Dials(dead(10+i), 443)); reason != verdict.ReasonNone {
			t.Fatalf("dial %d to another host: %v", i, reason)
		}
	}
	if d.Begin(u.Dials(all, 8443)) != verdict.ReasonNone {
		t.Error("another port is the same host")
	}
	for range n {
		d.End(u.Dials(turned, 443))
	}
	if d.Count() != 101 || len(d.targets) != 101 {
		t.Errorf("%d dials, %d hosts are counted", d.Count(), len(d.targets))
	}
}
