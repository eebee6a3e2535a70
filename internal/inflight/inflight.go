// Package inflight has the plain requests that are under way, and ends them from outside.
//
// What it does: a goroutine of [Set.Run] looks at all of them a few times a second and
// ends those whose client has gone, that have been idle or have lasted too long; anybody
// may end one, for a policy that has changed for example. Whatever the goroutine of the
// request waits for returns then, and it asks why. So no read and no write of a request
// needs a deadline of its own.
//
// What it does not do: it reads and writes nothing, and records nothing.
//
//	if set.Add(&r) {
//		defer set.Remove(&r)
//		r.WaitsFor(cancel, nil)
//		…
//		cause, ended := r.Ended()
package inflight

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/tunnel"
)

// sweepEvery is how often the requests are looked at, where the idle time is no shorter. A
// client that has gone is found within two of them.
const sweepEvery = 250 * time.Millisecond

// longAgo is a deadline that wakes whatever waits on a connection.
func longAgo() time.Time { return time.Unix(1, 0) }

// Client is the client's connection of a request.
type Client interface {
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
	Gone() bool // it has closed its side; from any goroutine
}

// Origin is the connection to the origin.
type Origin interface{ SetDeadline(time.Time) error }

// Request is one request under way. Client, Start and Value are set before it is added.
type Request struct {
	Client Client
	Start  time.Time
	Value  any // whatever the owner needs to judge the request again

	Up, Down  atomic.Int64 // bytes of content that the socket of the origin, and of the client, has taken
	Heads     atomic.Int64 // heads that have gone to the client
	Uploading atomic.Bool  // the client's content is waited for: who reads it sees its end

	mu         sync.Mutex
	removed    bool // nothing ends it any more
	ended      bool
	cause      tunnel.Cause
	uploading  bool               // it was ended while Uploading
	cancel     context.CancelFunc // of the dial under way; nil: none is
	origin     Origin             // nil: none yet
	answering  bool               // what goes to the client is its answer
	seen       int64              // what had moved at the last sweep; the sweep's alone
	lastActive time.Time          // the last sweep at which more had; the sweep's alone
}

// WaitsFor says what an end has to break off: a dial, or a connection to the origin, or
// neither. False: the request has been ended already.
func (r *Request) WaitsFor(cancel context.CancelFunc, o Origin) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cancel, r.origin = cancel, o
	return !r.ended
}

// Answering says that the answer begins: an end breaks it off.
func (r *Request) Answering() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answering = true
}

// WhileAnswering calls f with what has moved so far, unless the answer has not begun or the
// request is over: what Value holds may be another's then.
func (r *Request) WhileAnswering(f func(up, down int64)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.answering && !r.removed {
		f(r.Up.Load(), r.Down.Load())
	}
}

// BreakOff ends the wait for the origin, and nothing else.
func (r *Request) BreakOff() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.origin != nil {
		_ = r.origin.SetDeadline(longAgo())
	}
}

// End ends the request for a cause, from any goroutine: whatever it waits for returns. It
// reports whether this call has ended it.
func (r *Request) End(why tunnel.Cause) bool {
	return r.EndUnless(why, func() bool { return false })
}

// EndUnless is End unless allowed says that the request may go on. It is not asked about a
// request that is over: what Value holds may be another's then.
func (r *Request) EndUnless(why tunnel.Cause, allowed func() bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.removed || r.ended || allowed() {
		return false
	}
	r.ended, r.cause, r.uploading = true, why, r.Uploading.Load()
	if r.cancel != nil {
		r.cancel()
	}
	if r.origin != nil {
		_ = r.origin.SetDeadline(longAgo())
	}
	_ = r.Client.SetReadDeadline(longAgo())
	if r.answering || why == tunnel.Client {
		_ = r.Client.SetWriteDeadline(longAgo())
	}
	return true
}

// Ended reports whether the request was ended from outside, and why.
func (r *Request) Ended() (why tunnel.Cause, ended bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cause, r.ended
}

// ClientWasIdle reports whether the request was ended because its client's content did not
// come.
func (r *Request) ClientWasIdle() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ended && r.cause == tunnel.Idle && r.uploading
}

// sweep ends the request where its time is over or its client has gone.
func (r *Request) sweep(now time.Time, idle, lifetime time.Duration) {
	if moved := r.Up.Load() + r.Down.Load() + r.Heads.Load(); moved != r.seen {
		r.seen, r.lastActive = moved, now
	}
	switch {
	case now.Sub(r.Start) >= lifetime:
		r.End(tunnel.Lifetime)
	case now.Sub(r.lastActive) >= idle:
		r.End(tunnel.Idle)
	case !r.Uploading.Load() && r.Client.Gone():
		r.End(tunnel.Client)
	}
}

// Set is the requests under way. The zero Set has none. Safe for concurrent use.
type Set struct {
	mu      sync.Mutex
	closed  bool
	open    map[*Request]struct{}
	looking int // calls of Each under way
}

// Add takes a request in; false: none is let in any more.
func (s *Set) Add(r *Request) bool {
	r.lastActive = time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if s.open == nil {
		s.open = map[*Request]struct{}{}
	}
	s.open[r] = struct{}{}
	return true
}

// Remove takes a request out. Behind it nothing ends the request any more; it may be
// called again. It reports whether nobody else has the request: no look at all
// requests is under way that could have found it.
func (s *Set) Remove(r *Request) (unshared bool) {
	s.mu.Lock()
	delete(s.open, r)
	unshared = s.looking == 0
	s.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.removed = true
	return unshared
}

// Each calls f with each request that is under way. It may end it.
func (s *Set) Each(f func(*Request)) {
	s.mu.Lock()
	all := make([]*Request, 0, len(s.open))
	for r := range s.open {
		all = append(all, r)
	}
	s.looking++
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.looking--
	}()
	for _, r := range all {
		f(r)
	}
}

// Close ends all requests as shutdown, and lets none in any more.
func (s *Set) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.Each(func(r *Request) { r.End(tunnel.Shutdown) })
}

// Run enforces the limits, and calls swept after each look at all requests, until ctx ends.
func (s *Set) Run(ctx context.Context, idle, lifetime time.Duration, swept func(now time.Time)) {
	ticker := time.NewTicker(min(sweepEvery, max(idle/8, time.Millisecond)))
	defer ticker.Stop()
	for {
		select {
		case now := <-ticker.C:
			s.Each(func(r *Request) { r.sweep(now, idle, lifetime) })
			swept(now)
		case <-ctx.Done():
			return
		}
	}
}
