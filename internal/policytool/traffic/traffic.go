// Package traffic sums up what records say of each function: what it asked for, what became
// of that by the policy, and when.
//
// What it does: it reads records in one pass, lets package evidence follow their chain, and
// keeps a sum for each function, host and port. Records that were changed, or stand twice,
// are an error: nothing is learned from them. What is missing is told, as Gaps.
//
// What it does not do: it judges nothing by a policy of today, and keeps no single request.
//
//	t, err := traffic.Read(traffic.Options{Files: files, Stdin: os.Stdin})
//	for key, sum := range t.Targets { … }
package traffic

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/ipclass"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// maxTargets bounds the sums that are kept; whoever makes names up could else take all memory.
const maxTargets = 500_000

// maxAddresses bounds the addresses of one target that are kept.
const maxAddresses = 32

// Options are what is read.
type Options struct {
	Files    []string        // as evidence.Read takes them; "-" is Stdin
	Stdin    io.Reader       // nil where no file is "-"
	Progress func(lines int) // called now and then; nil: nobody asks
	// From and To bound what is counted: records before From, and at To or behind, are
	// verified alone. The zero time is no bound.
	From, To time.Time
}

// Traffic is what the records say.
type Traffic struct {
	Targets   map[Key]*Sum
	Functions map[string]*Activity // those that a request is of
	Policies  map[string]uint64    // requests by the hash of the policy that judged them
	From, To  time.Time            // of the first and the last record
	Gaps      []string             // what is missing or cannot be read, a line each; empty: nothing
}

// Key is a target of a function.
type Key struct {
	Function string
	Host     string // canonical
	Port     uint16 // 0: of a question to the DNS filter, which has none
	Clear    bool   // a plain HTTP request
}

// Sum is what became of requests for a target.
type Sum struct {
	Allowed  uint64 // let through by a rule
	Reported uint64 // let through by report mode alone
	Refused  uint64 // by the deny list or the function's rules
	// NotTLS counts the tunnels and requests of report mode that were not TLS, or named no
	// host; OtherName those that named another host.
	NotTLS, OtherName uint64
	// Unseen counts the tunnels that ended without a server name having been looked at, as
	// those do that report mode alone has let through.
	Unseen      uint64
	Days        []time.Time // on which something was let through, UTC, ascending
	First, Last time.Time   // when something was let through; zero: never
	// Addresses are where it was let through to, those that are not public alone.
	Addresses []netip.Addr
}

// Passed returns how many requests were let through.
func (s *Sum) Passed() uint64 { return s.Allowed + s.Reported }

// Read reads the records. The error is one of reading, or says what is not as it was written.
func Read(o Options) (*Traffic, error) {
	c := NewCounter(o)
	if err := evidence.Read(o.Files, o.Stdin, c.Add); err != nil {
		return nil, fmt.Errorf("reading the records: %w", err)
	}
	return c.Traffic()
}

// Counter sums up lines that somebody else reads. Make one with NewCounter. It is not safe
// for concurrent use.
type Counter struct {
	t        *Traffic
	o        Options
	verifier *evidence.Verifier
	lines    int
}

// NewCounter returns a Counter that has counted nothing. Each of the files must have a record.
func NewCounter(o Options) *Counter {
	c := &Counter{
		t: &Traffic{Targets: map[Key]*Sum{}, Functions: map[string]*Activity{}, Policies: map[string]uint64{}},
		o: o, verifier: evidence.NewVerifier(),
	}
	c.verifier.Expect(o.Files)
	return c
}

// Add takes one line. The error says that there is more to sum up than is kept.
func (c *Counter) Add(l evidence.Line) error {
	if c.lines++; c.o.Progress != nil && c.lines%100_000 == 0 {
		c.o.Progress(c.lines)
	}
	c.verifier.Add(l)
	r, err := evidence.Parse(l.Raw)
	if err != nil || r.Time.Before(c.o.From) || !c.o.To.IsZero() && !r.Time.Before(c.o.To) {
		return nil // the verifier counts it
	}
	return c.add(&r)
}

// Traffic ends the counting. The error says what is not as it was written, or that there is
// nothing.
func (c *Counter) Traffic() (*Traffic, error) {
	res := c.verifier.Result()
	if res.Records == 0 {
		return nil, errors.New("there are no records in it")
	}
	var err error
	c.t.Gaps, err = judge(&res)
	return c.t, err
}

// byPolicy are the reasons of refusals by the deny list and the rules.
var byPolicy = []string{
	verdict.ReasonHostDenied.String(), verdict.ReasonHostNotAllowed.String(), verdict.ReasonPortNotAllowed.String(), verdict.ReasonRuleExpired.String(),
}

// add takes one record.
func (c *Counter) add(r *evidence.Record) error {
	widen(&c.t.From, &c.t.To, r.Time)
	passed, refused := became(r)
	if r.Function == "" || r.Host == "" || !passed && !refused && r.Event != "closed" {
		return nil
	}
	s, err := c.sum(r)
	switch {
	case s == nil || err != nil:
		return err
	case refused:
		s.Refused += r.Count()
		c.t.Policies[r.Policy] += r.Count()
	case passed:
		c.allowed(s, r)
	default:
		s.closed(r)
	}
	return nil
}

// widen makes a time from the first to the last instant contain another one.
func widen(first, last *time.Time, at time.Time) {
	if first.IsZero() || at.Before(*first) {
		*first = at
	}
	if at.After(*last) {
		*last = at
	}
}

// became returns whether a record says that a request was let through, or that the policy
// has refused it. A tunnel that is closed is neither: it was let through before.
func became(r *evidence.Record) (passed, refused bool) {
	denied := r.Verdict == verdict.Deny.String()
	switch r.Event {
	case "opened":
		return !denied, false
	case "answered":
		return !denied, denied && slices.Contains(byPolicy, r.Reason)
	case "refused":
		return false, slices.Contains(byPolicy, r.Reason)
	default:
		return false, false
	}
}

// sum returns the sum of the target of a record; nil: it is no target that a rule could have.
func (c *Counter) sum(r *evidence.Record) (*Sum, error) {
	key := Key{Function: r.Function, Host: r.Host, Port: r.Port, Clear: r.Protocol == "http"}
	if r.Protocol == "dns" {
		key.Port = 0
	}
	if s := c.t.Targets[key]; s != nil {
		return s, nil
	}
	if _, err := key.Target(); err != nil {
		return nil, nil
	}
	if len(c.t.Targets) == maxTargets {
		return nil, fmt.Errorf("more than %d targets; give the records of a shorter time", maxTargets)
	}
	s := &Sum{}
	c.t.Targets[key] = s
	return s, nil
}

// Target returns the target of a key; of a question its port is 443.
func (k Key) Target() (hostname.Target, error) {
	port := k.Port
	if port == 0 {
		port = 443
	}
	text := fmt.Sprintf("%s:%d", k.Host, port)
	if a, err := netip.ParseAddr(k.Host); err == nil {
		text = netip.AddrPortFrom(a, port).String()
	}
	t, err := hostname.ParseTarget(text)
	if err == nil && t.Host.String() != k.Host {
		err = hostname.ErrBadTarget
	}
	return t, err
}

// allowed counts what was let through. A ClientHello that report mode lets through has a
// second record of the same request, which says so and is no other request.
func (c *Counter) allowed(s *Sum, r *evidence.Record) {
	n := r.Count()
	again := false
	switch r.Reason {
	case verdict.ReasonNotTLS.String(), verdict.ReasonSNIMissing.String():
		s.NotTLS += n
		again = r.Protocol == "connect"
	case verdict.ReasonSNIMismatch.String():
		s.OtherName += n
		again = true
	}
	if again {
		return
	}
	if r.Verdict == verdict.Report.String() {
		s.Reported += n
	} else {
		s.Allowed += n
	}
	c.t.Policies[r.Policy] += n
	s.seen(r)
	a := c.t.Functions[r.Function]
	if a == nil {
		a = &Activity{minutes: map[int64]*day{}}
		c.t.Functions[r.Function] = a
	}
	a.add(r.Time)
}

// seen keeps when and where to something was let through.
func (s *Sum) seen(r *evidence.Record) {
	widen(&s.First, &s.Last, r.Time)
	on := r.Time.UTC().Truncate(24 * time.Hour)
	if i, known := slices.BinarySearchFunc(s.Days, on, time.Time.Compare); !known {
		s.Days = slices.Insert(s.Days, i, on)
	}
	for _, a := range append(slices.Clone(r.Addresses), r.Dialed.Addr()) {
		if a.IsValid() && !ipclass.IsPublic(a.Unmap()) && len(s.Addresses) < maxAddresses && !slices.Contains(s.Addresses, a.Unmap()) {
			s.Addresses = append(s.Addresses, a.Unmap())
		}
	}
}

// closed counts the end of a tunnel of which no server name is known.
func (s *Sum) closed(r *evidence.Record) {
	if r.Protocol == "connect" && (r.SNI == nil || !hostname.EqualServerName([]byte(*r.SNI), r.Host)) {
		s.Unseen++
	}
}
