// Package proxy serves HTTP CONNECT and plain HTTP to callers that a policy
// knows by name, and refuses everything else.
//
// What it does: it accepts connections (bare, behind a load balancer that
// sends PROXY protocol, or over TLS), reads each request head by a strict
// grammar, finds out who calls, decides, resolves, checks every address, dials
// what was checked, reads the ClientHello, and hands the two connections to
// package tunnel. Whatever it refuses is recorded before the client sees the
// refusal; what it permits is recorded before a byte flows.
//
// What it does not do: it terminates no TLS of a tunnel, caches nothing,
// rewrites no content, reads no files, and does not decide: package gate does.
// Resolving is a func that the caller gives.
//
// The way of one CONNECT: on Linux loop_linux.go accepts, and connectop_linux.go takes
// it as far as it goes without waiting or refusing. What leaves the loop, and
// everything elsewhere, goes on with a goroutine: serve.go accepts, conn.go reads
// the head (package httphead), goproxy.go takes it through goproxy's hook to connect.go,
// which dials (dial.go) and gives both connections to a tunnel, or refuses. Both bring
// to the decision of package gate what it asks for (exchange.go); plain.go does so for
// plain HTTP, which goes out through roundtrip.go. record.go alone writes records.
//
//	s := proxy.New(proxy.Options{Policy: current, Lookup: lookup, Audit: log})
//	go s.Run(ctx)
//	err := s.Serve(listener, nil)
package proxy

import (
	"bufio"
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/elazarl/goproxy"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/admission"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egress"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/tunnel"
)

// Options is what a Server is made of. Policy, Lookup and Audit are required.
type Options struct {
	// Policy returns the policy and the identities in force. It is called once
	// for each request; both belong together. A nil policy refuses everything.
	Policy func() (*policy.Policy, *identity.Table)

	// Lookup resolves a name that the policy has allowed. An error whose Timeout
	// method returns true is dns_timeout, any other is dns_failed. With a ctx that
	// has ended it does not wait: it returns what it has, or an error, and then it
	// is called again.
	Lookup func(ctx context.Context, name hostname.Name) (Resolved, error)

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
}

// Limits bound what clients can make the server hold. A field that is zero or
// less has its default.
type Limits struct {
	Tunnels            int           // open tunnels and plain requests in all; default 20,000, or what the process has descriptors for
	TunnelsPerFunction int           // of one function; default 5,000, or Tunnels if that is less; cut in proportion to them
	Unidentified       int           // connections that have not shown who they are; default 4,096, or what there are descriptors and memory for
	HeaderTimeout      time.Duration // from accept to the end of the request head; default 10 s
	HeaderBytes        int           // of a request head; default 16 KiB
	DialTimeout        time.Duration // for lookup and dial together; default 5 s
	HelloTimeout       time.Duration // from the 200 to a whole ClientHello; default 5 s
	IdleTimeout        time.Duration // without a byte in either direction; default 330 s
	Lifetime           time.Duration // of a tunnel; default 12 h
}

// withDefaults fills in what is zero.
func (l Limits) withDefaults() Limits {
	setDefault(&l.Tunnels, 20000)
	setDefault(&l.TunnelsPerFunction, min(5000, l.Tunnels))
	setDefault(&l.Unidentified, 4096)
	setDefault(&l.HeaderTimeout, 10*time.Second)
	setDefault(&l.HeaderBytes, 16<<10)
	setDefault(&l.DialTimeout, 5*time.Second)
	setDefault(&l.HelloTimeout, 5*time.Second)
	setDefault(&l.IdleTimeout, 330*time.Second)
	setDefault(&l.Lifetime, 12*time.Hour)
	return l
}

func setDefault[T int | time.Duration](v *T, def T) {
	if *v <= 0 {
		*v = def
	}
}

// Server is the proxy. New makes one; its methods are safe for concurrent use.
type Server struct {
	opt       Options
	log       *slog.Logger
	metrics   *metrics
	goproxy   *goproxy.ProxyHttpServer
	transport *http.Transport // the way out for plain HTTP
	tunnels   *tunnel.Group
	slots     admission.Slots
	dials     admission.DialLimiter
	dialer    egress.Dialer
	keepAlive admission.Budget // connections that wait for their next plain request
	memory    admission.Memory
	conns     *admission.Connections
	preAuth   admission.PreAuthLimiter // those whose caller is not known, by source
	failures  admission.Failures
	excess    admission.Excess
	lingering admission.Lingering
	lingerFor atomic.Int64  // a time.Duration: lingerTime, but in tests
	owners    atomic.Uint64 // how many ownOrigins there have been
	buffers   sync.Pool     // *[]byte for heads and hellos
	writers   sync.Pool     // *bufio.Writer for responses
	copies    sync.Pool     // *[copyBuffer]byte for bodies of responses

	draining atomic.Bool
	self     func(netip.AddrPort) bool // isSelf, made once
	base     context.Context           // ends when Run's context does
	plain    context.Context           // base, for plain requests
	stop     context.CancelFunc
	over     context.Context // has ended: what does not wait is given it
	ran      chan struct{}   // closed when Run has ended every tunnel
	ended    atomic.Int32    // of Run and Close, how many have returned

	mu        sync.Mutex
	closed    bool
	open      map[*conn]struct{} // not yet tunnels
	listeners map[net.Listener]struct{}
	serving   sync.WaitGroup
	running   []*eventLoop // made by the first Serve that can use them
}

// New returns a server that serves nothing yet.
func New(o Options) *Server {
	given := o.Limits
	o.Limits = given.withDefaults()
	resources := o.resources()
	s := &Server{
		opt:     o,
		log:     o.Logger,
		metrics: newMetrics(o.Registerer),
		conns:   admission.NewConnections(resources.Connections, resources.PreAuth),
		tunnels: tunnel.New(tunnel.Options{
			Idle: o.Limits.IdleTimeout, Lifetime: o.Limits.Lifetime, KeepAlive: keepAliveProbes, Pipes: resources.Pipes,
		}),
		open:      map[*conn]struct{}{},
		listeners: map[net.Listener]struct{}{},
		ran:       make(chan struct{}),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.memory.Measure, s.memory.Held = o.Memory, s.slots.Held
	s.conns.Limiter = &s.preAuth
	s.excess.Over = func(r admission.Row) { s.metrics.over[r].Inc() }
	s.slots.Init(admission.SlotsOptions{
		Total: resources.Tunnels, PerFunction: resources.PerFunction, ExtraDials: resources.ExtraDials, Memory: admission.LimitOf(o.Memory), Excess: &s.excess,
		Short:   s.memory.Short,
		NewData: func(function string) any { return s.metrics.newSeries(function) },
		Shed:    func(cause string) { s.metrics.shed.WithLabelValues(cause).Inc() },
	})
	s.dials.Init(resources.Tunnels, &s.excess)
	s.keepAlive.Init(resources.KeepAlive)
	s.preAuth.Init(resources.PreAuth, &s.excess)
	s.lingering.Init(resources.Connections, &s.excess)
	s.lingerFor.Store(int64(lingerTime))
	s.metrics.newGauges(o.Registerer, s)
	resources.WarnIfCut(given.wanted(), o.Limits.wanted(), s.log)
	s.buffers.New = func() any { b := make([]byte, 0, headBuffer); return &b }
	s.writers.New = func() any { return bufio.NewWriter(nil) }
	s.copies.New = func() any { return new([copyBuffer]byte) }
	s.base, s.stop = context.WithCancel(context.Background())
	s.plain = traced(s.base)
	s.self = s.isSelf
	s.over = endedContext()
	s.goproxy = s.newGoproxy()
	s.transport = s.newTransport(resources.Pooled)
	return s
}

// wanted are the limits that descriptors and memory may cut.
func (l Limits) wanted() admission.Wanted {
	return admission.Wanted{Tunnels: l.Tunnels, PerFunction: l.TunnelsPerFunction, PreAuth: l.Unidentified}
}

// resources returns the limits as the process can have them.
func (o *Options) resources() admission.ResourceLimits {
	if o.Files == 0 {
		o.Files = admission.Files()
	}
	return admission.Fit(o.Limits.wanted(), o.Files, admission.LimitOf(o.Memory))
}

// endedContext returns a context that has ended.
func endedContext() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// Run enforces the limits of open tunnels and looks at the memory until ctx ends; then it ends every open tunnel as shutdown and returns when the last
// one has ended and the log has its record. It is called once.
func (s *Server) Run(ctx context.Context) {
	done := make(chan struct{})
	go s.watch(ctx, done)
	s.tunnels.Run(ctx)
	<-done
	s.stop()
	close(s.ran)
	s.ends()
}

// Tunnels returns the number of open tunnels.
func (s *Server) Tunnels() int { return s.tunnels.Len() }
