// Package token keeps the token that proves who the function is.
//
// What it does: Get returns a token that holds for some seconds yet, and fetches one
// where there is none; below a fifth of its life it is renewed beside, so that no
// request waits. One fetch is under way at a time, and it has three seconds. Times are
// those of the wall clock: the machine that Lambda freezes may stop the other one.
//
// What it does not do: it knows no service that gives out tokens, and reads none.
//
//	s := token.New(token.Options{Fetch: client.Fetch})
//	value, err := s.Get(ctx)
package token

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// The times of a token.
const (
	// FetchTimeout is how long one fetch may take.
	FetchTimeout = 3 * time.Second
	// margin is the rest of a life that is no use any more: the request has to reach
	// the proxy, and clocks differ a little.
	margin = 5 * time.Second
	// holdOff is how long an error answers for the next fetch, so that a client that
	// repeats what fails does not repeat it to STS.
	holdOff = time.Second
	// refetchAfter is how long a token that was fetched because the one before was
	// refused is not itself replaced: the next would be refused too.
	refetchAfter = 5 * time.Second
)

// Token is a token and how long it holds.
type Token struct {
	Value   string
	Expires time.Time     // by the wall clock
	Life    time.Duration // that it had when it was fetched
}

// Error says why there is no token.
type Error struct {
	// Code is AWS's own where AWS has said something, such as AccessDenied; else one
	// of the codes of this package. It is of letters and digits.
	Code string
	Err  error // nil: nothing more is known
}

// The codes of what AWS has not said.
const (
	CodeTimeout       = "Timeout"       // no answer within FetchTimeout
	CodeUnreachable   = "Unreachable"   // no connection to the STS endpoint
	CodeBadAnswer     = "BadAnswer"     // what answered is not STS
	CodeTokenExpired  = "TokenExpired"  // the token was over when it came
	CodeNoCredentials = "NoCredentials" // there is nothing to sign the request with
	CodeNoRegion      = "NoRegion"      // AWS_REGION is not set
	CodeUnknown       = "Unknown"
)

// Error implements error.
func (e *Error) Error() string {
	if e.Err == nil {
		return "fetching a token: " + e.Code
	}
	return fmt.Sprintf("fetching a token: %s: %v", e.Code, e.Err)
}

// Unwrap returns what is known beside the code.
func (e *Error) Unwrap() error { return e.Err }

// CodeOf returns the code of an error of this package; CodeUnknown for another.
func CodeOf(err error) string {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e.Code
	case errors.Is(err, context.DeadlineExceeded):
		return CodeTimeout
	default:
		return CodeUnknown
	}
}

// ErrRefused is that a new token would be no better than the one that was refused.
var ErrRefused = errors.New("a token that was just fetched is refused")

// Options says where tokens come from.
type Options struct {
	// Fetch gets one token. Its errors are *Error; its context ends after
	// FetchTimeout. Required.
	Fetch func(ctx context.Context) (Token, error)
	// Now is the wall clock; nil: that of the machine.
	Now func() time.Time
}

// Source is the token of this process, safe for concurrent use. Make one with New.
type Source struct {
	fetch func(ctx context.Context) (Token, error)
	now   func() time.Time

	mu       sync.Mutex
	token    Token
	inflight *inflight // nil: no fetch is under way
	err      error     // of the last fetch; nil: it got a token
	failed   time.Time // when that was
	replaced time.Time // when a refused token was last replaced
}

// inflight is a fetch that is under way.
type inflight struct {
	began  time.Time
	cancel context.CancelFunc
	done   chan struct{} // closed behind token and err
	token  Token
	err    error
}

// New returns a Source that has no token yet.
func New(o Options) *Source {
	s := &Source{fetch: o.Fetch, now: o.Now}
	if s.now == nil {
		s.now = wallClock
	}
	return s
}

// wallClock is the time without its monotonic reading, which a freeze may stop.
func wallClock() time.Time { return time.Now().Round(0) }

// Get returns a token that holds. It waits for a fetch where there is none, until the
// context ends. The error is an *Error or the context's.
func (s *Source) Get(ctx context.Context) (string, error) {
	s.mu.Lock()
	now := s.now()
	left := s.token.Expires.Sub(now)
	if left > margin {
		if left < s.token.Life/5 && !s.holdsOff(now) {
			s.startFetch(now)
		}
		defer s.mu.Unlock()
		return s.token.Value, nil
	}
	if s.holdsOff(now) {
		defer s.mu.Unlock()
		return "", s.err
	}
	f := s.startFetch(now)
	s.mu.Unlock()
	return f.result(ctx)
}

// Replace returns another token than the one that the proxy has refused. It is ErrRefused
// where that one had itself just been fetched for such a reason; else the errors are
// those of Get.
func (s *Source) Replace(ctx context.Context, refused string) (string, error) {
	s.mu.Lock()
	now := s.now()
	if s.token.Value != refused && s.token.Expires.Sub(now) > margin {
		defer s.mu.Unlock()
		return s.token.Value, nil
	}
	if since := now.Sub(s.replaced); since >= 0 && since < refetchAfter {
		defer s.mu.Unlock()
		return "", ErrRefused
	}
	if s.holdsOff(now) {
		defer s.mu.Unlock()
		return "", s.err
	}
	f := s.startFetch(now)
	s.replaced = now
	s.mu.Unlock()
	return f.result(ctx)
}

// holdsOff reports whether the last fetch failed just now. The caller holds mu.
func (s *Source) holdsOff(now time.Time) bool {
	since := now.Sub(s.failed)
	return s.err != nil && since >= 0 && since < holdOff
}

// startFetch returns the fetch that is under way, or a new one. One that a freeze has
// made older than it may get is given up: nobody answers it any more. The caller holds
// mu.
func (s *Source) startFetch(now time.Time) *inflight {
	if f := s.inflight; f != nil {
		if age := now.Sub(f.began); age >= 0 && age <= FetchTimeout {
			return f
		}
		f.cancel()
	}
	ctx, cancel := context.WithTimeout(context.Background(), FetchTimeout)
	f := &inflight{began: now, cancel: cancel, done: make(chan struct{})}
	s.inflight = f
	go s.runFetch(ctx, f)
	return f
}

// runFetch fetches one token and stores it, unless the fetch was given up meanwhile.
func (s *Source) runFetch(ctx context.Context, f *inflight) {
	defer f.cancel()
	f.token, f.err = s.fetch(ctx)
	if f.err != nil && ctx.Err() != nil {
		f.err = &Error{CodeTimeout, f.err}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	defer close(f.done)
	now := s.now()
	if f.err == nil && f.token.Expires.Sub(now) <= margin {
		f.err = &Error{Code: CodeTokenExpired}
	}
	if s.inflight != f {
		return
	}
	s.inflight = nil
	if s.err = f.err; s.err != nil {
		s.failed = now
		return
	}
	s.token = f.token
}

// result waits for a fetch.
func (f *inflight) result(ctx context.Context) (string, error) {
	select {
	case <-f.done:
		return f.token.Value, f.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}
