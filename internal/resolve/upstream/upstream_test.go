package upstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// says is what a server does with a question: its answer, or why there is none, after a while.
type says struct {
	rcode    int
	referral bool
	err      error
	after    time.Duration
}

// never is the answer of a server that has none.
var never = says{after: time.Hour}

// weather is servers A, B and so on, and how each is; a func is asked for each question.
type weather struct {
	*Pool
	now func() time.Duration

	mu    sync.Mutex
	is    map[string]func(Try) says
	asked []string // when which server was asked, in lower case where without EDNS
}

// newWeather makes a pool of so many servers, all well.
func newWeather(t *testing.T, servers int, reg prometheus.Registerer) *weather {
	began := time.Now()
	w := &weather{is: map[string]func(Try) says{}, now: func() time.Duration { return time.Second + time.Since(began) }}
	w.Pool = &Pool{Query: w.query, Logger: slog.New(slog.DiscardHandler), Now: w.now, Metrics: NewMetrics(reg), Extra: make(chan struct{}, 8)}
	var addrs []netip.AddrPort
	for i := range servers {
		addrs = append(addrs, addrOf(i))
	}
	w.Set(addrs)
	t.Cleanup(w.Close)
	return w
}

// addrOf returns the address of the server of that number.
func addrOf(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, byte(1 + i)}), 53)
}

// set changes how a server is.
func (w *weather) set(server string, s says) { w.setFunc(server, func(Try) says { return s }) }

func (w *weather) setFunc(server string, f func(Try) says) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.is[server] = f
}

func (w *weather) query(ctx context.Context, try Try) (*dns.Msg, error) {
	name := string('A' + rune(try.Server.Addr().As4()[3]-1))
	w.mu.Lock()
	is := w.is[name]
	if try.Plain {
		name = strings.ToLower(name)
	}
	w.asked = append(w.asked, fmt.Sprintf("%012d %s", w.now(), name))
	w.mu.Unlock()
	var s says
	if is != nil {
		s = is(try)
	}
	if s.after > 0 {
		select {
		case <-time.After(s.after):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	m := &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: s.rcode}}
	if s.referral {
		m.Ns = []dns.RR{&dns.NS{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeNS, Class: 1}, Ns: "a.root-servers.net."}}
	}
	return m, s.err
}

// ask asks for a name for five seconds at most, and checks who was asked, in which order,
// since the last time, how long it took, and what came of it.
func (w *weather) ask(t *testing.T, name, want string, took time.Duration, fails error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	began := time.Now()
	_, err := w.Exchange(ctx, Question{Name: name, Type: dns.TypeA}, 0)
	if !errors.Is(err, fails) || (err == nil) != (fails == nil) {
		t.Errorf("%s: %v, want %v", name, err, fails)
	}
	if d := time.Since(began); d != took {
		t.Errorf("%s took %v, want %v", name, d, took)
	}
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	slices.Sort(w.asked) // of the same instant there is no order
	got := ""
	for _, at := range w.asked {
		got += at[len(at)-1:]
	}
	if got != want {
		t.Errorf("%s: asked %s, want %s", name, got, want)
	}
	w.asked = nil
}

// bubble runs a test with a clock of its own.
func bubble(t *testing.T, servers int, f func(*testing.T, *weather)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newWeather(t, servers, nil)) })
}

// What one question has paid for the next ones know: a server that is silent is asked
// behind the others, and probed beside them by one question in a while.
func TestSilentServersAreNotWaitedForTwice(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *weather) {
		w.set("A", never)
		w.set("B", never)
		w.ask(t, "one", "ABC", 2*firstRTO, nil)
		w.ask(t, "two", "ABC", firstRTO, nil) // A has had twice its patience, B not yet
		time.Sleep(firstRTO)
		w.ask(t, "three", "BC", 0, nil) // B is probed now
		for range 100 {
			w.ask(t, "more", "C", 0, nil)
		}
		time.Sleep(ProbeEvery)
		w.set("A", says{})
		w.ask(t, "probed", "ABC", 0, nil)
		w.ask(t, "again", "A", 0, nil)
	})
}

// A probe is waited for longer than the answer beside it takes.
func TestSlowServerThatIsProbedIsUpAgain(t *testing.T) {
	bubble(t, 2, func(t *testing.T, w *weather) {
		w.set("A", says{err: errors.New("connection refused")})
		w.ask(t, "one", "AB", 0, nil)
		w.set("A", says{after: 300 * time.Millisecond})
		time.Sleep(ProbeEvery)
		w.ask(t, "two", "AB", 0, nil)
		time.Sleep(time.Second)
		w.ask(t, "three", "A", 300*time.Millisecond, nil)
	})
}

// The next server is asked beside one that is late, and whichever answers first is used.
func TestLateAnswerIsUsedWhereItIsTheFirst(t *testing.T) {
	bubble(t, 2, func(t *testing.T, w *weather) {
		w.set("A", says{after: 600 * time.Millisecond})
		w.set("B", says{after: 3 * time.Second})
		w.ask(t, "one", "AB", 600*time.Millisecond, nil)
	})
	bubble(t, 1, func(t *testing.T, w *weather) {
		w.set("A", says{after: 4 * time.Second})
		w.ask(t, "one", "A", 4*time.Second, nil)
	})
}

// Where none is known to answer all are asked at once: one may be well again.
func TestAllServersAreAskedAtOnceWhereNoneAnswers(t *testing.T) {
	bubble(t, 2, func(t *testing.T, w *weather) {
		w.set("A", never)
		w.set("B", never)
		w.ask(t, "one", "AB", 5*time.Second, ErrTimeout)
		if !w.NoneAnswers(DownAfter) {
			t.Error("they are not known to be silent")
		}
		w.setFunc("B", func(try Try) says {
			if try.Again < DownAfter {
				t.Errorf("what is known to be silent is asked again after %v", try.Again)
			}
			return says{after: time.Millisecond}
		})
		w.ask(t, "two", "AB", time.Millisecond, nil)
		if w.NoneAnswers(DownAfter) {
			t.Error("one has answered")
		}
	})
}

// No failure of this machine is one of a server.
func TestWhatIsWrongHereIsHeldAgainstNoServer(t *testing.T) {
	for _, errno := range own {
		bubble(t, 2, func(t *testing.T, w *weather) {
			w.set("A", says{err: fmt.Errorf("connecting by udp: %w", errno)})
			w.set("B", says{err: fmt.Errorf("connecting by udp: %w", errno)})
			w.ask(t, "one", "AB", 0, ErrLocal)
			w.set("A", says{})
			time.Sleep(DownAfter)
			w.ask(t, "two", "A", 0, nil)
		})
	}
	bubble(t, 2, func(t *testing.T, w *weather) { // what is wrong elsewhere is
		w.set("A", says{err: syscall.ECONNREFUSED})
		w.ask(t, "one", "AB", 0, nil)
		w.ask(t, "two", "B", 0, nil)
	})
}

// A server that refuses EDNS is asked again without it, and from then on at once.
func TestServerWithoutEDNSIsAskedWithoutIt(t *testing.T) {
	for _, rcode := range []int{dns.RcodeFormatError, dns.RcodeNotImplemented, dns.RcodeBadVers} {
		bubble(t, 2, func(t *testing.T, w *weather) {
			w.setFunc("A", func(try Try) says {
				if try.Plain {
					return says{}
				}
				return says{rcode: rcode}
			})
			w.ask(t, "one", "Aa", 0, nil)
			w.ask(t, "two", "a", 0, nil)
			time.Sleep(plainFor)
			w.ask(t, "three", "Aa", 0, nil)
			w.set("A", says{rcode: rcode}) // it is not EDNS that it refuses
			w.set("B", says{rcode: rcode})
			time.Sleep(plainFor)
			w.ask(t, "four", "ABab", 0, ErrAnswered)
			w.ask(t, "five", "ABab", 0, ErrAnswered)
		})
	}
}

// A server that is silent about one name answers others: that name it is asked for last.
func TestSilenceAboutANameIsKeptForThatName(t *testing.T) {
	bubble(t, 2, func(t *testing.T, w *weather) {
		w.setFunc("A", func(try Try) says {
			if try.Question.Name == "odd" {
				return never
			}
			return says{}
		})
		go func() {
			time.Sleep(10 * time.Millisecond)
			_, _ = w.Exchange(t.Context(), Question{Name: "other", Type: dns.TypeA}, 0)
		}()
		w.ask(t, "odd", "AAB", firstRTO, nil)
		w.ask(t, "odd", "B", 0, nil)
		w.ask(t, "other", "A", 0, nil)
		time.Sleep(muteFor)
		w.ask(t, "odd", "AB", leastRTO, nil)
	})
	bubble(t, 1, func(t *testing.T, w *weather) {
		w.setFunc("A", func(try Try) says {
			if try.Question.Name == "odd" {
				return never
			}
			return says{}
		})
		go func() {
			time.Sleep(10 * time.Millisecond)
			_, _ = w.Exchange(t.Context(), Question{Name: "other", Type: dns.TypeA}, 0)
		}()
		w.ask(t, "odd", "AA", 5*time.Second, ErrMute)
		if w.NoneAnswers(time.Second) {
			t.Error("a name that nobody answers makes its server silent")
		}
	})
}

func TestTableOfMuteQuestionsIsBounded(t *testing.T) {
	var m mutes
	s := &server{}
	for i := range 3 * MostMutes {
		m.add(s, Question{Name: fmt.Sprint(i)}, 0)
	}
	if n := len(m.until); n > MostMutes {
		t.Errorf("%d are remembered", n)
	}
	if !m.has(s, Question{Name: fmt.Sprint(3*MostMutes - 1)}, 0) {
		t.Error("the last one is not remembered")
	}
}

// A referral to other servers is what one says who does not look names up.
func TestReferralIsNoAnswer(t *testing.T) {
	bubble(t, 2, func(t *testing.T, w *weather) {
		w.set("A", says{referral: true})
		w.ask(t, "one", "AB", 0, nil)
		w.set("B", says{referral: true})
		w.ask(t, "two", "AB", 0, ErrAnswered)
	})
}

// Where there is no room beside a question it goes on at one server after the other.
func TestWithoutRoomBesideTheSilentServerGivesWay(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *weather) {
		for range cap(w.Extra) {
			w.Extra <- struct{}{}
		}
		w.set("A", never)
		w.set("B", never)
		w.ask(t, "one", "ABC", 2*firstRTO, nil)
		for range cap(w.Extra) {
			<-w.Extra
		}
	})
}

// An upstream that is the program itself would ask the program itself, and so on.
func TestProgramDoesNotAskItself(t *testing.T) {
	bubble(t, 2, func(t *testing.T, w *weather) {
		w.Own = func(a netip.AddrPort) bool { return a == addrOf(0) }
		w.Set([]netip.AddrPort{addrOf(0), addrOf(1), netip.MustParseAddrPort("[::ffff:127.0.0.1]:53")})
		w.ask(t, "one", "B", 0, nil)
		w.Set([]netip.AddrPort{addrOf(0)})
		w.ask(t, "two", "", 0, ErrFailed)
	})
}

// What is known of a server outlasts a change of the list.
func TestServerThatStaysInTheListIsStillKnown(t *testing.T) {
	bubble(t, 2, func(t *testing.T, w *weather) {
		w.set("A", says{err: errors.New("connection refused")})
		w.ask(t, "one", "AB", 0, nil)
		w.Set([]netip.AddrPort{addrOf(0), addrOf(0), addrOf(1), addrOf(2)})
		w.ask(t, "two", "B", 0, nil)
	})
}

// How long an answer may take follows what the answers took.
func TestPatienceFollowsWhatAServerTakes(t *testing.T) {
	var s server
	if s.rto() != firstRTO {
		t.Errorf("of one that is not known: %v", s.rto())
	}
	for range 100 {
		s.measured(time.Millisecond, false)
	}
	if s.rto() != leastRTO {
		t.Errorf("of a fast one: %v", s.rto())
	}
	for range 3 {
		s.measured(time.Second, true) // it was sent again, and that may be what it has answered
	}
	if s.rto() != 8*leastRTO {
		t.Errorf("of one that loses packets: %v", s.rto())
	}
	for range 100 {
		s.measured(200*time.Millisecond, false)
	}
	if p := s.rto(); p < 200*time.Millisecond || p > 210*time.Millisecond {
		t.Errorf("of a slower one: %v", p)
	}
	for range 100 {
		s.measured(time.Hour, false)
	}
	if s.rto() != mostRTO {
		t.Errorf("of one that has no end: %v", s.rto())
	}
}

// Each server has its series from the start, and none when it is asked no more.
func TestMetricsSayWhichServerIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		w := newWeather(t, 2, reg)
		expect := func(what string, want map[string]float64) {
			t.Helper()
			families, err := reg.Gather()
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]float64{}
			for _, f := range families {
				for _, m := range f.GetMetric() {
					name := strings.TrimPrefix(f.GetName(), "egress_dns_upstream_")
					for _, l := range m.GetLabel() {
						name += " " + l.GetValue()
					}
					if v := m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount()); v != 0 {
						got[name] = v
					}
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s: %v, want %v", what, got, want)
			}
		}
		expect("nobody was asked", map[string]float64{"up 127.0.0.1:53": 1, "up 127.0.0.2:53": 1})
		w.set("A", never)
		w.ask(t, "one", "AB", firstRTO, nil)
		time.Sleep(DownAfter)
		expect("A is silent", map[string]float64{
			"up 127.0.0.2:53": 1, "seconds given_up 127.0.0.1:53": 1, "seconds answered 127.0.0.2:53": 1,
		})
		w.ask(t, "two", "AB", 0, nil)
		time.Sleep(ProbeEvery)
		expect("A was probed", map[string]float64{
			"up 127.0.0.2:53": 1, "seconds given_up 127.0.0.1:53": 1, "seconds timeout 127.0.0.1:53": 1,
			"failures_total timeout 127.0.0.1:53": 1, "seconds answered 127.0.0.2:53": 2,
		})
		w.Set([]netip.AddrPort{addrOf(1)})
		expect("A is gone", map[string]float64{"up 127.0.0.2:53": 1, "seconds answered 127.0.0.2:53": 2})
		for cause, s := range map[string]says{
			causeServfail: {rcode: dns.RcodeServerFailure}, causeRefused: {rcode: dns.RcodeRefused}, causeRcode: {rcode: dns.RcodeYXDomain},
			causeReferral: {referral: true}, causeUnreachable: {err: syscall.ECONNREFUSED}, causeLocal: {err: syscall.EMFILE},
			causeMalformed: {err: errMalformed}, causeTimeout: never,
		} {
			s.series("B", w, t)
			if got := counterOf(t, reg, cause); got != 1 {
				t.Errorf("%s is counted %v times", cause, got)
			}
		}
	})
}

// series has server B, which is the only one, answer one question so.
func (s says) series(server string, w *weather, t *testing.T) {
	w.set(server, s)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := w.Exchange(ctx, Question{Name: "x", Type: dns.TypeA}, 0); err == nil {
		t.Errorf("%+v is an answer", s)
	}
}

// counterOf returns how many failures of a cause are counted.
func counterOf(t *testing.T, reg *prometheus.Registry, cause string) (sum float64) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if f.GetName() == "egress_dns_upstream_failures_total" && l.GetValue() == cause {
					sum += m.GetCounter().GetValue()
				}
			}
		}
	}
	return sum
}
