// Package probes counts what posture probe has found in a period: how often the fence round
// the functions was tried, and how often it held.
//
// What it does: it reads the program's lines of JSON, one by one, and judges the tries of each
// anew: a result whose verdict does not follow from its own tries counts as none, and neither
// does one that stands twice, is of a time that has not come, or cannot be read. Each of those
// is counted, and the first of them are named. It shares no code with the program that wrote
// the lines, so that a fault of one is not one of both.
//
// What it does not do: it opens no files. Results hold no chain and no signature: whoever can
// write the file can make one up, and take one out, which shows as a gap alone.
//
//	c := probes.New(probes.Options{From: from, To: to, Now: time.Now()})
//	err := evidence.Read(files, os.Stdin, c.Add)
//	…
//	sums := c.Sums()
package probes

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence"
)

// Options says what is counted. The zero Options counts every result.
type Options struct {
	From time.Time // results before it are not counted; zero: from the first
	To   time.Time // results at it or behind are not counted; zero: to the last
	Now  time.Time // a result behind it, by more than clocks differ, is made up; zero: nobody looks
}

// What is kept is bounded: of results their times, and of what is listed so many.
const (
	maxResults = 500_000 // five years of one in five minutes
	maxListed  = 1_000
	maxWays    = 64

	clocksDiffer = 5 * time.Minute
)

// Verdict is what one probe says.
type Verdict string

// The verdicts, as posture probe writes them. Any other word is none.
const (
	Held    Verdict = "holds"
	Hole    Verdict = "hole"
	Unclear Verdict = "unclear"
	Unknown Verdict = "unknown" // the control failed, so nothing is said
)

// Found is a result that does not say that the fence holds, or a line that is no result.
type Found struct {
	Time    time.Time // of a result; zero: of a line
	Verdict Verdict   // of a result; "": of a line
	Detail  string    // a result's own, which anybody may have written, or what is wrong with a line
	File    string
	Line    int
}

// Way is what was seen of one way round the gate.
type Way struct {
	Name                         string // anybody may have written it
	Held, Open, Unclear, Untried uint64
	FirstOpen, LastOpen          time.Time // zero: never
}

// Sums are what was counted. Held, Hole, Unclear and Unknown are of results that count.
type Sums struct {
	Held, Hole, Unclear, Unknown uint64
	// Faulty are lines that may have been results and count as none, and Repeated lines that
	// were read before; Outside are results outside of the period, and Other lines that are
	// something else: metrics, events, Lambda's own.
	Faulty, Repeated, Outside, Other uint64
	First, Last                      time.Time
	Gap                              time.Duration // the longest time without a result, the ends of the period included
	GapFrom                          time.Time     // where it begins
	NotHeld, Faults                  []Found       // the first of them
	Ways                             []Way         // by name, of every result of the period that can be read
}

// Probed returns how many results count.
func (s *Sums) Probed() uint64 { return s.Held + s.Hole + s.Unclear + s.Unknown }

// Counter counts results. Make one with New. It is not safe for concurrent use.
type Counter struct {
	opt  Options
	sums Sums
	seen map[int64]seen // by time, in nanoseconds
	ways map[string]*Way
}

// seen is a result that was read.
type seen struct {
	hash    [sha256.Size]byte
	verdict Verdict // "": two that differ have this time, and neither counts
}

// New returns a Counter that has counted nothing.
func New(o Options) *Counter {
	return &Counter{opt: o, seen: map[int64]seen{}, ways: map[string]*Way{}}
}

// Add takes one line. Its error is always nil, so that it fits evidence.Read.
func (c *Counter) Add(l evidence.Line) error {
	raw := bytes.TrimSpace(l.Raw)
	r, what := parse(raw)
	switch {
	case what == notOurs:
		c.sums.Other++
	case what != "":
		c.faulty(&l, what)
	case !c.opt.Now.IsZero() && r.Time.After(c.opt.Now.Add(clocksDiffer)):
		c.faulty(&l, "its time has not come")
	case r.Time.Before(c.opt.From) || !c.opt.To.IsZero() && !r.Time.Before(c.opt.To):
		c.sums.Outside++
	default:
		c.result(&l, raw, r)
	}
	return nil
}

// result takes a result of the period.
func (c *Counter) result(l *evidence.Line, raw []byte, r *result) {
	at, hash := r.Time.UnixNano(), sha256.Sum256(raw)
	before, known := c.seen[at]
	switch {
	case known && before.hash == hash:
		c.sums.Repeated++
		return
	case known: // one of the two was changed, and nobody can say which
		if before.verdict != "" {
			*c.sums.of(before.verdict)--
			c.sums.Faulty++
			c.seen[at] = seen{hash: before.hash}
		}
		c.faulty(l, "another result of the same time differs, so neither counts")
		return
	case len(c.seen) == maxResults:
		c.faulty(l, "there are more results than this program counts")
		return
	}
	c.seen[at] = seen{hash, r.Verdict}
	*c.sums.of(r.Verdict)++
	if r.Verdict != Held && len(c.sums.NotHeld) < maxListed {
		c.sums.NotHeld = append(c.sums.NotHeld, Found{r.Time, r.Verdict, r.Headline, l.File, l.Number})
	}
	c.count(r)
}

// of returns the sum of a verdict; that of Unknown for a word that is none.
func (s *Sums) of(v Verdict) *uint64 {
	switch v {
	case Held:
		return &s.Held
	case Hole:
		return &s.Hole
	case Unclear:
		return &s.Unclear
	default:
		return &s.Unknown
	}
}

// faulty takes a line that may have been a result.
func (c *Counter) faulty(l *evidence.Line, what string) {
	if c.sums.Faulty++; len(c.sums.Faults) < maxListed {
		c.sums.Faults = append(c.sums.Faults, Found{Detail: what, File: l.File, Line: l.Number})
	}
}

// count adds the ways of a result, a way once for each class.
func (c *Counter) count(r *result) {
	for i, t := range r.Tries {
		if t.Way == control || slices.Contains(r.Tries[:i], t) {
			continue
		}
		w := c.way(t.Way)
		switch t.Class {
		case classHeld:
			w.Held++
		case classOpen:
			w.Open++
			if w.FirstOpen.IsZero() || r.Time.Before(w.FirstOpen) {
				w.FirstOpen = r.Time
			}
			if r.Time.After(w.LastOpen) {
				w.LastOpen = r.Time
			}
		case classCaptive, classConnected:
			w.Unclear++
		}
	}
	for _, name := range r.Untried {
		c.way(name).Untried++
	}
}

// way returns the row of a way. Names are anybody's, so they are bounded.
func (c *Counter) way(name string) *Way {
	if c.ways[name] == nil && len(c.ways) >= maxWays {
		name = "further names"
	}
	if c.ways[name] == nil {
		c.ways[name] = &Way{Name: name}
	}
	return c.ways[name]
}

// Sums returns what was counted until now.
func (c *Counter) Sums() Sums {
	s := c.sums
	times := make([]int64, 0, len(c.seen))
	for at, r := range c.seen {
		if r.verdict != "" {
			times = append(times, at)
		}
	}
	slices.Sort(times)
	for _, name := range sorted(c.ways) {
		s.Ways = append(s.Ways, *c.ways[name])
	}
	if len(times) == 0 {
		return s
	}
	s.First, s.Last = time.Unix(0, times[0]).UTC(), time.Unix(0, times[len(times)-1]).UTC()
	s.GapFrom, s.Gap = c.gap(times)
	return s
}

// gap returns the longest time without a result, the ends of the period included as far as
// they are known. What has not come yet is no gap.
func (c *Counter) gap(times []int64) (from time.Time, longest time.Duration) {
	before, end := time.Unix(0, times[0]).UTC(), c.opt.To
	if !c.opt.From.IsZero() {
		before = c.opt.From
	}
	if now := c.opt.Now; !now.IsZero() && (end.IsZero() && !c.opt.From.IsZero() || now.Before(end)) {
		end = now
	}
	if !end.IsZero() {
		times = append(times, end.UnixNano())
	}
	for _, at := range times {
		now := time.Unix(0, at).UTC()
		if gap := now.Sub(before); gap > longest {
			from, longest = before, gap
		}
		before = now
	}
	return from, longest
}
