package exchange

import (
	"context"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/admission"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/capacity"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/challenges"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/clientconn"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/distinct"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egress"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/refusal"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verifier"
)

// Options is what a Server is made of. Policy, Lookup and Audit are required.
type Options struct {
	// Policy returns the policy and the identities in force. It is called once
	// for each request; both belong together. A nil policy refuses everything.
	Policy func() (*policy.Policy, *identity.Table)

	// Lookup resolves a name that the policy has allowed. An error whose Timeout
	// method returns true is dns_timeout, a *fair.ShareError has its own reason, any
	// other is dns_failed. ctx says whose lookup it is (fair.CallerFrom). With one
	// that has ended it does not wait: it returns what it has, or an error, and then
	// it is called again.
	Lookup func(ctx context.Context, name hostname.Name) (Resolved, error)

	// Tokens verifies tokens of AWS. Nil: none holds.
	Tokens *verifier.Verifier

	// Names counts the names below a wildcard that one function has looked up. It is the
	// one of every front. Nil: one of the server alone, with the default limit.
	Names *distinct.Counter

	// Audit writes the records.
	Audit *audit.Log

	// Self reports whether an address is a listener of this program, which is
	// never dialed. Nil: the listeners given to Serve are the only ones.
	Self func(netip.AddrPort) bool

	// ProxyProtocolFrom are the load balancers: a connection from there must
	// begin with a PROXY protocol header (version 1 or 2). From anyone else such a header is
	// a malformed request. Empty: nobody.
	ProxyProtocolFrom []netip.Prefix

	// Limits bound what a client can hold; see there for the zero values.
	Limits Limits

	// Files is how many descriptors the process may have open: limits that do not
	// fit are cut, so that some stay for what is not for clients. Zero: what the
	// system says. Less than zero: as many as it takes.
	Files int

	// Lookups are the bounds of what else takes descriptors, for the line of the log that
	// says which limits are cut. Zero: there is nothing else.
	Lookups capacity.LookupLimits

	// Memory returns how much memory is in use, without what the collector would
	// free, and how much there may be, in bytes; a limit of 0 is none. It is told what
	// requests hold at worst. New requests are refused while it runs short, and those
	// of a function that has taken its share. It is called once a second and with
	// every 64th request. Nil: the memory is not looked at.
	Memory func(held uint64) (used, limit uint64)

	// Registerer takes the metrics; nil: they are not registered.
	Registerer prometheus.Registerer

	// Logger takes operational messages, never requests; nil discards them.
	Logger *slog.Logger
}

// Resolved is what a name resolves to. The server keeps it, and does not write to it.
type Resolved struct {
	// Addresses are all that the name has, of every family that is asked for.
	Addresses []netip.Addr
	// Aliases are the names that CNAMEs led through to them, in lower case and
	// without the final dot; empty: none. The deny list holds for each.
	Aliases []string
	// Stale says that the addresses have outlived their TTL: no upstream answered in time.
	Stale bool
}

// Shared is what all requests of one server share. Safe for concurrent use.
type Shared struct {
	Options
	Log         *slog.Logger
	Metrics     *Metrics
	Resources   capacity.Limits // the limits as the process can have them
	Conns       *clientconn.Set
	Slots       admission.Slots
	Dials       admission.DialLimiter
	MemoryWatch admission.Memory
	Failures    admission.Failures
	Challenges  *challenges.Table
	Excess      admission.Excess
	Draining    atomic.Bool
	Base        context.Context // ends with Stop
	Stop        context.CancelFunc

	Dialer   egress.Dialer
	over     context.Context // has ended: what does not wait is given it
	unused   sync.Pool       // *Exchange
	replies  sync.Pool       // *[]byte, of refusal.Size
	refusals pendingRefusals
}

// NewShared returns what the requests of a server share.
func NewShared(o Options) *Shared {
	given := o.Limits
	o.Limits = given.withDefaults()
	if o.Names == nil {
		o.Names = distinct.New(distinct.Options{Registerer: o.Registerer, Logger: o.Logger})
	}
	s := &Shared{Resources: o.resources(), Log: o.Logger, Metrics: newMetrics(o.Registerer, func() []string { p, _ := o.Policy(); return p.Functions() })}
	s.Options = o
	s.Challenges = challenges.New(o.Registerer)
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	s.Base, s.Stop = context.WithCancel(context.Background())
	s.over = endedContext()
	s.unused.New = func() any { return new(Exchange) }
	s.replies.New = func() any { b := make([]byte, 0, refusal.Size); return &b }
	s.MemoryWatch.Measure, s.MemoryWatch.Held = o.Memory, s.Slots.Held
	s.Excess.Over = func(r admission.Row) { s.Metrics.over[r].Inc() }
	s.Slots.Init(admission.SlotsOptions{
		Total: s.Resources.Tunnels, PerFunction: s.Resources.PerFunction, ExtraDials: s.Resources.ExtraDials, KeepAlive: s.Resources.KeepAlive,
		Memory: admission.LimitOf(o.Memory), Excess: &s.Excess, Short: s.MemoryWatch.Short,
		NewData: func(function string) any { return s.Metrics.newSeries(function) },
	})
	s.Dials.Init(s.Resources.Tunnels, &s.Excess)
	s.refusals.init(s)
	s.Conns = clientconn.NewSet(clientconn.Options{
		HeaderTimeout: o.Limits.HeaderTimeout, HeaderBytes: o.Limits.HeaderBytes, ProxyProtocolFrom: o.ProxyProtocolFrom,
		Resources: s.Resources, Excess: &s.Excess, Base: s.Base,
		Evicted: s.Metrics.evicted, LingererClosed: s.Metrics.lingererClosed, Handshaken: clientconn.CountHandshakes(o.Registerer),
	})
	s.measure(o.Registerer)
	s.Resources.WarnIfCut(given.wanted(), o.Limits.wanted(), o.Lookups, s.Log)
	return s
}

// endedContext returns a context that has ended.
func endedContext() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// Panicked counts and logs what a bug in serving one connection has thrown.
func (s *Shared) Panicked(p any) {
	s.Metrics.panics.Inc()
	s.Log.Error("serving a connection panicked; it is closed", "panic", p, "stack", string(debug.Stack()))
}

// Finish ends the goroutine that serves a connection; it is deferred. It keeps a bug in
// serving one connection from ending all others. *x is the request under way, nil if none.
func (s *Shared) Finish(c *clientconn.Conn, x **Exchange) {
	if p := recover(); p != nil {
		s.Panicked(p)
		if *x != nil && !c.IsTunnel() {
			(*x).Release()
		}
	}
	c.Finish()
}
