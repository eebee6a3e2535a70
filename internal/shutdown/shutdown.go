// Package shutdown tells a program to stop, by signals, and sees to it that it does.
//
// What it does: at the first SIGTERM or SIGINT it ends a context, at the second one
// another. A program that has not returned in time is given up: neither an output
// that nobody reads nor a file system that does not answer may keep the process.
//
// What it does not do: it closes nothing. What a program has to do at its end, and how
// much of it can be left out, is the program's.
//
//	s := shutdown.New(ctx, log)
//	err := s.Supervise(func() error { return serve(s) })
//	// err is ErrNotEnded: something hangs; end the process
package shutdown

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

// EndTime is what the end may take once nothing more is waited for: when the drain is
// over, or at the second signal.
const EndTime = 3750 * time.Millisecond

// ErrNotEnded is returned for a program that was given up.
var ErrNotEnded = errors.New("the program did not end in time, and was given up")

// Stopper tells one program to stop. Make one with New.
type Stopper struct {
	log     *slog.Logger
	signals chan os.Signal // SIGTERM and SIGINT
	hangups chan os.Signal // SIGHUP; of its own, so that many take no place from the others
	request chan struct{}  // the program has begun to stop, with or without a signal
	drain   atomic.Int64   // how long the program may drain; nothing before it serves

	stopping context.Context // ends when the program is to stop
	hurrying context.Context // ends when it is to wait for nothing any more
	stop     context.CancelFunc
	drainNow context.CancelFunc // ends hurrying
}

// New catches the signals. Nothing that the program does is before it, so that
// none of them kills a program that is about to be ready, and they stay caught, so
// that a second one cannot turn a clean end into a death by signal. SIGPIPE must not
// end it: a reader of stderr that is gone is no reason to stop serving.
func New(ctx context.Context, log *slog.Logger) *Stopper {
	s := &Stopper{
		log: log, signals: make(chan os.Signal, 2), hangups: make(chan os.Signal, 1), request: make(chan struct{}, 1),
	}
	s.stopping, s.stop = context.WithCancel(ctx)
	s.hurrying, s.drainNow = context.WithCancel(context.WithoutCancel(ctx))
	signal.Notify(s.signals, syscall.SIGTERM, syscall.SIGINT)
	signal.Notify(s.hangups, syscall.SIGHUP)
	signal.Ignore(syscall.SIGPIPE)
	return s
}

// Stopping ends when the program is to stop.
func (s *Stopper) Stopping() context.Context { return s.stopping }

// Hurrying ends when the program is to wait for nothing any more.
func (s *Stopper) Hurrying() context.Context { return s.hurrying }

// Hangups has the SIGHUPs; those that come while one waits are one with it.
func (s *Stopper) Hangups() <-chan os.Signal { return s.hangups }

// MayDrain says how long the program may drain from now on. Before it is called, it has
// nothing to drain.
func (s *Stopper) MayDrain(drain time.Duration) { s.drain.Store(int64(drain)) }

// Request stops the program as a signal does, where none has. It never waits.
func (s *Stopper) Request() {
	select {
	case s.request <- struct{}{}:
	default:
	}
}

// Supervise runs the program and returns what it returns, or gives it up when it has
// been told to stop and its time is over. Nothing here can hang.
func (s *Stopper) Supervise(run func() error) error {
	defer s.stop()
	defer s.drainNow()
	done := make(chan error, 1)
	go func() { done <- run() }()
	var over <-chan time.Time
	for {
		select {
		case err := <-done:
			return err
		case <-over:
			return ErrNotEnded
		case <-s.request:
			if over == nil {
				over = time.After(time.Duration(s.drain.Load()) + EndTime)
				s.stop()
			}
		case sig := <-s.signals:
			switch {
			case s.hurrying.Err() != nil:
			case s.stopping.Err() != nil:
				over = time.After(EndTime)
				s.drainNow()
			default:
				s.log.Info("stopping", "signal", sig.String())
				over = time.After(time.Duration(s.drain.Load()) + EndTime)
				s.stop()
			}
		}
	}
}
