// Package report turns records into what an auditor asks for: who reached what
// by which rule, what was refused and why, which policy was in force, whether
// the records are whole, and what that shows of some well-known controls.
//
// What it does: it counts the records of a period in one pass and in bounded
// memory, has the same lines verified by internal/evidence, and writes what it
// counted as Markdown, as CSV or as one HTML page that needs nothing else. The
// same lines and Options give the same bytes. Whatever stands in a record may
// have been written by an attacker: it is shown, and is inert in every format.
//
// What it does not do: it opens no files, knows no policy file (Policy is a
// plain list), keeps no records, and never says that a control is met.
//
//	b := report.New(report.Options{Generated: time.Now(), Sources: files})
//	err := evidence.Read(files, os.Stdin, b.Add)
//	…
//	err = b.Report().Write(os.Stdout, report.Markdown)
//
// # How it counts
//
// A request is what a client asked once. A record that says suppressed stands
// for that many more. A request that was opened and then refused (the
// ClientHello named another host) stands under both, and counts once in the sum.
// An attempt is a request with its repeats: the same source address, function,
// protocol, method, host, port, verdict and reason, each within ten seconds of
// the one before. Some clients ask five times where a person tried once.
package report

import (
	"hash/maphash"
	"net/netip"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence"
)

// Options says what a report is about. The zero Options counts every record.
type Options struct {
	From time.Time // records before it are not counted; zero: from the first
	To   time.Time // records at it or behind are not counted; zero: to the last
	// Sources are the names of what is read, as the report shows them.
	Sources   []string
	Generated time.Time // when the report was made; zero: it does not say
	// Policy is where the rules that were never used are looked for; nil: the
	// report says that they were not.
	Policy *Policy
	// MaxRows bounds the rows of one function in one table; what goes beyond is
	// summed up in one row. Zero or less: 10,000.
	MaxRows int
}

// Policy is a policy file as far as the report knows it.
type Policy struct {
	File  string
	Hash  string // as records carry it
	Rules []Rule
}

// Rule is one entry of a function's allow list.
type Rule struct {
	Function, Owner string
	Path            string // as records carry it: functions.billing.allow[2]
	Line            int
	Pattern         string    // what it covers, for people
	Ticket          string    // "": none
	Expires         time.Time // first instant at which it no longer holds; zero: it holds on
}

// Bounds of what one report keeps, whatever the records say.
const (
	defaultMaxRows = 10_000
	maxAllRows     = 1_000_000 // of all functions and tables
	maxGroups      = 10_000    // functions; more are shown as one
	maxDistinct    = 1_000_000 // destinations that are beyond the rows and told apart
	maxOpen        = 1 << 20   // requests that are open at one time
	maxChanges     = 10_000    // of the policy
	maxHashes      = 10_000    // policies
	maxBoots       = 100_000
	maxHours       = 100_000 // with refusals
)

// Builder counts records. Make one with New. It is not safe for concurrent use.
type Builder struct {
	opt      Options
	verifier *evidence.Verifier
	sources  []source
	sums     sums
	reading  int    // of the sources: that of the last line
	first    micros // of the records that were counted
	last     micros
	groups   map[callerKey]*group
	most     int // groups
	rows     int // of all groups
	attempts attempts
	open     map[uint64]bool // by the hash of the id: whether it was counted as opened
	manners  map[rowKind]*rowKind
	single   []string // the policy that a row was last met under first
	distinct map[uint64]struct{}
	seed     maphash.Seed
	stream   lifecycle
	hours    map[int64]map[string]uint64 // refusals by hour since 1970 and reason
	rules    map[string]*ruleUse         // by path
}

// source is what one file held.
type source struct {
	name                        string
	lines, records, other, torn uint64
	first, last                 micros
}

// sums are the requests of the period by what became of them.
type sums struct {
	Opened        uint64 // let through: by a rule, and by report mode
	Refused       uint64
	RefusedOpen   uint64 // of Refused: had been opened before
	ReportedAgain uint64 // of Opened: a second time, because report mode let a refusal pass
	Challenged    uint64
	Answered      uint64 // DNS questions
	Suppressed    uint64 // of all: without a record of their own
}

// Requests returns how many requests that were.
func (s *sums) Requests() uint64 {
	return s.Opened + s.Refused + s.Challenged + s.Answered - s.RefusedOpen - s.ReportedAgain
}

// New returns a Builder that has counted nothing.
func New(o Options) *Builder {
	if o.MaxRows <= 0 {
		o.MaxRows = defaultMaxRows
	}
	b := &Builder{
		opt: o, verifier: evidence.NewVerifier(), seed: maphash.MakeSeed(),
		groups: map[callerKey]*group{}, most: maxGroups, open: map[uint64]bool{}, manners: map[rowKind]*rowKind{}, distinct: map[uint64]struct{}{},
		attempts: attempts{last: map[attempt]time.Time{}},
		stream:   newLifecycle(),
		hours:    map[int64]map[string]uint64{}, rules: map[string]*ruleUse{},
	}
	b.verifier.Records(b.add)
	for _, name := range o.Sources {
		b.sources = append(b.sources, source{name: name})
	}
	if o.Policy != nil {
		for _, r := range o.Policy.Rules {
			b.rules[r.Path] = &ruleUse{}
		}
	}
	return b
}

// source returns what a name counts to; most lines are of the one before.
func (b *Builder) source(name string) *source {
	if b.reading >= len(b.sources) || b.sources[b.reading].name != name {
		b.reading = len(b.sources) - 1
		for b.reading >= 0 && b.sources[b.reading].name != name {
			b.reading--
		}
		if b.reading < 0 {
			b.reading = len(b.sources)
			b.sources = append(b.sources, source{name: name})
		}
	}
	return &b.sources[b.reading]
}

// within reports whether an instant lies in the period.
func (b *Builder) within(t time.Time) bool {
	return (b.opt.From.IsZero() || !t.Before(b.opt.From)) && (b.opt.To.IsZero() || t.Before(b.opt.To))
}

// micros is an instant in microseconds since the beginning of year 1, which is a
// third of a time.Time. The zero micros is none.
type micros int64

// yearOne is the Unix time of the beginning of year 1, in microseconds.
const yearOne = -62135596800 * 1e6

// time returns the instant, the zero Time for none.
func (m micros) time() time.Time {
	if m == 0 {
		return time.Time{}
	}
	return time.UnixMicro(int64(m) + yearOne)
}

// period widens the time between the first and the last record.
func period(first, last *micros, t time.Time) {
	m := micros(t.UnixMicro() - yearOne)
	if *first == 0 || m < *first {
		*first = m
	}
	*last = max(*last, m)
}

// address returns the source address of a caller without its port.
func address(a netip.AddrPort) netip.Addr { return a.Addr().Unmap().WithZone("") }
