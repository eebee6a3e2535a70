package daemon

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/attest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/attestkeys"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/expiry"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/lowpriority"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policydiff"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policyfile"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/source"
)

// snapshot is one load of the file, whole and immutable.
type snapshot struct {
	cfg        *config.Config // without sets and functions
	policy     *policy.Policy
	identities *identity.Table
	tls        *tls.Config // nil: no TLS listener
	// certificate is that of the TLS listener; nil: there is none.
	certificate *x509.Certificate
}

// policyFile is the file and what of it is in force.
type policyFile struct {
	path    string         // "": the embedded quick-start policy
	remote  *source.Remote // nil: path is a file
	watcher source.Watcher // of the files of this machine that the last load read
	log     *slog.Logger
	metrics *metrics
	expiry  *expiry.Watch
	keys    *attestkeys.Store // of the issuers that the policy in force trusts
	audit   *audit.Log        // nil during the first load
	running *config.Config    // of the start, without sets and functions: what only a restart changes
	current atomic.Pointer[snapshot]
	loading chan struct{} // holds one during a load
	within  time.Duration // how long a load may take
}

// loadTimeout is how long a reload may take before it is given up.
const loadTimeout = time.Minute

// newPolicyFile returns the file at path, of which nothing is in force yet.
func newPolicyFile(path string, log *slog.Logger, m *metrics) *policyFile {
	f := &policyFile{path: path, log: log, metrics: m, loading: make(chan struct{}, 1), within: loadTimeout}
	f.keys = attestkeys.New(attestkeys.Options{Registerer: m.reg, Logger: log})
	f.expiry = expiry.NewWatch(m.reg, log, f.expired)
	return f
}

// load calls read with an end, behind those that serve requests. What it gives up may
// still run, and as long as it does no other load begins: there is one at most.
func (f *policyFile) load(ctx context.Context, read func(context.Context) (*snapshot, error)) (*snapshot, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, f.within, fmt.Errorf("loading the configuration: it took longer than %v, and was given up", f.within))
	defer cancel()
	select {
	case f.loading <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("%w; so was the one before it, which has not ended yet", context.Cause(ctx))
	}
	var s *snapshot
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { <-f.loading }()
		lowpriority.Run(func() { s, err = read(ctx) })
	}()
	select {
	case <-done:
		if err != nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return s, err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// read loads and compiles the file as check does, and puts nothing in force.
func (f *policyFile) read(ctx context.Context) (*snapshot, error) {
	cfg, err := f.parse(ctx)
	if err != nil {
		return nil, err
	}
	p, ids, err := cfg.Compile()
	if err != nil {
		return nil, err
	}
	cfg.Sets, cfg.Functions = nil, nil // the policy has them in a fraction of the memory
	return &snapshot{cfg: cfg, policy: p, identities: ids, tls: serverTLS(cfg.Listen.TLS), certificate: cfg.Listen.TLS.Leaf()}, nil
}

// parse reads the file, or the embedded policy.
func (f *policyFile) parse(ctx context.Context) (*config.Config, error) {
	f.watcher.Begin()
	if f.remote != nil {
		return policyfile.Fetch(ctx, f.remote)
	}
	if f.path == "" {
		return config.Parse("quickstart.yaml", config.Quickstart(), nil)
	}
	return config.LoadWatched(f.path, f.watcher.Reading)
}

// serverTLS makes the TLS configuration of the TLS listener. It offers http/1.1
// alone: clients that are given h2 write an HTTP/1.1 CONNECT all the same. Each load seals
// tickets with keys of its own: no session outlives the CA that vouched for it.
func serverTLS(t *config.TLS) *tls.Config {
	if t == nil {
		return nil
	}
	c := &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{t.Certificate},
		NextProtos:   []string{"http/1.1"},
	}
	tickets := &tls.Config{}
	c.WrapSession, c.UnwrapSession = tickets.EncryptTicket, tickets.DecryptTicket
	if t.ClientCA != nil {
		c.ClientCAs = t.ClientCA
		c.ClientAuth = tls.VerifyClientCertIfGiven
	}
	return c
}

// Current returns the policy and the identities of one load.
func (f *policyFile) Current() (*policy.Policy, *identity.Table) {
	s := f.current.Load()
	if s == nil {
		return nil, nil
	}
	return s.policy, s.identities
}

// activate puts a snapshot in force. The keys of an account that is new are asked for
// before anybody can show a token of it.
func (f *policyFile) activate(s *snapshot) {
	var accounts []attest.Account
	if t := s.identities.AWS(); t != nil {
		accounts = t.Accounts
	}
	f.keys.SetAccounts(accounts)
	f.current.Store(s)
	f.metrics.loadedNow(s.policy, time.Now())
	f.expiry.Set(expiry.Of(s.policy, s.certificate), time.Now())
	f.warnReportMode(s.policy)
}

// expired records that a rule or a report mode has come to its end.
func (f *policyFile) expired(e expiry.End) {
	f.audit.Post(&audit.Event{
		Kind: audit.Expired, Policy: f.current.Load().policy.Hash(), Function: e.Function, Owner: e.Owner, Detail: e.Text(e.At),
	})
}

// warnReportMode says which functions are in report mode, so that nobody forgets.
func (f *policyFile) warnReportMode(p *policy.Policy) {
	now := time.Now()
	for _, name := range p.Functions() {
		if fn := p.Function(name); fn.Reports(now) {
			f.log.Warn("function is in report mode: what its list refuses is let through",
				"function", name, "until", fn.LastReportDay().Format(time.DateOnly))
		}
	}
}

// reload loads the file again. A bad one leaves the old policy in force and
// says every error of it, in the log and in a record. It returns whether a
// policy was put in force. One goroutine calls it.
func (f *policyFile) reload(ctx context.Context) bool {
	old := f.current.Load()
	s, err := f.load(ctx, f.read)
	if ctx.Err() != nil {
		return false // the program stops, which is not a fault of the file
	}
	if err != nil {
		f.metrics.success.Set(0)
		f.record(&audit.Event{Kind: audit.ReloadFailed, Policy: old.policy.Hash(), Functions: len(old.policy.Functions()), Rules: old.policy.Rules(), Detail: err.Error()})
		for line := range strings.Lines(err.Error()) {
			f.log.Error("reloading failed, the old policy stays", "error", strings.TrimSpace(line))
		}
		return false
	}
	f.activate(s)
	var e *audit.Event
	lowpriority.Run(func() { e = changes(old.policy, s.policy) }) // of a million rules it takes as long as the load
	f.record(e)
	f.log.Info("reloaded", "policy", s.policy.Hash(), "functions", len(s.policy.Functions()), "rules", s.policy.Rules(),
		"was", e.Was, "gained", e.Gained, "lost", e.Lost)
	keys := config.NeedRestart(f.running, s.cfg)
	f.metrics.pending.Set(float64(len(keys)))
	if len(keys) > 0 {
		f.log.Warn("changes that take effect at the next start", "keys", keys)
	}
	return true
}

// changes makes the record of a reload: those who lose most stand first in it.
func changes(old, now *policy.Policy) *audit.Event {
	e := &audit.Event{Kind: audit.Reloaded, Policy: now.Hash(), Functions: len(now.Functions()), Rules: now.Rules(), Was: old.Hash()}
	deny, functions := policydiff.Of(old, now)
	for _, c := range functions {
		e.Gained, e.Lost = e.Gained+c.Gained, e.Lost+c.Lost
		e.Changes = append(e.Changes, audit.Change(c))
	}
	slices.SortStableFunc(e.Changes, func(a, b audit.Change) int {
		return cmp.Or(cmp.Compare(b.Lost, a.Lost), cmp.Compare(b.Gained, a.Gained))
	})
	e.Detail = fmt.Sprintf("was %s; %d functions differ, by %d rules gained and %d lost; of the deny list %d gained and %d lost",
		e.Was, len(functions), e.Gained, e.Lost, deny.Gained, deny.Lost)
	return e
}

// record writes a record of the file's own; the log has the words too.
func (f *policyFile) record(e *audit.Event) {
	if err := f.audit.Record(e); err != nil {
		f.log.Error("writing a record failed", "event", e.Kind.String(), "error", err)
	}
}
