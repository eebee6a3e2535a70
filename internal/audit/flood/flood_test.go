package flood

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit/record"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// known returns how many budgets there are and how many are counted as sources.
func known(l *Limiter) (budgets, sources int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.budgets), l.sources
}

func TestSourcesBeyondTheTableShareOneBudgetAndNoAddressIsBlamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var written []record.Event
		post := func(e *record.Event) { written = append(written, *e) }
		write := func(e *record.Event) error { post(e); return nil }
		l := NewLimiter(1, post, write)
		from := netip.MustParseAddr("10.0.0.0")
		refuse := func() {
			e := &record.Event{Kind: record.Refused, Client: netip.AddrPortFrom(from, 1), Reason: verdict.ReasonHostNotAllowed}
			from = from.Next()
			if shared, err := l.Aggregate(e); err != nil {
				t.Fatal(err)
			} else if !shared {
				_ = write(e)
			}
		}
		for range maxSources + 1 {
			refuse()
		}
		if n, _ := known(l); n != maxSources+1 || len(written) != maxSources+1 {
			t.Fatalf("%d budgets, %d records", n, len(written))
		}
		written = nil
		refuse()
		refuse()
		if n, _ := known(l); n != maxSources+1 || len(written) != 3 ||
			!strings.Contains(written[0].Detail, "all sources beyond 4096 together") {
			t.Fatalf("%d budgets, %+v", n, written)
		}
		for _, e := range written {
			if e.Client.IsValid() {
				t.Errorf("%v names %v", e.Kind, e.Client)
			}
		}
		time.Sleep(5 * Span)
		if n, sources := known(l); n != 0 || sources != 0 {
			t.Errorf("after minutes of silence: %d budgets, %d sources", n, sources)
		}
	})
}
