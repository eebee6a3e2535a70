package resolve

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/resolve/upstream"
)

// pair is two upstreams whose behaviour can be changed, and the order in which
// they were asked.
type pair struct {
	a, b  reply
	mu    sync.Mutex
	asked []string
}

const replyTTL0 = "x.example. 0 IN A 192.0.2.1" // every lookup asks

func newPair(t *testing.T, p *pair) *Resolver {
	t.Helper()
	r, _ := newScripted(t, Config{Upstreams: []netip.AddrPort{
		netip.MustParseAddrPort("127.0.0.1:53"), netip.MustParseAddrPort("127.0.0.2:53"),
	}}, nil)
	r.upstreams.Query = func(ctx context.Context, try upstream.Try) (*dns.Msg, error) {
		name, says := "A", p.a
		if try.Server.Addr() == netip.MustParseAddr("127.0.0.2") {
			name, says = "B", p.b
		}
		p.mu.Lock()
		p.asked = append(p.asked, name)
		p.mu.Unlock()
		if says.after > 0 {
			select {
			case <-time.After(says.after):
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		return &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: says.rcode}, Answer: zone(says.answer)}, says.err
	}
	return r
}

// asks checks who was asked since the last time.
func (p *pair) asks(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(p.asked, want) {
		t.Errorf("asked %v, want %v", p.asked, want)
	}
	p.asked = nil
}

func TestNextUpstreamIsUsedWhereTheFirstFails(t *testing.T) {
	for _, tt := range []struct {
		name string
		a    reply
	}{
		{"SERVFAIL", reply{rcode: dns.RcodeServerFailure}},
		{"REFUSED", reply{rcode: dns.RcodeRefused}},
		{"silence", reply{err: errDown}},
		{"a refused connection", reply{err: errors.New("connection refused")}},
		{"nonsense", reply{err: errors.New("malformed")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := &pair{a: tt.a, b: reply{answer: replyTTL0}}
			r := newPair(t, p)
			mustLookup(t, r, "x.example", "192.0.2.1")
			p.asks(t, "A", "B")
		})
	}
}

func TestDenialIsAnAnswerAndEndsTheSearch(t *testing.T) {
	p := &pair{a: reply{rcode: dns.RcodeNameError}, b: reply{answer: replyTTL0}}
	r := newPair(t, p)
	mustFail(t, r, "x.example", ErrNotFound)
	p.asks(t, "A")
}

func TestUpstreamThatIsDownIsAskedLastUntilItRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pair{a: reply{err: errDown}, b: reply{answer: replyTTL0}}
		r := newPair(t, p)
		for range 3 {
			mustLookup(t, r, "x.example", "192.0.2.1")
		}
		p.asks(t, "A", "B", "B", "B")
		time.Sleep(upstream.ProbeEvery) // one question tries it again, beside the other
		mustLookup(t, r, "x.example", "192.0.2.1")
		synctest.Wait()
		mustLookup(t, r, "x.example", "192.0.2.1")
		slices.Sort(p.asked)
		p.asks(t, "A", "B", "B")
		p.a = reply{answer: replyTTL0}
		time.Sleep(upstream.ProbeEvery)
		mustLookup(t, r, "x.example", "192.0.2.1")
		synctest.Wait()
		p.asked = nil
		mustLookup(t, r, "x.example", "192.0.2.1")
		mustLookup(t, r, "x.example", "192.0.2.1")
		p.asks(t, "A", "A")
	})
}

func TestUpstreamsThatAllFailEndWithinTheBudget(t *testing.T) {
	mute := reply{after: time.Hour}
	for _, tt := range []struct {
		name string
		a, b reply
		want error
		in   time.Duration
		asks []string
	}{
		{"both are silent", mute, mute, ErrTimeout, 10 * time.Second, []string{"A", "B"}},
		{"one is silent, one answers SERVFAIL", mute, reply{rcode: dns.RcodeServerFailure}, ErrFailed, upstream.DownAfter, []string{"A", "B"}},
		{"one answers SERVFAIL, one is silent", reply{rcode: dns.RcodeServerFailure}, mute, ErrFailed, upstream.DownAfter, []string{"A", "B"}},
		{"both answer SERVFAIL", reply{rcode: dns.RcodeServerFailure}, reply{rcode: dns.RcodeServerFailure}, ErrFailed, 0, []string{"A", "B"}},
		{"one is silent, one is not there", mute, reply{err: errors.New("connection refused")}, ErrTimeout, 10 * time.Second, []string{"A", "B"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &pair{a: tt.a, b: tt.b}
				r := newPair(t, p)
				began := time.Now()
				mustFail(t, r, "x.example", tt.want)
				if took := time.Since(began); took != tt.in {
					t.Errorf("took %v, want %v", took, tt.in)
				}
				p.asks(t, tt.asks...)
			})
		})
	}
}
