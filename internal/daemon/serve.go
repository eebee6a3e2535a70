package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/conditions"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/shutdown"
)

// What the end may take once nothing more is waited for, which is shutdown.EndTime in
// all. With flushTime and what the command line has for its last word it is less than
// five seconds.
const (
	// closeTime is for what is served and for what runs beside it. Behind it there
	// is still time for the last record.
	closeTime = shutdown.EndTime - 1250*time.Millisecond
	// flushTime is for lines of the log, behind shutdown.EndTime.
	flushTime = 500 * time.Millisecond
)

var errNotClosed = errors.New("something that was served did not end in time, and was given up")

// serve opens the listeners, says so, and serves until it is told to stop.
func (p *program) serve(ctx context.Context, s *shutdown.Stopper) error {
	open, err := p.listen(ctx)
	if err != nil {
		return err
	}
	s.MayDrain(p.cfg.Limits.Drain)
	pol, _ := p.file.Current()
	p.file.record(&audit.Event{Kind: audit.Started, Policy: pol.Hash(), Functions: len(pol.Functions()), Rules: pol.Rules(), Detail: open.String()})
	p.log.LogAttrs(ctx, slog.LevelInfo, "serving", append(open.attrs(), slog.String("policy", pol.Hash()))...)

	// tunnels outlives the signal: it ends when the drain is over.
	tunnels, abort := context.WithCancel(context.WithoutCancel(ctx))
	background, stopBackground := context.WithCancel(ctx)
	// A listener that fails for good stops the program like a signal.
	all, running := errgroup.WithContext(ctx)
	all.Go(func() error { p.server.Run(tunnels); return nil })
	p.serveListeners(open, all)
	reloads := make(chan struct{}, 1)
	for _, run := range []func(){
		func() { p.watchRecords(background) },
		func() { p.watchPolicy(background) },
		func() { p.file.keys.Run(background) },
		func() { conditions.New(p.reg, p.log).Run(background) },
		func() { p.watch(background, reloads) },
		func() { p.reloadLoop(background, reloads) },
		func() { p.hangupLoop(background, s.Hangups(), reloads) },
	} {
		all.Go(func() error { run(); return nil })
	}
	if p.emf != nil {
		all.Go(func() error { p.emf.Run(background); return nil })
	}

	select {
	case <-running.Done():
	case <-s.Stopping().Done():
	}
	s.Request()
	drained := p.drain(s)
	stopBackground()
	abort()
	err = p.closeAll(drained, all)
	pol, _ = p.file.Current()
	p.file.record(&audit.Event{Kind: audit.Stopped, Policy: pol.Hash()})
	return err
}

// closeAll closes what is served and waits for it, but not for what hangs: the last
// record is still to be written.
func (p *program) closeAll(drained <-chan struct{}, all *errgroup.Group) error {
	return leaveBehind(func() error {
		<-drained
		p.audit.Flush() // who waits to be refused would hold the end up
		p.server.Close()
		_ = p.admin.Close()
		return all.Wait()
	})
}

// leaveBehind returns what f does, or goes on without it when its time is over.
func leaveBehind(f func() error) error {
	ended := make(chan error, 1)
	go func() { ended <- f() }()
	select {
	case err := <-ended:
		return err
	case <-time.After(closeTime):
		return errNotClosed
	}
}

// tlsConfig takes the certificates of whatever load is in force.
func (p *program) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			if c := p.file.current.Load().tls; c != nil {
				return c, nil
			}
			return nil, errors.New("listen.tls is no longer in the file")
		},
	}
}

// watchRecords looks after the output of records each second, and writes a heartbeat
// each minute.
func (p *program) watchRecords(ctx context.Context) {
	each(ctx, time.Second, func(n int) {
		// Package audit logs the begin and the end; who comes within the hour sees this.
		if err := p.audit.Probe(); err != nil && n%3600 == 0 {
			p.log.Error("records cannot be written", "error", err)
		}
		if n%60 != 0 {
			return
		}
		pol, _ := p.file.Current()
		if err := p.audit.Heartbeat(pol.Hash()); err != nil {
			p.log.Error("writing a heartbeat failed", "error", err)
		}
	})
}

// watchPolicy judges open tunnels each minute by rules that may have expired, and counts
// what they have moved. It does not wait for the output of records.
func (p *program) watchPolicy(ctx context.Context) {
	each(ctx, time.Minute, func(n int) {
		pol, ids := p.file.Current()
		p.tokens.Sweep(ids.AWS(), time.Now())
		p.file.metrics.countDown(pol, time.Now())
		p.file.expiry.Look(time.Now())
		p.server.Rejudge()
		p.server.CountBytes()
		if n%60 == 0 {
			p.file.warnReportMode(pol)
		}
	})
}

// each calls f at each tick until ctx ends, with the number of the tick.
func each(ctx context.Context, every time.Duration, f func(n int)) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			f(n)
		}
	}
}

// requestReload asks for a reload and never waits: one that is asked for already reads
// what is there by then, and a program that is draining carries none out.
func requestReload(reloads chan<- struct{}) {
	select {
	case reloads <- struct{}{}:
	default:
	}
}

// reopenTime is how long a reload waits for the records to go on in their new file.
const reopenTime = time.Second

// hangupLoop opens audit.output anew and asks for a reload at every SIGHUP.
func (p *program) hangupLoop(ctx context.Context, hangups <-chan os.Signal, reloads chan<- struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
		}
		select {
		case <-p.reopen():
		case <-time.After(reopenTime):
		case <-ctx.Done():
			return
		}
		requestReload(reloads)
	}
}

// reopen opens audit.output anew. The channel is closed when that is done, and at once
// where it is under way already: a file that moves meanwhile is noticed by
// watchRecords.
func (p *program) reopen() <-chan struct{} {
	done := make(chan struct{})
	select {
	case p.reopening <- struct{}{}:
	default:
		close(done)
		return done
	}
	go func() {
		defer close(done)
		defer func() { <-p.reopening }()
		if err := p.audit.Reopen(); err != nil {
			p.log.Error("reopening audit.output failed, the old file stays in use", "error", err)
		}
	}()
	return done
}

// drain fails readiness, refuses what is new, and waits for what is open:
// until it has ended, the drain time is over, or a second signal comes. DNS
// questions are answered as long as there are tunnels: a client that is still
// sent here by UDP cannot be told to try elsewhere. The channel that it returns is
// closed when what waits has seen that its time is over.
func (p *program) drain(s *shutdown.Stopper) <-chan struct{} {
	p.stopping.Store(true)
	ctx, cancel := context.WithTimeout(s.Hurrying(), p.cfg.Limits.Drain)
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		defer cancel()
		_ = p.server.Drain(ctx) // its error is that of ctx
		if p.filter != nil {
			p.filter.Shutdown(ctx)
		}
	}()
	select {
	case <-drained:
	case <-ctx.Done():
	}
	switch {
	case s.Hurrying().Err() != nil:
		p.log.Warn("a second signal; closing what is open", "tunnels", p.server.Tunnels())
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		p.log.Warn("the drain time is over; closing what is open", "tunnels", p.server.Tunnels())
	}
	return drained
}
