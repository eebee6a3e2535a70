package shutdown

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// newTestStopper is a stopper that gets no signals but those of the test.
func newTestStopper(ctx context.Context) *Stopper {
	s := &Stopper{log: slog.New(slog.DiscardHandler), signals: make(chan os.Signal, 2), request: make(chan struct{}, 1)}
	s.stopping, s.stop = context.WithCancel(ctx)
	s.hurrying, s.drainNow = context.WithCancel(context.WithoutCancel(ctx))
	return s
}

// What hangs is left behind: after the drain, or without it where there is a second
// signal or nothing is served yet.
func TestWhatHangsAtTheEndIsGivenUp(t *testing.T) {
	t.Parallel()
	const drain = time.Minute
	for name, tt := range map[string]struct {
		drain time.Duration // 0: nothing is served yet
		told  func(*Stopper)
		want  time.Duration
	}{
		"before it serves": {0, func(s *Stopper) { s.signals <- syscall.SIGTERM }, EndTime},
		"one signal":       {drain, func(s *Stopper) { s.signals <- syscall.SIGTERM }, drain + EndTime},
		"a second one": {drain, func(s *Stopper) {
			s.signals <- syscall.SIGTERM
			time.Sleep(time.Second)
			s.signals <- syscall.SIGINT
		}, time.Second + EndTime},
		"many": {drain, func(s *Stopper) {
			for range 5 {
				s.signals <- syscall.SIGTERM
				time.Sleep(time.Second)
			}
		}, time.Second + EndTime},
		"a listener that failed": {drain, (*Stopper).Request, drain + EndTime},
		"a listener that failed, and a signal": {drain, func(s *Stopper) {
			s.Request()
			time.Sleep(time.Second)
			s.signals <- syscall.SIGTERM
		}, time.Second + EndTime},
		"one signal, which the program has seen": {drain, func(s *Stopper) {
			s.signals <- syscall.SIGTERM
			<-s.stopping.Done()
			s.Request()
		}, drain + EndTime},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newTestStopper(t.Context())
				s.MayDrain(tt.drain)
				hangs := make(chan struct{})
				began := time.Now()
				go tt.told(s)
				if err := s.Supervise(func() error { <-hangs; return nil }); !errors.Is(err, ErrNotEnded) {
					t.Errorf("it ended with %v", err)
				}
				if took := time.Since(began); took != tt.want {
					t.Errorf("it took %v, want %v", took, tt.want)
				}
				close(hangs)
				time.Sleep(drain) // for who still signals
			})
		})
	}
}

func TestAProgramThatEndsIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newTestStopper(t.Context())
		s.MayDrain(time.Hour)
		failed := errors.New("failed")
		began := time.Now()
		go func() { s.signals <- syscall.SIGTERM }()
		err := s.Supervise(func() error { <-s.stopping.Done(); return failed })
		if !errors.Is(err, failed) || time.Since(began) != 0 {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		if s.hurrying.Err() == nil {
			t.Error("what the program has left behind is not told to hurry")
		}
	})
}
