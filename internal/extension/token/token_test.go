package token_test

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/extension/token"
)

// service gives out tokens that are numbered from 1.
type service struct {
	life    time.Duration
	delay   time.Duration
	skew    time.Duration // how far the wall clock has jumped
	err     error
	fetched atomic.Int64
	at      atomic.Int64 // fetches under way
	most    atomic.Int64
}

func (s *service) now() time.Time { return time.Now().Add(s.skew) }

func (s *service) fetch(ctx context.Context) (token.Token, error) {
	n := s.fetched.Add(1)
	s.most.Store(max(s.most.Load(), s.at.Add(1)))
	defer s.at.Add(-1)
	select {
	case <-time.After(s.delay):
	case <-ctx.Done():
		return token.Token{}, ctx.Err()
	}
	if s.err != nil {
		return token.Token{}, s.err
	}
	return token.Token{Value: strconv.FormatInt(n, 10), Expires: s.now().Add(s.life), Life: s.life}, nil
}

func (s *service) source() *token.Source {
	return token.New(token.Options{Fetch: s.fetch, Now: s.now})
}

// want gets a token and compares.
func want(t *testing.T, s *token.Source, value string) {
	t.Helper()
	if got, err := s.Get(t.Context()); got != value || err != nil {
		t.Errorf("got token %q and %v, want %q", got, err, value)
	}
}

func TestTokenIsRenewedBesideBelowAFifthOfItsLife(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		svc := &service{life: 900 * time.Second, delay: 50 * time.Millisecond}
		s := svc.source()
		want(t, s, "1")
		time.Sleep(719 * time.Second)
		want(t, s, "1")
		synctest.Wait()
		if n := svc.fetched.Load(); n != 1 {
			t.Fatalf("%d fetches above a fifth of the life, want 1", n)
		}
		time.Sleep(2 * time.Second)
		began := time.Now()
		want(t, s, "1") // it holds still, and nobody waits
		if waited := time.Since(began); waited != 0 {
			t.Errorf("waited %v for the renewal", waited)
		}
		time.Sleep(time.Second)
		want(t, s, "2")
	})
}

// The wall clock alone says that a token is over: the other one may have stood still.
func TestTokenThatAFreezeHasOutlivedIsNotUsed(t *testing.T) {
	t.Parallel()
	for _, frozen := range []time.Duration{time.Second, time.Minute, 14 * time.Minute, 20 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			svc := &service{life: 900 * time.Second}
			s := svc.source()
			want(t, s, "1")
			svc.skew = frozen
			value := "1"
			if frozen > svc.life {
				value = "2"
			}
			want(t, s, value)
			synctest.Wait()
		})
	}
}

func TestOneFetchIsUnderWayAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		svc := &service{life: time.Minute, delay: time.Second}
		s := svc.source()
		for range 50 {
			go func() { want(t, s, "1") }()
		}
		time.Sleep(2 * time.Second)
		if n, most := svc.fetched.Load(), svc.most.Load(); n != 1 || most != 1 {
			t.Errorf("%d fetches, %d at a time, want 1 and 1", n, most)
		}
	})
}

func TestSilentServiceCostsThreeSecondsAndIsATimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		svc := &service{life: time.Minute, delay: time.Hour}
		began := time.Now()
		_, err := svc.source().Get(t.Context())
		if waited := time.Since(began); token.CodeOf(err) != token.CodeTimeout || waited != token.FetchTimeout {
			t.Errorf("got %v after %v, want a timeout after %v", err, waited, token.FetchTimeout)
		}
	})
}

// A fetch that was frozen half-way is answered by nobody: the first request behind the
// thaw begins another.
func TestFetchThatAFreezeHasStoppedIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		svc := &service{life: time.Minute, delay: 2 * time.Second}
		s := svc.source()
		go s.Get(t.Context()) //nolint:errcheck // its end is the other's beginning
		synctest.Wait()
		svc.skew = time.Minute
		svc.delay = 0
		began := time.Now()
		want(t, s, "2")
		if waited := time.Since(began); waited != 0 {
			t.Errorf("waited %v for a fetch that was frozen", waited)
		}
		synctest.Wait()
		want(t, s, "2")
	})
}

func TestErrorIsToldAndHoldsTheNextFetchOffForASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		svc := &service{life: time.Minute, err: &token.Error{Code: "AccessDenied"}}
		s := svc.source()
		for range 20 {
			if _, err := s.Get(t.Context()); token.CodeOf(err) != "AccessDenied" {
				t.Fatalf("got %v", err)
			}
		}
		if n := svc.fetched.Load(); n != 1 {
			t.Errorf("%d fetches within a second of an error, want 1", n)
		}
		svc.err = nil
		time.Sleep(time.Second)
		want(t, s, "2")
	})
}

func TestTokenThatHoldsServesWhileRenewalsFail(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		svc := &service{life: 900 * time.Second}
		s := svc.source()
		want(t, s, "1")
		svc.err = &token.Error{Code: "Throttling"}
		time.Sleep(800 * time.Second)
		for range 5 {
			want(t, s, "1")
			time.Sleep(2 * time.Second)
		}
		time.Sleep(100 * time.Second)
		if _, err := s.Get(t.Context()); token.CodeOf(err) != "Throttling" {
			t.Errorf("got %v behind the token's end", err)
		}
	})
}

func TestTokenThatIsOverWhenItComesIsNone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		svc := &service{life: -time.Minute}
		if got, err := svc.source().Get(t.Context()); token.CodeOf(err) != token.CodeTokenExpired {
			t.Errorf("got %q and %v", got, err)
		}
	})
}

func TestRefusedTokenIsReplacedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		svc := &service{life: 900 * time.Second}
		s := svc.source()
		want(t, s, "1")
		for range 3 { // several requests have had the same token refused
			if got, err := s.Replace(t.Context(), "1"); got != "2" || err != nil {
				t.Fatalf("got %q and %v, want the second token", got, err)
			}
		}
		if _, err := s.Replace(t.Context(), "2"); !errors.Is(err, token.ErrRefused) {
			t.Errorf("got %v, want that a new token is no better", err)
		}
		time.Sleep(6 * time.Second)
		if got, err := s.Replace(t.Context(), "2"); got != "3" || err != nil {
			t.Errorf("got %q and %v, want the third token", got, err)
		}
	})
}

func TestWhoWaitsForATokenCanGiveUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		svc := &service{life: time.Minute, delay: 2 * time.Second}
		s := svc.source()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.Get(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		time.Sleep(2 * time.Second)
		want(t, s, "1")
	})
}
