package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"os"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
)

// serve opens the listeners, says so, and serves until the signals say stop.
func (p *program) serve(ctx context.Context, signals <-chan os.Signal) error {
	open, err := p.listen(ctx)
	if err != nil {
		return err
	}
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
	all.Go(func() error { p.housekeeping(background); return nil })
	reloads := make(chan struct{}, 1)
	all.Go(func() error { p.watch(background, reloads); return nil })
	all.Go(func() error { p.reloadLoop(background, reloads); return nil })
	if p.emf != nil {
		all.Go(func() error { p.emf.Run(background); return nil })
	}

	p.signalLoop(running, signals, reloads)
	p.drain(ctx, signals)
	stopBackground()
	abort()
	p.audit.Flush() // who waits to be refused would hold the end up
	p.server.Close()
	_ = p.admin.Close()
	err = all.Wait()
	pol, _ = p.file.Current()
	p.file.record(&audit.Event{Kind: audit.Stopped, Policy: pol.Hash()})
	return err
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

// housekeeping does what is done by the clock: it looks after the output of records
// each second, and each minute writes a heartbeat and judges open tunnels by
// rules that may have expired.
func (p *program) housekeeping(ctx context.Context) {
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-second.C:
		}
		if err := p.audit.Probe(); err != nil && n%60 == 0 {
			p.log.Error("records cannot be written", "error", err)
		}
		if n%60 != 0 {
			continue
		}
		pol, _ := p.file.Current()
		if err := p.audit.Heartbeat(pol.Hash()); err != nil {
			p.log.Error("writing a heartbeat failed", "error", err)
		}
		p.file.metrics.countDown(pol, time.Now())
		p.server.Rejudge()
		if n%3600 == 0 {
			p.file.warnReportMode(pol)
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

// signalLoop asks for a reload at every SIGHUP until a signal says stop.
func (p *program) signalLoop(ctx context.Context, signals <-chan os.Signal, reloads chan<- struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-signals:
			if s != syscall.SIGHUP {
				p.log.Info("stopping", "signal", s.String())
				return
			}
			if err := p.audit.Reopen(); err != nil {
				p.log.Error("reopening audit.output failed, the old file stays in use", "error", err)
			}
			requestReload(reloads)
		}
	}
}

// drain fails readiness, refuses what is new, and waits for what is open:
// until it has ended, the drain time is over, or a second signal comes. DNS
// questions are answered as long as there are tunnels: a client that is still
// sent here by UDP cannot be told to try elsewhere.
func (p *program) drain(ctx context.Context, signals <-chan os.Signal) {
	p.stopping.Store(true)
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Limits.Drain)
	defer cancel()
	drained := make(chan error, 1)
	go func() {
		err := p.server.Drain(ctx)
		if p.filter != nil {
			p.filter.Shutdown(ctx)
		}
		drained <- err
	}()
	for {
		select {
		case err := <-drained:
			if err != nil {
				p.log.Warn("the drain time is over; closing what is open", "tunnels", p.server.Tunnels())
			}
			return
		case s := <-signals:
			if s == syscall.SIGHUP {
				continue
			}
			p.log.Warn("a second signal; closing what is open", "tunnels", p.server.Tunnels())
			cancel()
			<-drained
			return
		}
	}
}
