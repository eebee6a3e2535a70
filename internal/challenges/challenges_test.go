package challenges

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// counts returns egress_challenges_total by outcome.
func counts(t *testing.T, reg *prometheus.Registry) (answered, unanswered, rejected float64) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			switch n := m.GetCounter().GetValue(); m.GetLabel()[0].GetValue() {
			case "answered":
				answered = n
			case "unanswered":
				unanswered = n
			case "rejected":
				rejected = n
			}
		}
	}
	return answered, unanswered, rejected
}

// start is when the tests begin.
var start = time.Date(2031, 3, 1, 0, 0, 0, 0, time.UTC)

func TestEachChallengeIsCountedOnceByWhatBecameOfIt(t *testing.T) {
	reg := prometheus.NewRegistry()
	table := New(reg)
	java, old, deaf := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.3")
	table.Sweep(start)
	for _, a := range []netip.Addr{java, java, old, deaf} {
		table.Challenged(a)
	}
	table.Answered(java, true)
	table.Answered(java, true)
	table.Answered(java, true) // was not asked
	table.Answered(old, false)
	for _, step := range []struct {
		after      time.Duration
		unanswered float64
	}{{time.Second, 0}, {29 * time.Second, 0}, {Within, 0}, {2*Within - 1, 0}, {2 * Within, 1}, {3 * Within, 1}, {10 * Within, 1}} {
		table.Sweep(start.Add(step.after))
		if answered, unanswered, rejected := counts(t, reg); answered != 2 || rejected != 1 || unanswered != step.unanswered {
			t.Errorf("after %v: %v answered, %v rejected, %v unanswered; want 2, 1, %v", step.after, answered, rejected, unanswered, step.unanswered)
		}
	}
	if n := table.sources.Load(); n != 0 || len(table.open) != 0 {
		t.Errorf("%d sources are remembered, by the count %d", len(table.open), n)
	}
}

// Who comes back within thirty seconds is never counted as unanswered, whenever it was asked.
func TestWhoComesBackInTimeHasAnswered(t *testing.T) {
	for at := time.Duration(0); at < 2*Within; at += 7 * time.Second {
		reg := prometheus.NewRegistry()
		table := New(reg)
		a := netip.MustParseAddr("10.0.0.1")
		for now := time.Duration(0); now <= 4*Within; now += time.Second {
			table.Sweep(start.Add(now))
			if now == at {
				table.Challenged(a)
			}
			if now == at+Within-time.Second {
				table.Answered(a, true)
			}
		}
		if answered, unanswered, _ := counts(t, reg); answered != 1 || unanswered != 0 {
			t.Errorf("asked after %v: %v answered, %v unanswered", at, answered, unanswered)
		}
	}
}

// The addresses of an IPv6 /64 are one source, and so are the two forms of an IPv4 address.
func TestSourcesAreThoseOfTheLimits(t *testing.T) {
	reg := prometheus.NewRegistry()
	table := New(reg)
	table.Challenged(netip.MustParseAddr("2001:db8::1"))
	table.Answered(netip.MustParseAddr("2001:db8::2"), true)
	table.Challenged(netip.MustParseAddr("::ffff:10.0.0.1"))
	table.Answered(netip.MustParseAddr("10.0.0.1"), true)
	if answered, _, _ := counts(t, reg); answered != 2 {
		t.Errorf("%v answered, want 2", answered)
	}
}

// Sources without number make the table no larger, and each of their challenges counts.
func TestTableOfChallengesIsBounded(t *testing.T) {
	reg := prometheus.NewRegistry()
	table := New(reg)
	table.Sweep(start)
	const sources = 3 * mostSources
	for i := range sources {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(i)|10<<24)
		table.Challenged(netip.AddrFrom4(b))
	}
	if n := len(table.open); n != mostSources {
		t.Errorf("%d sources are remembered", n)
	}
	table.Sweep(start.Add(Within))
	table.Sweep(start.Add(2 * Within))
	if _, unanswered, _ := counts(t, reg); unanswered != sources || len(table.open) != 0 {
		t.Errorf("%v unanswered, want %d; %d remembered", unanswered, sources, len(table.open))
	}
}
