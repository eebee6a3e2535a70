// Package dnsfilter is a DNS server that answers only for names that the
// policy lets the asking function reach, so that nothing leaks through lookups.
//
// What it does: it takes questions over UDP and TCP, finds out by the source
// address who asks, decides, and answers refusals by itself: no packet goes
// upstream for a refused name. What comes back for an allowed one is judged as
// well: every alias against the deny list, every address and address hint
// against the rule. Encrypted ClientHello keys are taken out of HTTPS and SVCB
// records, so that clients show the name they connect to. Every refusal is
// recorded before it is answered.
//
// What it does not do: it reads no sockets (package dnsserver does), resolves
// nothing (Exchange does), validates no DNSSEC, serves no zones, transfers or updates,
// and does not decide: package gate does. A caller who can ask another resolver is not
// stopped here.
//
// The way of one question: package dnsserver reads it; fast.go tries to decide
// it from the wire, which works for all that is asked in the ordinary form. What
// then has to wait for Exchange is handed to a goroutine, judged as it is. All
// else goes to slow.go, which uses miekg/dns for reading and writing. Both drive
// the steps of package gate by exchange.go, in which the decision stands before the
// cache, for every client, and which feeds record and metrics. Both give the same bytes for
// what both take. The questions that one read of a UDP socket brings are decided
// together, recorded by one write, and answered after it.
//
//	s, err := dnsfilter.New(dnsfilter.Options{Policy: current, Exchange: ask, Audit: log, Clients: clients})
//	socks, err := dnsfilter.Listen(ctx, addr, 0)
//	err = s.Serve(socks) // until Shutdown
package dnsfilter

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/dnsfilter/wire"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/bounds"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/distinct"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/dnsserver"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/fair"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
)

// Refusal is how a refused name is answered.
type Refusal uint8

// The ways to refuse. What is refused for its type or its addresses alone
// never gets NXDOMAIN, which would speak about every type (RFC 8020).
const (
	NXDomain Refusal = iota // the name does not exist; the zero value
	Refused                 // the server refuses
	NoData                  // the name has no such record
)

// Records is what Exchange found. The filter may write to the records.
type Records = wire.Records

// Options is what a Server is made of. Policy, Exchange and Audit are required.
type Options struct {
	// Policy returns the policy and the identities in force. It is called for
	// each question and must be cheap; both belong together. What the filter
	// derives from them is made anew when one of them changes. A nil policy
	// refuses everything.
	Policy func() (*policy.Policy, *identity.Table)

	// Exchange asks a question that the policy has allowed, of class IN, with
	// a lower-case name; dnssec: signatures are asked for. Identical questions
	// in flight are its to merge. An error whose Timeout method returns true is
	// dns_timeout, a *fair.ShareError has its own reason, any other is
	// dns_failed. ctx says who asks (fair.CallerFrom).
	Exchange func(ctx context.Context, q dns.Question, dnssec bool) (Records, error)

	// Audit writes the records.
	Audit *audit.Log

	// Names counts the names below a wildcard that one function, or one source of no
	// function, asks for: more than its limit looks like data carried in names. It is the
	// one of every front. Nil: one of the filter alone, with the default limit.
	Names *distinct.Counter

	// Count is called with the event of every decision, recorded or not. It
	// must not keep it. Nil: nothing is counted beside the metrics of this package.
	Count func(*audit.Event)

	// Clients are the addresses that may ask at all; others get no answer.
	// Empty: nobody.
	Clients []netip.Prefix

	// ProxyProtocolFrom are the load balancers: a TCP connection from there
	// must begin with a PROXY protocol header, from elsewhere it must not. UDP
	// has none. Empty: nobody.
	ProxyProtocolFrom []netip.Prefix

	RefuseWith    Refusal  // zero: NXDomain
	RefuseUnknown bool     // sources of no function get nothing; false: the names of all functions
	RecordAll     bool     // record what is answered too; false: refusals and report mode alone
	Types         []uint16 // record types that are answered; empty: A, AAAA, HTTPS, SVCB, CNAME, PTR

	Limits Limits // see there for the zero values

	Registerer prometheus.Registerer // takes the metrics; nil: they are not registered
	Logger     *slog.Logger          // operational messages, never questions; nil discards them
}

// Limits bound what clients can make the server hold. A field that is zero or
// less has its default.
type Limits struct {
	// InFlight bounds the questions that wait for Exchange; default 4,096. Package
	// fair shares them out among callers: a function, or a source of no function. What
	// is beyond the share of one is answered SERVFAIL.
	InFlight int
	// Refusals bounds the refused questions that wait, for a second at most, for the
	// record that they share because their caller is refused too often; default 2,048,
	// shared out in the same way. What is beyond that gets no answer and no record, and
	// so has the oldest of whoever has most where one that has less comes.
	Refusals int
	// Conns bounds the TCP connections; default 4,096. One source may have a quarter.
	// Beyond that the one that has been idle longest is closed for a newer one: of the
	// source, or of whoever has most.
	Conns int
	// ConnIdle is how long a TCP client may take for its next whole question,
	// or for taking an answer; default 8 s.
	ConnIdle time.Duration
	// Budget bounds the wait for Exchange; default 5 s.
	Budget time.Duration
	// CacheBytes bounds the packed answers that are kept, by estimate;
	// default 16 MiB.
	CacheBytes int
}

// withDefaults fills in what is zero, but for those of connections, which have
// their defaults in package dnsserver.
func (l Limits) withDefaults() Limits {
	setDefault(&l.InFlight, 4096)
	setDefault(&l.Refusals, 2048)
	setDefault(&l.Budget, 5*time.Second)
	setDefault(&l.CacheBytes, 16<<20)
	return l
}

func setDefault[T int | time.Duration](v *T, def T) {
	if *v <= 0 {
		*v = def
	}
}

// defaultTypes are what is answered where Options.Types is empty.
var defaultTypes = []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeHTTPS, dns.TypeSVCB, dns.TypeCNAME, dns.TypePTR}

// errIncomplete is returned by New where a required field is missing.
var errIncomplete = errors.New("configuring the DNS filter: Policy, Exchange and Audit are required")

// Server answers questions. Make one with New; its methods may be called from
// many goroutines.
type Server struct {
	opt     Options
	log     *slog.Logger
	metrics *metrics
	types   map[uint16]bool

	building sync.Mutex // of the snapshot
	current  atomic.Pointer[snapshot]

	server   *dnsserver.Server
	pending  fair.Places // of questions that wait for Exchange
	crowding fair.CrowdingLog
	refusals fair.Places // of refused questions that wait for the record that they share
	flooding fair.CrowdingLog
}

// New makes a Server of the options.
func New(o Options) (*Server, error) {
	if o.Policy == nil || o.Exchange == nil || o.Audit == nil {
		return nil, errIncomplete
	}
	o.Limits = o.Limits.withDefaults()
	if len(o.Types) == 0 {
		o.Types = defaultTypes
	}
	if o.Names == nil {
		o.Names = distinct.New(distinct.Options{Registerer: o.Registerer, Logger: o.Logger})
	}
	s := &Server{
		opt:   o,
		log:   o.Logger,
		types: map[uint16]bool{},
	}
	s.metrics = newMetrics(o.Registerer, s.functions)
	s.pending.Init(o.Limits.InFlight, &bounds.DNSQuestions)
	s.refusals.Init(o.Limits.Refusals, &bounds.DNSQuestions)
	s.pending.Measure(o.Registerer, bounds.DNSQuestions.Name)
	s.refusals.Measure(o.Registerer, "dns_refusals")
	bounds.Measure(o.Registerer, "dns_answers", o.Limits.CacheBytes, 0, s.packedBytes)
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.crowding.Row, s.crowding.Log = "dns_questions", s.log
	s.flooding.Row, s.flooding.Log = "dns_refusals", s.log
	for _, t := range o.Types {
		s.types[t] = true
	}
	s.server = dnsserver.New(dnsserver.Options{
		NewHandler:        s.newHandler,
		Clients:           o.Clients,
		ProxyProtocolFrom: o.ProxyProtocolFrom,
		Conns:             o.Limits.Conns,
		ConnIdle:          o.Limits.ConnIdle,
		Registerer:        o.Registerer,
		Logger:            s.log,
	})
	return s, nil
}

// Sockets are what a Server listens on: one address, over UDP and TCP.
type Sockets = dnsserver.Sockets

// Listen opens the sockets of an address, that many for UDP; see
// dnsserver.Listen.
func Listen(ctx context.Context, addr netip.AddrPort, udp int) (*Sockets, error) {
	return dnsserver.Listen(ctx, addr, udp)
}

// Serve answers what comes in on the sockets until Shutdown closes them; then
// it returns nil. An error is one of a socket that retrying does not cure; all
// sockets are closed then. It takes the sockets over.
func (s *Server) Serve(socks *Sockets) error { return s.server.Serve(socks) }

// Shutdown stops taking questions, waits until those in flight are answered or
// ctx ends, then gives the rest up. It returns when the last goroutine has
// ended; Serve has then let go of its sockets.
func (s *Server) Shutdown(ctx context.Context) { s.server.Shutdown(ctx) }

// Refresh prepares what belongs to the policy now in force, so that no
// question has to wait for it. It is of use after a change of a large policy,
// and never needed.
func (s *Server) Refresh() { s.snapshot().prepare() }
