package resolve

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/fair"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/resolve/upstream"
)

const (
	first  = "x.example. 60 IN A 192.0.2.1"
	second = "x.example. 60 IN A 192.0.2.2"
)

// errDown is the silence of an upstream.
var errDown = fmt.Errorf("nobody is there: %w", context.DeadlineExceeded)

func TestAnswerServesForItsTTLAndNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		r, s := newScripted(t, Config{Registerer: reg}, script{"x.example. A": {answer: first}})
		mustLookup(t, r, "x.example", "192.0.2.1")
		s.play(script{"x.example. A": {answer: second}})
		time.Sleep(59 * time.Second)
		mustLookup(t, r, "x.example", "192.0.2.1")
		time.Sleep(time.Second)
		mustLookup(t, r, "x.example", "192.0.2.2")
		mustAsk(t, s, 2)
		if diff := cmp.Diff(map[string]float64{"miss": 2, "hit": 1}, counted(t, reg)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestDenialServesForItsTTLAndNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		r, s := newScripted(t, Config{Registerer: reg}, script{"x.example. A": {rcode: dns.RcodeNameError, authority: soa}})
		mustFail(t, r, "x.example", ErrNotFound)
		s.play(script{"x.example. A": {err: errDown}})
		time.Sleep(29 * time.Second)
		mustFail(t, r, "x.example", ErrNotFound)
		time.Sleep(time.Second)
		// A denial that has expired does not serve on where nobody answers.
		mustFail(t, r, "x.example", ErrTimeout)
		if diff := cmp.Diff(map[string]float64{"miss": 2, "negative": 1}, counted(t, reg)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestAnswerWithTTLZeroServesOneRequest(t *testing.T) {
	r, s := newScripted(t, Config{MinTTL: time.Minute}, script{"x.example. A": {answer: "x.example. 0 IN A 192.0.2.1"}})
	mustLookup(t, r, "x.example", "192.0.2.1")
	mustAsk(t, s, 1)
	s.play(script{"x.example. A": {answer: "x.example. 0 IN A 10.0.0.1"}})
	mustLookup(t, r, "x.example", "10.0.0.1")
	mustAsk(t, s, 2)
}

func TestAnswerWithTTLZeroEndsTheOneBeforeIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := newScripted(t, Config{}, script{"x.example. A": {answer: first}})
		mustLookup(t, r, "x.example", "192.0.2.1")
		time.Sleep(time.Minute)
		s.play(script{"x.example. A": {answer: "x.example. 0 IN A 192.0.2.2"}})
		mustLookup(t, r, "x.example", "192.0.2.2")
		s.play(script{"x.example. A": {err: errDown}})
		mustFail(t, r, "x.example", ErrTimeout)
	})
}

func TestThousandIdenticalQuestionsAreAskedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		// TTL 0: those who come while the question is in flight share its answer,
		// and it is the flight and not the cache that they share.
		r, s := newScripted(t, Config{Registerer: reg}, script{
			"x.example. A": {answer: "x.example. 0 IN A 192.0.2.1", after: time.Second},
		})
		var all sync.WaitGroup
		for range 1000 {
			all.Go(func() { mustLookup(t, r, "x.example", "192.0.2.1") })
		}
		all.Wait()
		mustAsk(t, s, 1)
		if diff := cmp.Diff(map[string]float64{"miss": 1, "shared": 999}, counted(t, reg)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestQuestionAnsweredMeanwhileIsNotAskedAgain(t *testing.T) {
	r, s := newScripted(t, Config{}, script{"x.example. A": {answer: first}})
	k := key{Name: "x.example", Type: dns.TypeA}
	seen := r.cache.get(k) // nothing yet
	mustLookup(t, r, "x.example", "192.0.2.1")
	if f, ours := r.start(k, seen, fair.Caller{}, 1); ours || f.entry == nil {
		t.Errorf("started another flight: ours %v, entry %v", ours, f.entry)
	}
	mustAsk(t, s, 1)
}

func TestAskerWhoLeavesTakesNobodysAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := newScripted(t, Config{}, script{"x.example. A": {answer: first, after: time.Second}})
		leaving, leave := context.WithCancel(t.Context())
		var both sync.WaitGroup
		both.Go(func() {
			if _, err := r.Lookup(leaving, "x.example"); !errors.Is(err, context.Canceled) || errors.Is(err, ErrTimeout) {
				t.Errorf("the one who left: %v", err)
			}
		})
		synctest.Wait()
		both.Go(func() { mustLookup(t, r, "x.example", "192.0.2.1") })
		synctest.Wait()
		leave()
		both.Wait()
		mustAsk(t, s, 1)
	})
}

func TestDeadlineOfTheAskerIsATimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := newScripted(t, Config{}, script{"x.example. A": {answer: first, after: time.Second}})
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		began := time.Now()
		if _, err := r.Lookup(ctx, "x.example"); !errors.Is(err, ErrTimeout) {
			t.Errorf("%v, want ErrTimeout", err)
		}
		if waited := time.Since(began); waited != 100*time.Millisecond {
			t.Errorf("waited %v", waited)
		}
		mustAsk(t, s, 1)
	})
}

func TestCacheStaysWithinItsBytes(t *testing.T) {
	const limit = 256 << 10
	r, s := newScripted(t, Config{CacheBytes: limit}, nil)
	s.play(script{"hot.example. A": {answer: "hot.example. 3600 IN A 192.0.2.1"}})
	mustLookup(t, r, "hot.example", "192.0.2.1")
	plays := script{"hot.example. A": {err: errDown}}
	for i := range 5000 {
		plays[fmt.Sprintf("n%d.example. A", i)] = reply{answer: fmt.Sprintf("n%d.example. 3600 IN A 192.0.2.1", i)}
	}
	s.play(plays)
	for i := range 5000 {
		mustLookup(t, r, fmt.Sprintf("n%d.example", i), "192.0.2.1")
		mustLookup(t, r, "hot.example", "192.0.2.1") // asked for always, so never pushed out
	}
	bytes, entries := 0, 0
	for i := range r.cache.all {
		n, held := r.cache.all[i].entries.Len()
		bytes, entries = bytes+held, entries+n
		if n := len(r.cache.all[i].inflight); n != 0 {
			t.Errorf("%d in flight", n)
		}
	}
	if bytes > limit || entries < limit/2000 {
		t.Errorf("%d entries of %d bytes in a cache of %d", entries, bytes, limit)
	}
}

func TestAnswerTooLargeForItsShardIsNotKept(t *testing.T) {
	r, s := newScripted(t, Config{CacheBytes: 1000}, script{"x.example. A": {answer: first}})
	mustLookup(t, r, "x.example", "192.0.2.1")
	mustLookup(t, r, "x.example", "192.0.2.1")
	mustAsk(t, s, 2)
}

func TestDNSSECAnswersAreCachedApart(t *testing.T) {
	r, s := newScripted(t, Config{}, script{"x.example. A": {answer: first}})
	q := dns.Question{Name: "x.example.", Qtype: dns.TypeA, Qclass: dns.ClassINET}
	for _, dnssec := range []bool{false, true, false, true} {
		if _, err := r.Exchange(t.Context(), q, dnssec); err != nil {
			t.Fatal(err)
		}
	}
	mustAsk(t, s, 2)
	mustLookup(t, r, "x.example", "192.0.2.1") // shares the plain one
	mustAsk(t, s, 2)
}

func TestCloseEndsWhatIsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := newScripted(t, Config{}, script{"x.example. A": {answer: first, after: time.Hour}})
		var asker sync.WaitGroup
		asker.Go(func() { mustFail(t, r, "x.example", ErrFailed) })
		synctest.Wait()
		r.Close()
		asker.Wait()
		mustFail(t, r, "y.example", ErrFailed)
		r.Close()
	})
}

func TestReadersAndWritersOfASmallCacheDoNotMeet(t *testing.T) {
	r, _ := newScripted(t, Config{CacheBytes: 8 << 10}, nil)
	r.upstreams.Query = func(_ context.Context, try upstream.Try) (*dns.Msg, error) {
		k := try.Question
		return &dns.Msg{Answer: []dns.RR{&dns.A{
			Hdr: dns.RR_Header{Name: k.Name + ".", Rrtype: dns.TypeA, Class: 1, Ttl: 60, Rdlength: 4}, A: []byte{192, 0, 2, 1},
		}}}, nil
	}
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for i := range 500 {
				mustLookup(t, r, fmt.Sprintf("n%d.example", (g+1)*i%40), "192.0.2.1")
			}
		})
	}
	all.Wait()
}

// Who does not wait is given the whole answer or none: of half of one it could not
// be told that every address is permitted.
func TestWhoDoesNotWaitGetsAWholeAnswerOrNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := newScripted(t, Config{Families: Both}, script{
			"x.example. A":    {answer: "x.example. 60 IN A 192.0.2.1"},
			"x.example. AAAA": {answer: "x.example. 60 IN AAAA fd00::1", after: 300 * time.Millisecond},
		})
		over, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := r.Lookup(over, "x.example"); !errors.Is(err, context.Canceled) {
			t.Errorf("nothing is there: %v", err)
		}
		mustAsk(t, s, 0)
		go func() { _, _ = r.Lookup(t.Context(), "x.example") }()
		for range 2 { // at first nothing is there, and then one of the families
			if a, err := r.Lookup(over, "x.example"); !errors.Is(err, context.Canceled) {
				t.Errorf("half of an answer is given for the whole: %v, %v", a.Addrs, err)
			}
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
		}
		time.Sleep(time.Second)
		if a, err := r.Lookup(over, "x.example"); err != nil || len(a.Addrs) != 2 {
			t.Errorf("all of it is there: %v, %v", a.Addrs, err)
		}
	})
}
