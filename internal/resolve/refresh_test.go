package resolve

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/resolve/upstream"
)

func TestPopularNameIsRefreshedBeforeItExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		r, s := newScripted(t, Config{Registerer: reg}, script{"x.example. A": {answer: first}})
		for range 3 {
			mustLookup(t, r, "x.example", "192.0.2.1")
		}
		s.play(script{"x.example. A": {answer: second, after: 5 * time.Second}})
		time.Sleep(50 * time.Second)
		for range 10 {
			mustLookup(t, r, "x.example", "192.0.2.1") // served from the cache meanwhile
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		began := time.Now()
		mustLookup(t, r, "x.example", "192.0.2.2")
		time.Sleep(30 * time.Second) // long past the first answer's end
		mustLookup(t, r, "x.example", "192.0.2.2")
		if waited := time.Since(began); waited != 30*time.Second {
			t.Errorf("a lookup of a hot name waited %v", waited-30*time.Second)
		}
		mustAsk(t, s, 2)
		if diff := cmp.Diff(map[string]float64{"miss": 1, "hit": 14, "prefetch": 1}, counted(t, reg)); diff != "" {
			t.Error(diff)
		}
	})
}

// The filter keeps answers for four fifths of their TTL, and asks again for what is in demand.
func TestQuestionForRecordsThatComesAgainRefreshesThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := newScripted(t, Config{}, script{"x.example. A": {answer: first}})
		q := dns.Question{Name: "x.example.", Qtype: dns.TypeA, Qclass: dns.ClassINET}
		for range 2 {
			if _, err := r.Exchange(t.Context(), q, false); err != nil {
				t.Fatal(err)
			}
			time.Sleep(49 * time.Second)
		}
		synctest.Wait()
		mustAsk(t, s, 2)
	})
}

// Upstreams that are slow, and not down, would else cost each name a wait at the end of each
// TTL, though its refresh was begun in time.
func TestNameWhoseRefreshIsLateServesWhatHasExpiredAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := newScripted(t, Config{}, script{"x.example. A": {answer: first}})
		for range 3 {
			mustLookup(t, r, "x.example", "192.0.2.1")
		}
		s.play(script{"x.example. A": {answer: second, after: 2 * time.Second}})
		time.Sleep(59 * time.Second)
		mustTake(t, r, "x.example", 0, false, "192.0.2.1") // begins the refresh
		synctest.Wait()
		time.Sleep(time.Second)
		mustTake(t, r, "x.example", 0, true, "192.0.2.1")
		time.Sleep(1100 * time.Millisecond)
		mustTake(t, r, "x.example", 0, false, "192.0.2.2")
		mustAsk(t, s, 2)
	})
}

// Nor is an upstream late that has had less than the patience with it.
func TestNameWhoseRefreshIsNotLateIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := newScripted(t, Config{}, script{"x.example. A": {answer: first}})
		for range 3 {
			mustLookup(t, r, "x.example", "192.0.2.1")
		}
		s.play(script{"x.example. A": {answer: second, after: 900 * time.Millisecond}})
		time.Sleep(59900 * time.Millisecond)
		mustTake(t, r, "x.example", 0, false, "192.0.2.1")
		synctest.Wait() // the refresh has begun
		time.Sleep(200 * time.Millisecond)
		mustTake(t, r, "x.example", 700*time.Millisecond, false, "192.0.2.2")
		mustAsk(t, s, 2)
	})
}

// Who waits is worth a question that is sent again soon; what nobody waits for is not, least
// of all where all upstreams are silent.
func TestRefreshIsNotSentAgainAsSoonAsAQuestionThatIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := newScripted(t, Config{Upstreams: []netip.AddrPort{
			netip.MustParseAddrPort("127.0.0.1:53"), netip.MustParseAddrPort("127.0.0.2:53"),
		}}, script{"x.example. A": {answer: first}})
		var again []time.Duration
		r.upstreams.Query = func(ctx context.Context, try upstream.Try) (*dns.Msg, error) {
			again = append(again, try.Again)
			return s.ask(ctx, try)
		}
		for range 3 {
			mustLookup(t, r, "x.example", "192.0.2.1")
		}
		time.Sleep(50 * time.Second)
		mustLookup(t, r, "x.example", "192.0.2.1")
		synctest.Wait()
		if len(again) != 2 || again[0] >= refreshResend || again[1] < refreshResend {
			t.Errorf("the question and its refresh are sent again after %v", again)
		}
	})
}

func TestNameThatIsNotPopularIsNotRefreshed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := newScripted(t, Config{}, script{"x.example. A": {answer: first}})
		mustLookup(t, r, "x.example", "192.0.2.1")
		time.Sleep(55 * time.Second)
		mustLookup(t, r, "x.example", "192.0.2.1")
		synctest.Wait()
		mustAsk(t, s, 1)
	})
}

func TestRefreshThatFailsIsTriedAgainNotAtEachHit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := newScripted(t, Config{}, script{"x.example. A": {answer: first}})
		for range 3 {
			mustLookup(t, r, "x.example", "192.0.2.1")
		}
		s.play(script{"x.example. A": {rcode: dns.RcodeServerFailure}})
		time.Sleep(50 * time.Second)
		for range 100 {
			mustLookup(t, r, "x.example", "192.0.2.1")
			synctest.Wait()
		}
		mustAsk(t, s, 2)
		time.Sleep(time.Second)
		mustLookup(t, r, "x.example", "192.0.2.1")
		synctest.Wait()
		mustAsk(t, s, 3)
	})
}

func TestRefreshesInTheBackgroundAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		early, late := script{}, script{}
		for i := range 2 * maxPrefetch {
			name := fmt.Sprintf("n%d.example. A", i)
			early[name] = reply{answer: fmt.Sprintf("n%d.example. 60 IN A 192.0.2.1", i)}
			late[name] = reply{err: errDown, after: time.Hour}
		}
		r, s := newScripted(t, Config{}, early)
		hitAll := func() {
			for i := range 2 * maxPrefetch {
				mustLookup(t, r, fmt.Sprintf("n%d.example", i), "192.0.2.1")
			}
		}
		for range 3 {
			hitAll()
		}
		s.play(late)
		time.Sleep(50 * time.Second)
		hitAll()
		synctest.Wait()
		mustAsk(t, s, 3*maxPrefetch)
	})
}

func TestExpiredAnswerServesWhileEveryUpstreamFails(t *testing.T) {
	for _, tt := range []struct {
		name string
		down reply
	}{
		{"by silence", reply{err: errDown, after: 2 * time.Second}},
		{"by SERVFAIL", reply{rcode: dns.RcodeServerFailure}},
		{"by a refused connection", reply{err: errors.New("connection refused")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				reg := prometheus.NewRegistry()
				r, s := newScripted(t, Config{Registerer: reg, StaleFor: 10 * time.Minute}, script{"x.example. A": {answer: first}})
				if mustLookup(t, r, "x.example", "192.0.2.1").Stale {
					t.Error("a fresh answer is called stale")
				}
				s.play(script{"x.example. A": tt.down})
				time.Sleep(time.Minute)
				if !mustLookup(t, r, "x.example", "192.0.2.1").Stale {
					t.Error("an expired answer is not called stale")
				}
				asked, began := s.questions(), time.Now()
				mustLookup(t, r, "x.example", "192.0.2.1")
				if time.Since(began) != 0 || s.questions() != asked {
					t.Error("upstreams that have just failed were waited for again")
				}
				got, err := r.Exchange(t.Context(), dns.Question{Name: "x.example.", Qtype: dns.TypeA, Qclass: 1}, false)
				if err != nil || !got.Stale || got.TTL != staleTTL {
					t.Errorf("Exchange: %+v, %v", got, err)
				}
				if diff := cmp.Diff(map[string]float64{"miss": 2, "stale": 3}, counted(t, reg)); diff != "" {
					t.Error(diff)
				}
				time.Sleep(10 * time.Minute)
				if _, err := r.Lookup(t.Context(), "x.example"); !errors.Is(err, ErrFailed) && !errors.Is(err, ErrTimeout) {
					t.Errorf("an answer served past its bound: %v", err)
				}
				s.play(script{"x.example. A": {answer: second}})
				time.Sleep(upstream.ProbeEvery)
				if mustLookup(t, r, "x.example", "192.0.2.2").Stale {
					t.Error("a fresh answer is called stale")
				}
			})
		})
	}
}

func TestExpiredAnswerDoesNotServeWhereUpstreamDeniesTheName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := newScripted(t, Config{}, script{"x.example. A": {answer: first}})
		mustLookup(t, r, "x.example", "192.0.2.1")
		s.play(script{"x.example. A": {rcode: dns.RcodeNameError}})
		time.Sleep(time.Minute)
		mustFail(t, r, "x.example", ErrNotFound)
	})
}

func TestStaleAnswersCanBeSwitchedOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := newScripted(t, Config{StaleFor: -1}, script{"x.example. A": {answer: first}})
		mustLookup(t, r, "x.example", "192.0.2.1")
		s.play(script{"x.example. A": {err: errDown}})
		time.Sleep(time.Minute)
		mustFail(t, r, "x.example", ErrTimeout)
	})
}

func TestAnsweredFailureIsKeptForAMomentAndSilenceIsNot(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fails reply
		want  error
		asked int // by two lookups at once after the other
	}{
		{"SERVFAIL", reply{rcode: dns.RcodeServerFailure}, ErrFailed, 1},
		{"REFUSED", reply{rcode: dns.RcodeRefused}, ErrFailed, 1},
		{"CNAMEs in a loop", reply{answer: "x.example. 60 IN CNAME x.example."}, ErrFailed, 1},
		{"silence", reply{err: errDown}, ErrTimeout, 2},
		{"a refused connection", reply{err: errors.New("connection refused")}, ErrFailed, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, s := newScripted(t, Config{}, script{"x.example. A": tt.fails})
				mustFail(t, r, "x.example", tt.want)
				mustFail(t, r, "x.example", tt.want)
				mustAsk(t, s, tt.asked)
				s.play(script{"x.example. A": {answer: first}})
				time.Sleep(failureTTL)
				mustLookup(t, r, "x.example", "192.0.2.1")
			})
		})
	}
}
