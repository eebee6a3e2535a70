package resolve

import (
	"context"
	"errors"
	"net/netip"
	"slices"
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
	asked []string
}

const replyTTL0 = "x.example. 0 IN A 192.0.2.1" // every lookup asks

func newPair(t *testing.T, p *pair) *Resolver {
	t.Helper()
	r, _ := newScripted(t, Config{Upstreams: []netip.AddrPort{
		netip.MustParseAddrPort("127.0.0.1:53"), netip.MustParseAddrPort("127.0.0.2:53"),
	}}, nil)
	r.upstreams.Query = func(ctx context.Context, server netip.AddrPort, k key) (*dns.Msg, error) {
		name, says := "A", p.a
		if server.Addr() == netip.MustParseAddr("127.0.0.2") {
			name, says = "B", p.b
		}
		p.asked = append(p.asked, name)
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
		{"NOTIMP", reply{rcode: dns.RcodeNotImplemented}},
		{"FORMERR", reply{rcode: dns.RcodeFormatError}},
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
		mustLookup(t, r, "x.example", "192.0.2.1")
		p.asks(t, "A", "B")
		mustLookup(t, r, "x.example", "192.0.2.1")
		mustLookup(t, r, "x.example", "192.0.2.1")
		p.asks(t, "B", "B")
		time.Sleep(upstream.ProbeEvery) // one question tries it again
		mustLookup(t, r, "x.example", "192.0.2.1")
		mustLookup(t, r, "x.example", "192.0.2.1")
		p.asks(t, "A", "B", "B")
		p.a = reply{answer: replyTTL0}
		time.Sleep(upstream.ProbeEvery)
		mustLookup(t, r, "x.example", "192.0.2.1")
		mustLookup(t, r, "x.example", "192.0.2.1")
		p.asks(t, "A", "A")
	})
}

func TestUpstreamsThatAllFailEndWithinTheBudget(t *testing.T) {
	for _, tt := range []struct {
		name string
		a, b reply
		want error
		in   time.Duration
		asks []string
	}{
		{"both are silent", reply{err: errDown, after: 2 * time.Second}, reply{err: errDown, after: 2 * time.Second},
			ErrTimeout, 8 * time.Second, []string{"A", "B", "A", "B"}},
		{"both are silent beyond the budget", reply{after: 4 * time.Second, err: errDown}, reply{after: 4 * time.Second, err: errDown},
			ErrTimeout, inflightBudget, []string{"A", "B", "A"}},
		{"one is silent, one answers SERVFAIL", reply{err: errDown, after: 2 * time.Second}, reply{rcode: dns.RcodeServerFailure},
			ErrFailed, 4 * time.Second, []string{"A", "B", "A"}},
		{"both answer SERVFAIL", reply{rcode: dns.RcodeServerFailure}, reply{rcode: dns.RcodeServerFailure},
			ErrFailed, 0, []string{"A", "B"}},
		{"one is silent, one is not there", reply{err: errDown, after: 2 * time.Second}, reply{err: errors.New("connection refused")},
			ErrTimeout, 4 * time.Second, []string{"A", "B", "A", "B"}},
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

func TestDatagramThatIsLostIsSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := newScripted(t, Config{}, nil)
		tries := 0
		r.upstreams.Query = func(context.Context, netip.AddrPort, key) (*dns.Msg, error) {
			if tries++; tries == 1 {
				return nil, errDown
			}
			return &dns.Msg{Answer: zone(replyTTL0)}, nil
		}
		mustLookup(t, r, "x.example", "192.0.2.1")
	})
}
