// Package daemon is the running program: it loads the policy, builds the servers
// from it, opens their listeners, and serves until it is told to stop.
//
// What it does: it wires the packages of the project to each other, to signals
// and to files. It reloads the policy when it changes, drains what is open when
// the program stops, and serves health and metrics on the admin listener.
//
// What it does not do: it decides, tunnels and records nothing by itself, knows
// no command line, and reads no environment but what the AWS SDK and the Go
// runtime have there.
//
//	err := daemon.Run(ctx, daemon.Options{Config: "egress.yaml", Log: os.Stderr})
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/config/settings"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/dnsfilter"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/adminhttp"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/capacity"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/distinct"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/emf"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/logqueue"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/lookup"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/memory"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/ownaddrs"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policyfile"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/printable"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/resolve"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/shutdown"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verifier"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/proxy"
)

// Options says how the program runs. The zero Options serves the embedded
// quick-start policy and logs nothing.
type Options struct {
	Config string        // the policy: a file, s3://bucket/key, s3://bucket/prefix/ or https://host/path; "": the embedded quick-start policy
	Poll   time.Duration // between two looks at a policy that is not a file; 0: the default of package source
	EMF    time.Duration // between two lots of CloudWatch metrics; 0: none
	// Deployment is a dimension of each of these metrics; "": there is none.
	Deployment string
	Functions  bool      // print some of them by function as well
	Profiles   bool      // serve /debug/pprof on the admin listener, which must be on loopback
	Version    string    // of the program, for records and metrics
	Commit     string    // the same
	Log        io.Writer // takes the operational log, JSON lines; nil: nobody does
}

// program is everything that runs.
type program struct {
	log      *slog.Logger
	file     *policyFile
	cfg      *config.Config // of the start; what a reload does not change
	audit    *audit.Log
	limits   capacity.LookupLimits
	resolver *resolve.Resolver
	tokens   *verifier.Verifier
	names    *distinct.Counter // of what every front has looked up below wildcards
	server   *proxy.Server
	filter   *dnsfilter.Server // nil: the file asks for none
	admin    *http.Server
	emf      *emf.Printer // nil: no metrics beside the records
	reg      *prometheus.Registry
	self     *ownaddrs.Addresses // not changed once there are requests
	stopping atomic.Bool

	reopening chan struct{} // holds one while audit.output is opened anew
}

// Run serves until SIGTERM or SIGINT has been carried out, which takes the drain and
// five seconds at most: what hangs then is left behind and is an error, and the
// caller has to end the process. It takes over the signals and the log of the
// standard library, so a process calls it once.
func Run(ctx context.Context, o Options) error {
	reg := prometheus.NewRegistry()
	log, flush := newLogger(o.Log, reg)
	defer flush()
	s := shutdown.New(ctx, log)
	stdlog.SetFlags(0)
	stdlog.SetOutput(libraryLog{log})
	return s.Supervise(func() error {
		memory.SetLimit(log)
		p, err := newProgram(s.Stopping(), o, reg, log)
		switch {
		case errors.Is(err, context.Canceled) && s.Stopping().Err() != nil:
			return nil // told to stop before it served, it has
		case err != nil:
			return err
		}
		defer p.close()
		debug.FreeOSMemory() // a load leaves several times the policy behind, and nobody waits yet
		return p.serve(ctx, s)
	})
}

// newLogger returns the log of the program, which nobody who logs waits for, and what
// gives it time for its last lines; nil: it goes nowhere.
func newLogger(to io.Writer, reg prometheus.Registerer) (log *slog.Logger, flush func()) {
	if to == nil {
		return slog.New(slog.DiscardHandler), func() {}
	}
	queue := logqueue.New(to, logqueue.Options{Registerer: reg})
	return slog.New(slog.NewJSONHandler(printable.Writer{W: queue}, nil)), func() { queue.Close(flushTime) }
}

// libraryLog takes what libraries print, net/http above all, into the log of the
// program, without the bytes of an origin that they quote.
type libraryLog struct{ log *slog.Logger }

// Write implements io.Writer for one message.
func (l libraryLog) Write(p []byte) (int, error) {
	text, _, _ := strings.Cut(strings.TrimSpace(string(p)), " starting with ")
	l.log.Warn("message from a library", "text", text)
	return len(p), nil
}

// newProgram loads the file and builds everything that does not listen yet.
func newProgram(ctx context.Context, o Options, reg *prometheus.Registry, log *slog.Logger) (*program, error) {
	p := &program{log: log, reg: reg, reopening: make(chan struct{}, 1)}
	p.file = newPolicyFile(o.Config, log, newMetrics(p.reg, o.Version, o.Commit))
	var err error
	if p.file.remote, err = policyfile.Open(ctx, o.Config, o.Poll, p.file.watcher.Reading); err != nil {
		return nil, err
	}
	first, err := p.file.read(ctx)
	if err != nil {
		return nil, err
	}
	p.cfg, p.file.running = first.cfg, first.cfg
	if o.Profiles && !p.cfg.Listen.Admin.Addr().IsLoopback() {
		return nil, fmt.Errorf("--pprof: listen.admin is %s; profiles are served on loopback alone", p.cfg.Listen.Admin)
	}
	if p.audit, err = openAudit(p.cfg, o.Version, p.reg, log); err != nil {
		return nil, err
	}
	if p.emf, err = p.newEMF(&o); err != nil {
		return nil, err
	}
	p.file.audit = p.audit
	p.file.activate(first)
	p.limits = capacity.FitLookups(capacity.Files(), p.cfg.Listen.DNS.IsValid())
	p.self = ownaddrs.Of(p.cfg)
	if p.resolver, err = lookup.New(p.cfg, p.limits.Lookups, p.self.Has, p.reg, log); err != nil {
		return nil, err
	}
	p.names = distinct.New(distinct.Options{Limit: p.cfg.DNS.DistinctNamesPerMinute, Registerer: p.reg, Logger: log})
	p.tokens = verifier.New(verifier.Options{Keys: p.file.keys.Keys, Refresh: p.file.keys.Refresh, Registerer: p.reg, Logger: log})
	p.server = proxy.New(proxy.Options{
		Policy:            p.file.Current,
		Lookup:            lookup.With(p.resolver),
		Tokens:            p.tokens,
		Names:             p.names,
		Audit:             p.audit,
		Self:              p.self.Has,
		ProxyProtocolFrom: p.cfg.Listen.ProxyProtocolFrom,
		Limits:            proxyLimits(p.cfg.Limits),
		Files:             p.limits.Files,
		Lookups:           p.limits,
		Memory:            memory.NewGauge().Usage,
		Registerer:        p.reg,
		Logger:            log,
	})
	if p.filter, err = p.newFilter(); err != nil {
		return nil, err
	}
	p.admin = adminhttp.New(p.reg, p.notReady, o.Profiles)
	p.admin.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelWarn)
	return p, nil
}

// openAudit opens the stream of records.
func openAudit(c *config.Config, version string, reg prometheus.Registerer, log *slog.Logger) (*audit.Log, error) {
	o := audit.Options{Version: version, Registerer: reg, Logger: log, RefusalRecords: c.Limits.RefusalRecords}
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

// proxyLimits maps the limits of the file to those of the server. A count that
// the file does not have stays the server's default, whose cutting is no warning.
func proxyLimits(l settings.Limits) proxy.Limits {
	if !l.HasTunnels {
		l.Tunnels = 0
	}
	if !l.HasTunnelsPerFunction {
		l.TunnelsPerFunction = 0
	}
	if !l.HasUnidentified {
		l.Unidentified = 0
	}
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
	case !p.audit.Ready():
		return "records cannot be written"
	}
	if id := p.file.keys.Lacking(); id != "" {
		return "the keys of account " + id + " are not there yet"
	}
	return ""
}

// close frees what newProgram opened.
func (p *program) close() {
	p.resolver.Close()
	if err := p.audit.Close(); err != nil {
		p.log.Error("closing the records failed", "error", err)
	}
}
