package report

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence"
)

// The words of records that the tests write.
const (
	eventOpened       = "opened"
	eventClosed       = "closed"
	eventRefused      = "refused"
	eventChallenged   = "challenged"
	eventAnswered     = "answered"
	eventStarted      = "started"
	eventReloadFailed = "reload_failed"

	verdictAllow  = "allow"
	verdictReport = "report"
)

// naive counts as the package comment says, without any bound: it keeps every
// request for ever.
type naive struct {
	rows map[string]*naiveRow // by section and all that tells rows apart
	last map[string]time.Time // of each attempt
	open map[string]bool      // ids
}

// naiveRow is a row before it is text. shown are the columns before the counts.
type naiveRow struct {
	section                               string
	shown                                 []any
	attempts, requests, suppressed, again uint64
	up, down                              int64
	first, last                           time.Time
	policies                              []string
}

func (n *naive) add(r *evidence.Record) {
	again := n.open[r.ID]
	n.open[r.ID] = r.Event == eventOpened || again && r.Event != eventClosed && r.Event != eventRefused
	section, shown := "allowed", []any{r.Function, r.Owner, r.Host, blank(int(r.Port)), r.Protocol, r.Rule, blank(r.Line), r.Ticket}
	apart := fmt.Sprint(r.Owner, r.Verdict, r.Reason, r.Type)
	switch {
	case r.Event == eventChallenged || r.Event == eventRefused && r.Function == "":
		section, shown, apart = "unidentified", []any{r.Client.Addr(), r.Event, r.Protocol, r.Reason}, ""
	case r.Event == eventRefused:
		section, shown = "refused", []any{r.Function, r.Owner, r.Host, blank(int(r.Port)), r.Protocol, r.Reason}
	case r.Event == eventAnswered:
		section, shown = "dns", []any{r.Function, r.Owner, r.Host, r.Type, r.Verdict, r.Reason, r.Rule}
		apart = fmt.Sprint(r.Port, r.Protocol, r.Line, r.Ticket)
	case r.Verdict == verdictReport:
		section, shown = "reported", []any{r.Function, r.Owner, r.Host, blank(int(r.Port)), r.Protocol, r.Reason, r.Rule}
		apart = fmt.Sprint(r.Line, r.Ticket, r.Type)
	}
	key := fmt.Sprintf("%s %q %s", section, shown, apart)
	if section == "unidentified" { // an owner without a function is someone of its own
		key += r.Function + r.Owner
	}
	w := n.rows[key]
	if w == nil {
		w = &naiveRow{section: section, shown: shown, first: r.Time}
		n.rows[key] = w
	}
	w.last = r.Time
	if !slices.Contains(w.policies, r.Policy) {
		w.policies = append(w.policies, r.Policy)
	}
	if r.Event == eventClosed {
		w.up, w.down = w.up+r.BytesUp, w.down+r.BytesDown
		return
	}
	w.requests += 1 + r.Suppressed
	w.suppressed += r.Suppressed
	if again {
		w.again += 1 + r.Suppressed
	}
	attempt := fmt.Sprint(key, r.Client.Addr(), r.Method, r.Host, r.Port)
	if before, known := n.last[attempt]; !known || r.Time.Sub(before) > 10*time.Second {
		w.attempts++
	}
	n.last[attempt] = r.Time
}

// blank is a number whose zero is not shown.
func blank(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

// text is the row as the columns of its section.
func (w *naiveRow) text() string {
	all := append([]any{w.section}, w.shown...)
	all = append(all, w.attempts, w.requests)
	switch w.section {
	case "allowed":
		all = append(all, w.up, w.down)
	case "reported":
		all = append(all, w.again, w.up, w.down)
	case "refused":
		all = append(all, w.again)
	case "unidentified":
		all = append(all, w.suppressed)
	}
	all = append(all, w.first.Format(time.RFC3339), w.last.Format(time.RFC3339))
	switch {
	case w.section == "allowed" || w.section == "unidentified":
	case len(w.policies) > 3:
		all = append(all, strings.Join(w.policies[:3], " ")+" and more")
	default:
		all = append(all, strings.Join(w.policies, " "))
	}
	return fmt.Sprintf("%v", all)
}

// naiveColumns are the columns of the sections in the order of naiveRow.text.
var naiveColumns = map[string][]string{
	"allowed": {
		"function", "owner", "host", "port", "protocol", "rule", "line", "ticket", "attempts", "requests",
		"bytes_up", "bytes_down", "first_seen", "last_seen",
	},
	"reported": {
		"function", "owner", "host", "port", "protocol", "reason", "rule", "attempts", "requests", "after_opening",
		"bytes_up", "bytes_down", "first_seen", "last_seen", "policy",
	},
	"refused":      {"function", "owner", "host", "port", "protocol", "reason", "attempts", "requests", "after_opening", "first_seen", "last_seen", "policy"},
	"dns":          {"function", "owner", "host", "type", "verdict", "reason", "rule", "attempts", "requests", "first_seen", "last_seen", "policy"},
	"unidentified": {"source", "event", "protocol", "reason", "attempts", "requests", "suppressed", "first_seen", "last_seen"},
}

// anyRecord returns a record of few texts, so that all of them meet.
func anyRecord(random *rand.Rand, now time.Time) evidence.Record {
	one := func(all ...string) string { return all[random.IntN(len(all))] }
	r := evidence.Record{
		Time: now, Event: one(eventOpened, eventClosed, eventRefused, eventChallenged, eventAnswered), Process: "b", Policy: one("one", "two", "three", "four"),
		ID: fmt.Sprint("b", random.IntN(300)), Client: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(random.IntN(4))}), uint16(random.IntN(9))),
		Protocol: one("connect", "http"), Function: one("f", "g", "h"), Owner: one("", "team"), Method: one("GET", "CONNECT"),
		Host: one("a.example", "b.example", "c.example"), Port: uint16(random.IntN(2) * 443), Verdict: one(verdictAllow, verdictReport, "deny"),
		Reason: one("", "host_not_allowed"), Rule: one("", "rule"), Line: random.IntN(2), Ticket: one("", "T"), Type: one("", "A"),
		BytesUp: int64(random.IntN(99)), BytesDown: int64(random.IntN(99)), Suppressed: uint64(random.IntN(20) / 17),
	}
	if r.Event == eventChallenged || random.IntN(9) == 0 && r.Event == eventRefused {
		r.Function, r.Owner = "", ""
	}
	return r
}

func TestCountsAreThoseOfACountingThatForgetsNothing(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		random, now := rand.New(rand.NewPCG(seed, 1)), began
		n := naive{map[string]*naiveRow{}, map[string]time.Time{}, map[string]bool{}}
		b := New(Options{})
		for range 8_000 {
			now = now.Add([]time.Duration{0, time.Millisecond, 10 * time.Millisecond, time.Second, 9 * time.Second}[random.IntN(5)] / time.Duration(1+seed))
			r := anyRecord(random, now)
			n.add(&r)
			b.counts.Add("records.jsonl", &r, nil)
		}
		var want, got []string
		for _, w := range n.rows {
			want = append(want, w.text())
		}
		written := b.Report().written(t, CSV)
		for section, columns := range naiveColumns {
			for _, row := range rowsOf(t, written, section) {
				all := []any{section}
				for _, column := range columns {
					all = append(all, row[column])
				}
				got = append(got, fmt.Sprintf("%v", all))
			}
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) || len(got) < 1_000 {
			t.Errorf("seed %d: %d rows, want %d, the first that differ: %s", seed, len(got), len(want), firstDifferent(got, want))
		}
	}
}

// firstDifferent returns the first of two lists that is not in the other.
func firstDifferent(got, want []string) string {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Sprintf("%s, want %s", got[i], want[i])
		}
	}
	return "behind the end"
}

func TestFirstAndLastAreOfTheTimesAndNotOfTheOrder(t *testing.T) {
	t.Parallel()
	b := New(Options{})
	for _, year := range []int{2026, 9999, 1, 1969, 2025} {
		r := evidence.Record{Time: time.Date(year, 6, 1, 0, 0, 0, 0, time.UTC), Event: eventRefused, Function: "f", Host: "a.example"}
		b.counts.Add("records.jsonl", &r, nil)
	}
	got := b.Report().written(t, CSV)
	for _, section := range []string{"refused", "sources"} {
		has(t, rowsOf(t, got, section)[0], "first_seen", "0001-06-01T00:00:00Z", "last_seen", "9999-06-01T00:00:00Z")
	}
}
