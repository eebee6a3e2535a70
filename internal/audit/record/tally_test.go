package record

import (
	"crypto/sha256"
	"slices"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

func TestKindsThatAreNamedAreValidAndSomeAreOfRequests(t *testing.T) {
	requests := []Kind{Challenged, Refused, Opened, Closed, Answered}
	for k := range 256 {
		kind := Kind(k)
		if got, want := kind.Valid(), kind.String() != "unknown"; got != want {
			t.Errorf("kind %d is valid: %t", k, got)
		}
		if got, want := kind.IsRequest(), slices.Contains(requests, kind); got != want {
			t.Errorf("kind %d is of a request: %t", k, got)
		}
	}
}

func TestHashOfALineLeavesItsNewlineOut(t *testing.T) {
	if HashLine([]byte("{}\n")) != sha256.Sum256([]byte("{}")) {
		t.Error("it is of other bytes")
	}
}

func TestTallyIsWhatItsLinesAddUpTo(t *testing.T) {
	tally := NewTally()
	refused := EntryOf(&Event{Kind: Refused, Reason: verdict.ReasonHostNotAllowed, Suppressed: 4})
	opened := EntryOf(&Event{Kind: Opened, Verdict: verdict.Allow})
	heartbeat, started := EntryOf(&Event{Kind: Heartbeat}), EntryOf(&Event{Kind: Started})
	for _, c := range []struct {
		what   string
		do     func(Entry)
		entry  Entry
		totals []Total
		lost   uint64
	}{
		{"a start is no request", tally.Add, started, nil, 0},
		{"five refusals", tally.Add, refused, []Total{{Refused, verdict.Deny, verdict.ReasonHostNotAllowed, 5}}, 0},
		{"five more", tally.Add, refused, []Total{{Refused, verdict.Deny, verdict.ReasonHostNotAllowed, 10}}, 0},
		{"a tunnel", tally.Add, opened, []Total{{Refused, verdict.Deny, verdict.ReasonHostNotAllowed, 10}, {Opened, verdict.Allow, verdict.ReasonNone, 1}}, 0},
		{"five are taken back", tally.Remove, refused, []Total{{Refused, verdict.Deny, verdict.ReasonHostNotAllowed, 5}, {Opened, verdict.Allow, verdict.ReasonNone, 1}}, 5},
		{"the tunnel is", tally.Remove, opened, []Total{{Refused, verdict.Deny, verdict.ReasonHostNotAllowed, 5}}, 6},
		{"a start is", tally.Remove, started, []Total{{Refused, verdict.Deny, verdict.ReasonHostNotAllowed, 5}}, 7},
		{"a heartbeat that is lost is no loss", tally.Remove, heartbeat, []Total{{Refused, verdict.Deny, verdict.ReasonHostNotAllowed, 5}}, 7},
		{"what was never added is lost", tally.Lose, refused, []Total{{Refused, verdict.Deny, verdict.ReasonHostNotAllowed, 5}}, 12},
	} {
		c.do(c.entry)
		if got := tally.Totals(); !slices.Equal(got, c.totals) || tally.Lost() != c.lost {
			t.Errorf("%s: totals %+v, %d lost", c.what, got, tally.Lost())
		}
	}
}
