package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit/flood"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// denial is a refusal of a function, as the proxy records it.
func denial(l *Log, function string) *Event {
	return &Event{
		Kind: Refused, ID: l.NextID(), Policy: "p", Protocol: "connect", Function: function, Host: "evil.example",
		Client: netip.MustParseAddrPort("10.0.0.1:4711"), Reason: verdict.ReasonHostNotAllowed,
	}
}

// entry is the part of a record that tests of floods look at.
type entry struct {
	Event, Function, Client, Protocol, Policy, Reason, ID, Detail string
	Seq, Suppressed                                               uint64
}

// entries checks a stream and returns its records.
func entries(t *testing.T, stream []byte, boot string) (all []entry) {
	t.Helper()
	verify(t, stream, boot)
	for line := range bytes.Lines(stream) {
		var e entry
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

// weight returns how many requests the records stand for, and which have which
// event.
func weight(all []entry) (requests uint64, of map[string]int) {
	of = map[string]int{}
	for _, e := range all {
		of[e.Event]++
		if e.Event == "refused" || e.Event == "challenged" || e.Event == "answered" {
			requests += 1 + e.Suppressed
		}
	}
	return requests, of
}

// spent returns a log whose budget of that many records function f has used up.
func spent(t *testing.T, w io.Writer, o Options) *Log {
	t.Helper()
	l := New(w, o)
	for range o.RefusalRecords {
		if err := l.Record(denial(l, "f")); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

// together records n denials of f at once and returns them with their errors.
func together(l *Log, wg *sync.WaitGroup, n int) (events []*Event, errs []error) {
	errs = make([]error, n)
	for i := range n {
		e := denial(l, "f")
		events = append(events, e)
		wg.Go(func() { errs[i] = l.Record(e) })
	}
	return events, errs
}

func TestRefusalsWithinTheBudgetAreRecordedOneByOneAndAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out output
		began := time.Now()
		l := spent(t, &out, Options{RefusalRecords: 100})
		if waited := time.Since(began); waited != 0 {
			t.Errorf("they waited %v", waited)
		}
		all := entries(t, out.Bytes(), l.Process())
		if n, of := weight(all); n != 100 || of["refused"] != 100 || len(all) != 100 {
			t.Errorf("%d requests in %v", n, of)
		}
	})
}

func TestRefusalsBeyondTheBudgetWaitAndShareTheRecordThatTheirAnswersName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out output
		l := spent(t, &out, Options{RefusalRecords: 6})
		var wg sync.WaitGroup
		began := time.Now()
		events, errs := together(l, &wg, 20)
		synctest.Wait()
		if n, of := weight(entries(t, out.Bytes(), l.Process())); n != 6 {
			t.Errorf("before the window ends: %d requests in %v", n, of)
		}
		wg.Wait()
		if waited := time.Since(began); waited.Truncate(10*time.Millisecond) != flood.RefusalWait { // a few at a time
			t.Errorf("they waited %v", waited)
		}
		all := entries(t, out.Bytes(), l.Process())
		last := all[len(all)-1]
		if last.Event != "refused" || last.Suppressed != 19 || all[6].Event != "flood" || len(all) != 8 {
			t.Fatalf("%+v", all)
		}
		if all[6].Function != "f" || !strings.Contains(all[6].Detail, "more than 6 refusals") || all[6].Policy != "p" {
			t.Errorf("the flood is told as %+v", all[6])
		}
		for i, e := range events {
			if errs[i] != nil || l.FormatID(e.ID) != last.ID {
				t.Fatalf("caller %d: %v, told %s and not %s", i, errs[i], l.FormatID(e.ID), last.ID)
			}
		}
	})
}

func TestRefusalsThatShareARecordReturnNotBeforeItIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &gateWriter{open: make(chan int)}
		l := New(w, Options{RefusalRecords: 1})
		var wg, refused sync.WaitGroup
		wg.Go(func() { _ = l.Record(denial(l, "f")) })
		w.open <- everything
		wg.Wait()
		var returned atomic.Int64
		for range 5 {
			refused.Go(func() {
				if err := l.Record(denial(l, "f")); err != nil {
					t.Error(err)
				}
				returned.Add(1)
			})
		}
		time.Sleep(flood.RefusalWait / 2) // of the bubble's clock
		w.open <- everything              // the flood record, which nobody waits for
		time.Sleep(flood.RefusalWait)
		synctest.Wait()
		if n := returned.Load(); n != 0 {
			t.Errorf("%d returned before the write did", n)
		}
		w.open <- everything
		refused.Wait()
	})
}

func TestARecordThatCannotBeWrittenFailsForAllThatShareIt(t *testing.T) {
	for _, mode := range []Failure{Refuse, Count} {
		synctest.Test(t, func(t *testing.T) {
			w := &deadWriter{}
			l := spent(t, w, Options{RefusalRecords: 3, OnFailure: mode})
			var wg sync.WaitGroup
			_, errs := together(l, &wg, 10)
			time.Sleep(flood.RefusalWait / 2) // the flood record is out
			w.fail(errors.New("EIO"))
			wg.Wait()
			for i, err := range errs {
				if errors.Is(err, ErrUnavailable) != (mode == Refuse) {
					t.Errorf("%v: caller %d: %v", mode, i, err)
				}
			}
			if got := l.Lost(); got != 10 {
				t.Errorf("%v: %d lost, want one for each caller", mode, got)
			}
			if n, _ := weight(entries(t, w.Bytes(), l.Process())); n != 3 || l.Totals()[0].Count != 3 {
				t.Errorf("%v: %d requests recorded, totals %v", mode, n, l.Totals())
			}
		})
	}
}

func TestOnlyRefusalsThatAreAlikeShareARecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out output
		l := spent(t, &out, Options{RefusalRecords: 2})
		var wg sync.WaitGroup
		for _, change := range []func(*Event){
			func(*Event) {},
			func(e *Event) { e.Reason = verdict.ReasonHostDenied },
			func(e *Event) { e.Protocol = "http" },
			func(e *Event) { e.Policy = "q" },
			func(e *Event) { e.Kind = Answered },
		} {
			for range 3 {
				e := denial(l, "f")
				change(e)
				wg.Go(func() {
					if err := l.Record(e); err != nil {
						t.Error(err)
					}
				})
			}
		}
		wg.Wait()
		all := entries(t, out.Bytes(), l.Process())
		if n, of := weight(all); n != 17 || of["refused"] != 6 || of["answered"] != 1 || of["flood"] != 1 {
			t.Errorf("%d requests in %v", n, of)
		}
		seen := map[string]bool{}
		for _, e := range all[3:] {
			key := fmt.Sprint(e.Event, e.Reason, e.Protocol, e.Policy)
			if seen[key] || e.Suppressed != 2 {
				t.Errorf("%s stands for %d others, seen before: %v", key, e.Suppressed, seen[key])
			}
			seen[key] = true
		}
	})
}

func TestAFloodDelaysNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out output
		l := spent(t, &out, Options{RefusalRecords: 2})
		var wg sync.WaitGroup
		together(l, &wg, 50)
		synctest.Wait()
		began := time.Now()
		permit := denial(l, "f")
		permit.Kind, permit.Verdict, permit.Reason = Opened, verdict.Allow, verdict.ReasonNone
		summary := denial(l, "f")
		summary.Suppressed = 7
		unknown := denial(l, "")
		for _, e := range []*Event{denial(l, "g"), permit, summary, unknown, {Kind: Heartbeat}, {Kind: Reloaded}} {
			if err := l.Record(e); err != nil || time.Since(began) != 0 {
				t.Errorf("%v of %q: %v, after %v", e.Kind, e.Function, err, time.Since(began))
			}
		}
		wg.Wait()
	})
}

func TestTheBudgetComesBackWithTime(t *testing.T) {
	for _, c := range []struct {
		after time.Duration
		own   int // how many are recorded without waiting then
	}{{0, 0}, {999 * time.Millisecond, 0}, {time.Second, 1}, {10 * time.Second, 10}, {time.Minute, 60}, {time.Hour, 60}} {
		synctest.Test(t, func(t *testing.T) {
			l := spent(t, io.Discard, Options{RefusalRecords: 60})
			time.Sleep(c.after)
			began, own := time.Now(), 0
			for l.Record(denial(l, "f")) == nil && time.Since(began) == 0 {
				own++
			}
			if own != c.own {
				t.Errorf("after %v %d of them did not wait, want %d", c.after, own, c.own)
			}
		})
	}
}

func TestAFloodIsToldWhenItBeginsAndWhenItIsOverWithItsCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out output
		l := spent(t, &out, Options{RefusalRecords: 6})
		for range 2 {
			for range 30 { // half a minute of three at a time
				var wg sync.WaitGroup
				together(l, &wg, 3)
				wg.Wait()
			}
			time.Sleep(3 * flood.Span)
		}
		synctest.Wait()
		var told []string
		for _, e := range entries(t, out.Bytes(), l.Process()) {
			if e.Event == "flood" {
				told = append(told, e.Detail)
			}
		}
		if len(told) != 4 || !strings.HasPrefix(told[0], "more than") || !strings.HasPrefix(told[1], "the flood is over: 88 refusals") ||
			!strings.HasPrefix(told[2], "more than") || !strings.HasPrefix(told[3], "the flood is over: 82 refusals") {
			t.Errorf("%q", told)
		}
	})
}

func TestNobodyWaitsOnceTheLogIsFlushedOrClosed(t *testing.T) {
	for name, end := range map[string]func(*Log) error{
		"flush":   func(l *Log) error { l.Flush(); return nil },
		"close":   (*Log).Close,
		"stopped": func(l *Log) error { return l.Record(&Event{Kind: Stopped}) },
	} {
		synctest.Test(t, func(t *testing.T) {
			var out output
			l := spent(t, &out, Options{RefusalRecords: 2})
			var wg sync.WaitGroup
			began := time.Now()
			_, errs := together(l, &wg, 9)
			synctest.Wait()
			if err := end(l); err != nil {
				t.Fatal(err)
			}
			wg.Wait()
			if waited := time.Since(began); waited != 0 || errors.Join(errs...) != nil {
				t.Errorf("%s: they waited %v: %v", name, waited, errors.Join(errs...))
			}
			if n, of := weight(entries(t, out.Bytes(), l.Process())); n != 11 || of["refused"] != 3 {
				t.Errorf("%s: %d requests in %v", name, n, of)
			}
			if name == "close" {
				if err := l.Record(denial(l, "f")); !errors.Is(err, ErrUnavailable) || time.Since(began) != 0 {
					t.Errorf("after Close: %v, after %v", err, time.Since(began))
				}
			}
		})
	}
}

func TestTheLastRecordComesBehindAllOfAFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out output
		l := spent(t, &out, Options{RefusalRecords: 2})
		var wg sync.WaitGroup
		together(l, &wg, 9)
		synctest.Wait()
		if err := l.Record(&Event{Kind: Stopped}); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		rows := verify(t, out.Bytes(), l.Process())
		last := rows[len(rows)-1]
		if last.Event != "stopped" || last.Totals["refused"]["host_not_allowed"] != 11 || rows[len(rows)-2].Event != "flood" {
			t.Errorf("%+v", rows[len(rows)-2:])
		}
	})
}

// The refusal of a ClientHello ends a tunnel that has its record opened. It counts
// against the budget as others do, and shares records with such as end a tunnel alone:
// whoever counts takes them off what was opened.
func TestRefusalsThatEndWhatWasOpenedShareRecordsAmongThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out output
		l := New(&out, Options{RefusalRecords: 3})
		var wg sync.WaitGroup
		ids := map[ID]int{}
		var mu sync.Mutex
		for i := range 23 {
			wg.Go(func() {
				e := denial(l, "billing")
				e.Reason = verdict.ReasonLimitFunction
				if i < 13 {
					e.Dialed = netip.MustParseAddrPort("127.0.0.1:443")
				}
				if i >= 3 {
					time.Sleep(time.Millisecond) // of the bubble's clock
				}
				if err := l.Record(e); err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				ids[e.ID]++
			})
		}
		wg.Wait()
		all := entries(t, out.Bytes(), l.Process())
		n, of := weight(all)
		if n != 23 || of["refused"] != 5 || of["flood"] != 1 || len(ids) != 5 {
			t.Fatalf("%d refusals in %v, with %d ids", n, of, len(ids))
		}
		var shared []uint64
		for _, e := range all {
			if e.Suppressed > 0 {
				shared = append(shared, e.Suppressed)
			}
		}
		if len(shared) != 2 || shared[0] != 9 || shared[1] != 9 {
			t.Errorf("beside their own records they share %v, want those of ten and of ten", shared)
		}
	})
}
