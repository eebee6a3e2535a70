package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/dnsfilter"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/resolve"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/proxy"
)

// newRun returns the command that serves.
func newRun() *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Serve; without --config an embedded quick-start policy on loopback",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(cmd.Flags()); err != nil {
				return failed(err)
			}
			return failed(run(cmd.Context(), o, cmd.ErrOrStderr()))
		},
	}
	o.flags(cmd.Flags())
	return cmd
}

// program is everything that runs.
type program struct {
	log      *slog.Logger
	file     *policyFile
	cfg      *config.Config // of the start; what a reload does not change
	audit    *audit.Log
	resolver *resolve.Resolver
	server   *proxy.Server
	filter   *dnsfilter.Server // nil: the file asks for none
	admin    *http.Server
	emf      *emf // nil: no metrics beside the records
	reg      *prometheus.Registry
	self     *listening // not changed once there are requests
	stopping atomic.Bool
}

// run serves until SIGTERM or SIGINT has been carried out.
func run(ctx context.Context, o runOptions, stderr io.Writer) error {
	// Signals are caught before the first load, so that none of them kills a
	// program that is about to be ready, and until the process ends, so that a
	// second one cannot turn a clean end into a death by signal. SIGPIPE must not
	// end it: a reader of stderr that is gone is no reason to stop serving.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM, syscall.SIGINT)
	signal.Ignore(syscall.SIGPIPE)

	log := slog.New(slog.NewJSONHandler(stderr, nil))
	stdlog.SetFlags(0)
	stdlog.SetOutput(libraryLog{log})
	limitMemory(log)
	p, err := newProgram(ctx, o, log)
	if err != nil {
		return err
	}
	defer p.close()
	return p.serve(ctx, signals)
}

// libraryLog takes what libraries print, net/http above all, into the log of the
// program, without the bytes of an origin that they quote.
type libraryLog struct{ log *slog.Logger }

// Write implements io.Writer for one message.
func (l libraryLog) Write(p []byte) (int, error) {
	text, _, _ := strings.Cut(strings.TrimSpace(string(p)), " starting with ")
	l.log.Warn("a library complains", "text", text)
	return len(p), nil
}

// limitMemory sets the collector by the memory that the task has, its cgroup's
// or else the machine's: a soft limit of nine tenths of it, and below that fewer
// collections than by default. GOMEMLIMIT and GOGC in the environment go before.
func limitMemory(log *slog.Logger) {
	limit, err := memlimit.Set(memlimit.WithRatio(0.9),
		memlimit.WithProvider(memlimit.ApplyFallback(memlimit.FromCgroup, memlimit.FromSystem)))
	if err != nil {
		log.Warn("the memory limit is not known; the collector keeps its default", "error", err)
		return
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(200)
	}
	log.Info("memory limit", "bytes", limit)
}

// newProgram loads the file and builds everything that does not listen yet.
func newProgram(ctx context.Context, o runOptions, log *slog.Logger) (*program, error) {
	p := &program{log: log, reg: prometheus.NewRegistry()}
	p.file = &policyFile{path: o.path, log: log, metrics: newMetrics(p.reg)}
	var err error
	if p.file.remote, err = o.openRemote(ctx, p.file.watcher.Reading); err != nil {
		return nil, err
	}
	first, err := p.file.read(ctx)
	if err != nil {
		return nil, err
	}
	p.cfg = first.cfg
	if o.profiles && !p.cfg.Listen.Admin.Addr().IsLoopback() {
		return nil, fmt.Errorf("--pprof: listen.admin is %s; profiles are served on loopback alone", p.cfg.Listen.Admin)
	}
	if p.audit, err = openAudit(p.cfg, p.reg, log); err != nil {
		return nil, err
	}
	if p.emf, err = p.newEMF(o.emf); err != nil {
		return nil, err
	}
	p.file.audit = p.audit
	p.file.put(first)
	if p.resolver, err = newResolver(p.cfg, p.reg, log); err != nil {
		return nil, err
	}
	p.self = newListening(p.cfg)
	p.server = proxy.New(proxy.Options{
		Policy:            p.file.inForce,
		Lookup:            lookupWith(p.resolver),
		Audit:             p.audit,
		Self:              p.self.has,
		ProxyProtocolFrom: p.cfg.Listen.ProxyProtocolFrom,
		Limits:            proxyLimits(p.cfg.Limits),
		Memory:            newMemoryGauge().use,
		Registerer:        p.reg,
		Logger:            log,
	})
	if p.filter, err = p.newFilter(); err != nil {
		return nil, err
	}
	p.admin = newAdmin(p.reg, p.notReady, o.profiles)
	p.admin.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelWarn)
	return p, nil
}

// openAudit opens the stream of records.
func openAudit(c *config.Config, reg prometheus.Registerer, log *slog.Logger) (*audit.Log, error) {
	o := audit.Options{Version: build().version, Registerer: reg, Logger: log, RefusalRecords: c.Limits.RefusalRecords}
	if c.Audit.CountLoss {
		o.OnFailure = audit.Count
	}
	output := c.Audit.Output
	if output == "" {
		output = "stdout"
	}
	l, err := audit.Open(output, o)
	if err != nil {
		return nil, fmt.Errorf("opening audit.output: %w", err)
	}
	return l, nil
}

// proxyLimits maps the limits of the file to those of the server.
func proxyLimits(l config.Limits) proxy.Limits {
	return proxy.Limits{
		Tunnels: l.Tunnels, TunnelsPerFunction: l.TunnelsPerFunction, Unidentified: l.Unidentified,
		HeaderTimeout: l.HeaderTimeout, HeaderBytes: l.HeaderBytes,
		DialTimeout: l.DialTimeout, HelloTimeout: l.HelloTimeout,
		IdleTimeout: l.IdleTimeout, Lifetime: l.Lifetime,
	}
}

// notReady says why no balancer should send anything here, "" if it should.
func (p *program) notReady() string {
	switch {
	case p.stopping.Load():
		return "stopping"
	case !p.audit.Healthy():
		return "records cannot be written"
	default:
		return ""
	}
}

// close frees what newProgram opened.
func (p *program) close() {
	p.resolver.Close()
	if err := p.audit.Close(); err != nil {
		p.log.Error("closing the records failed", "error", err)
	}
}

// serve opens the listeners, says so, and serves until the signals say stop.
func (p *program) serve(ctx context.Context, signals <-chan os.Signal) error {
	doors, err := p.listen(ctx)
	if err != nil {
		return err
	}
	pol, _ := p.file.inForce()
	p.file.record(&audit.Event{Kind: audit.Started, Policy: pol.Hash(), Functions: len(pol.Functions()), Rules: pol.Rules(), Detail: doors.String()})
	p.log.LogAttrs(ctx, slog.LevelInfo, "serving", append(doors.where(), slog.String("policy", pol.Hash()))...)

	// tunnels outlives the signal: it ends when the drain is over.
	tunnels, cut := context.WithCancel(context.WithoutCancel(ctx))
	background, stopBackground := context.WithCancel(ctx)
	// A listener that fails for good stops the program like a signal.
	all, running := errgroup.WithContext(ctx)
	all.Go(func() error { p.server.Run(tunnels); return nil })
	all.Go(func() error { return p.server.Serve(doors.proxy, nil) })
	if doors.tls != nil {
		all.Go(func() error { return p.server.Serve(doors.tls, p.tlsConfig()) })
	}
	if doors.dns != nil {
		all.Go(func() error { return p.serveDNS(doors.dns) })
	}
	all.Go(func() error {
		if err := p.admin.Serve(doors.admin); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serving the admin listener: %w", err)
		}
		return nil
	})
	all.Go(func() error { p.tick(background); return nil })
	reloads := make(chan struct{}, 1)
	all.Go(func() error { p.watch(background, reloads); return nil })
	all.Go(func() error { p.reloading(background, reloads); return nil })
	if p.emf != nil {
		all.Go(func() error { p.emf.run(background); return nil })
	}

	p.wait(running, signals, reloads)
	p.drain(ctx, signals)
	stopBackground()
	cut()
	p.audit.Flush() // who waits to be refused would hold the end up
	p.server.Close()
	_ = p.admin.Close()
	err = all.Wait()
	pol, _ = p.file.inForce()
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

// tick does what is done by the clock: it looks after the output of records
// each second, and each minute writes a heartbeat and judges open tunnels by
// rules that may have expired.
func (p *program) tick(ctx context.Context) {
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
		pol, _ := p.file.inForce()
		if err := p.audit.Heartbeat(pol.Hash()); err != nil {
			p.log.Error("writing a heartbeat failed", "error", err)
		}
		p.file.metrics.countDown(pol, time.Now())
		p.server.Rejudge()
		if n%3600 == 0 {
			p.file.banner(pol)
		}
	}
}

// ask asks for a reload and never waits: one that is asked for already reads
// what is there by then, and a program that is draining carries none out.
func ask(reloads chan<- struct{}) {
	select {
	case reloads <- struct{}{}:
	default:
	}
}

// wait asks for a reload at every SIGHUP until a signal says stop.
func (p *program) wait(ctx context.Context, signals <-chan os.Signal, reloads chan<- struct{}) {
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
			ask(reloads)
		}
	}
}

// reload loads the file again and puts it before both servers: open tunnels are
// judged by it, and the filter prepares for it while no question waits.
func (p *program) reload(ctx context.Context) {
	if p.file.path == "" {
		return
	}
	if !p.file.reload(ctx) {
		return
	}
	p.server.Rejudge()
	if p.filter != nil {
		p.filter.Refresh()
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
