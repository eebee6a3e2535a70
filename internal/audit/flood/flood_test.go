package flood

import (
	"net/netip"
	"strings"
	"sync"
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
		var mu sync.Mutex // the end of a flood is posted by a timer
		var written []record.Event
		post := func(e *record.Event) {
			mu.Lock()
			defer mu.Unlock()
			written = append(written, *e)
		}
		write := func(e *record.Event) error { post(e); return nil }
		l := NewLimiter(1, post, write)
		collect := func() []record.Event {
			mu.Lock()
			defer mu.Unlock()
			all := written
			written = nil
			return all
		}
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
		if n, _ := known(l); n != maxSources+1 || len(collect()) != maxSources+1 {
			t.Fatalf("%d budgets, or another number of records", n)
		}
		refuse()
		refuse()
		all := collect()
		if n, _ := known(l); n != maxSources+1 || len(all) != 3 || !strings.Contains(all[0].Detail, "all sources beyond 4096 together") {
			t.Fatalf("%d budgets, %+v", n, all)
		}
		for _, e := range all {
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
