// Package tally counts the records of a period: what each function reached and
// what it was refused, and what became of the policies and processes meanwhile.
//
// What it does: one pass, in bounded memory, whatever the records say. What goes
// beyond a bound is summed up, not left out.
//
// What it does not do: it reads and verifies nothing (internal/evidence does),
// and shows nothing (internal/report does).
//
//	c := tally.New(tally.Options{From: from})
//	verifier.Records(c.Add)
//	…
//	for _, g := range c.Groups() {
//		for _, row := range g.Rows(tally.Refused) { … row.Host, row.Requests … }
//	}
package tally

import (
	"hash/maphash"
	"time"
)

// Options says what is counted. The zero Options counts every record.
type Options struct {
	From    time.Time // records before it are not counted; zero: from the first
	To      time.Time // records at it or behind are not counted; zero: to the last
	Sources []string  // the names of what is read, in the order that Sources returns
	Policy  string    // the hash of the policy that Rules are of
	Rules   []string  // the paths whose use is counted
	// MaxRows bounds the rows of one function in one table; what goes beyond is
	// summed up in its Rest. Zero: everything is.
	MaxRows int
}

// Bounds of what one Counter keeps, whatever the records say.
const (
	// MaxChanges bounds the changes of the policy that are kept, and the floods.
	MaxChanges = 10_000

	maxAllRows   = 1_000_000 // of all functions and tables
	maxGroups    = 10_000    // functions; more are shown as one
	maxDistinct  = 1_000_000 // destinations that are beyond the rows and told apart
	maxOpen      = 1 << 20   // requests that are open at one time
	maxHashes    = 10_000    // policies
	maxProcesses = 100_000
	maxHours     = 100_000 // with refusals
)

// Counter counts records. Make one with New. It is not safe for concurrent use.
type Counter struct {
	opt       Options
	sources   []Source
	sums      Sums
	reading   int // of the sources: that of the last line
	period    period
	groups    map[CallerKey]*Group
	maxGroups int
	rows      int // of all groups
	attempts  attempts
	open      map[uint64]bool // by the hash of the id: whether it was counted as opened
	kinds     map[RowKind]*RowKind
	single    []string // the policy that a row was last met under first
	distinct  map[uint64]struct{}
	seed      maphash.Seed
	lifecycle Lifecycle
	hours     map[int64]map[string]uint64 // refusals by hour since 1970 and reason
	rules     map[string]*RuleUse         // by path
}

// New returns a Counter that has counted nothing.
func New(o Options) *Counter {
	c := &Counter{
		opt: o, seed: maphash.MakeSeed(),
		groups: map[CallerKey]*Group{}, maxGroups: maxGroups, open: map[uint64]bool{}, kinds: map[RowKind]*RowKind{}, distinct: map[uint64]struct{}{},
		attempts:  attempts{last: map[attempt]time.Time{}},
		lifecycle: newLifecycle(),
		hours:     map[int64]map[string]uint64{}, rules: map[string]*RuleUse{},
	}
	for _, name := range o.Sources {
		c.sources = append(c.sources, Source{Name: name})
	}
	for _, path := range o.Rules {
		c.rules[path] = &RuleUse{}
	}
	return c
}

// Source is what one file held.
type Source struct {
	Name    string
	Lines   uint64
	Records uint64
	Other   uint64 // JSON that is not a record
	Unread  uint64 // what could not be read
	period
}

// Sums are the requests of the period by what became of them.
type Sums struct {
	Opened        uint64 // let through: by a rule, and by report mode
	Refused       uint64
	RefusedOpen   uint64 // of Refused: had been opened before
	ReportedAgain uint64 // of Opened: a second time, because report mode let a refusal pass
	Challenged    uint64
	Answered      uint64 // DNS questions
	Suppressed    uint64 // of all: without a record of their own
}

// Requests returns how many requests that were.
func (s *Sums) Requests() uint64 {
	return s.Opened + s.Refused + s.Challenged + s.Answered - s.RefusedOpen - s.ReportedAgain
}

// RuleUse is what became of one rule.
type RuleUse struct {
	Through   uint64 // requests that it let through
	Refusals  uint64 // requests that met it and were refused all the same
	Elsewhere uint64 // requests let through by the same place of other files
}

// Sources returns what was read: those of Options first.
func (c *Counter) Sources() []Source { return c.sources }

// Sums returns the requests by what became of them.
func (c *Counter) Sums() *Sums { return &c.sums }

// First returns the time of the first record that was counted, zero for none.
func (c *Counter) First() time.Time { return c.period.First() }

// Last returns the time of the last record that was counted, zero for none.
func (c *Counter) Last() time.Time { return c.period.Last() }

// Hours returns the refusals by hour since 1970 and by reason.
func (c *Counter) Hours() map[int64]map[string]uint64 { return c.hours }

// Rule returns what became of the rule of that path.
func (c *Counter) Rule(path string) RuleUse {
	if u := c.rules[path]; u != nil {
		return *u
	}
	return RuleUse{}
}

// Lifecycle returns what the records say about the proxy itself.
func (c *Counter) Lifecycle() *Lifecycle { return &c.lifecycle }

// period is from when to when something was met. The zero period is never.
type period struct{ first, last micros }

// First returns the time of the first record, zero for none.
func (p *period) First() time.Time { return p.first.time() }

// Last returns the time of the last record, zero for none.
func (p *period) Last() time.Time { return p.last.time() }

// widen widens a period to a record.
func (p *period) widen(t time.Time) {
	m := micros(t.UnixMicro() - yearOne)
	if p.first == 0 || m < p.first {
		p.first = m
	}
	p.last = max(p.last, m)
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
