// Package distinct counts the different names that each caller asks for below each
// wildcard, so that no caller carries much in names.
//
// One Counter is asked by every front, before a name is looked up: each lookup is a
// question to whoever has the wildcard, by DNS, CONNECT and plain HTTP alike.
//
// What it does not do: it does not decide which names are counted, and keeps no
// name, only hashes of them.
//
//	names := distinct.New(distinct.Options{Limit: 1000})
//	if !names.Allow(fair.CallerOf(function, address), "*.example.org", "a.example.org", now) {
package distinct

import (
	"hash/maphash"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/bounds"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/fair"
)

const (
	// defaultLimit is how many names of one caller below one wildcard pass in a minute.
	defaultLimit = 1000
	// windowLength is what names are counted over.
	windowLength = time.Minute
	// maxNames is a bound of the names that are remembered of all callers, about
	// 40 MB of them.
	maxNames = 1 << 20
	// windowCost and callerCost are how many names a window, and a caller, count for by
	// themselves.
	windowCost, callerCost = 8, 8
)

// Options is what a Counter is made of.
type Options struct {
	Limit int // names of one caller below one wildcard; zero or less: 1,000
	Most  int // names that are remembered of all callers; zero or less: 1,048,576

	// Full is told of each name that is refused, and of each caller that gives way,
	// because the memory for names is full, with a cause of package fair. It may block.
	// Nil: nobody is, beside the metrics and the log.
	Full func(c fair.Caller, cause string)

	Registerer prometheus.Registerer // takes the metrics; nil: they are not registered
	Logger     *slog.Logger          // is told who fills the memory; nil: nobody is
}

// Counter counts names. Make one with New; its methods may be called from many
// goroutines. Windows are of a minute from a caller's first name on, so that a
// caller can get twice the limit within a minute across two of them.
//
// The memory for names is bounded: a function has a quarter of it at most. Sources of no
// function, whose addresses can be forged, have half of it together, and one of them a
// quarter of that. Where all is taken the function that has most gives way: its windows
// are closed, and no name below their wildcards passes until they are over. So nobody
// gets more names than Limit.
type Counter struct {
	opt     Options
	seed    maphash.Seed
	metrics metrics
	filling fair.CrowdingLog // of callers whose names fill the memory

	mu      sync.Mutex
	known   part // of functions
	unknown part // of sources of no function
	swept   time.Time
}

// part is the names of some callers.
type part struct {
	callers map[fair.Caller]*counted
	names   int // with what windows and callers cost
}

// counted is what one caller has asked for.
type counted struct {
	windows map[uint64]*window // by the hash of their wildcard
	names   int                // in all windows, with what these and the caller cost
	open    int                // in all windows, by themselves
}

// window is what one caller has asked for below one wildcard.
type window struct {
	since  time.Time
	names  map[uint64]struct{} // hashes
	closed bool                // its names are no longer known, and none passes
}

// New returns a counter.
func New(o Options) *Counter {
	if o.Most <= 0 {
		o.Most = maxNames
	}
	if o.Limit <= 0 {
		o.Limit = defaultLimit
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	d := &Counter{
		opt: o, seed: maphash.MakeSeed(), metrics: newMetrics(o.Registerer),
		known: part{callers: map[fair.Caller]*counted{}}, unknown: part{callers: map[fair.Caller]*counted{}},
	}
	d.filling.Row, d.filling.Log = "names", o.Logger
	bounds.Measure(o.Registerer, "names", o.Most, max(o.Most/4, 1), d.len)
	return d
}

// len returns how many names are remembered, with what windows and callers cost.
func (d *Counter) len() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.known.names + d.unknown.names
}

// part returns where a caller is counted.
func (d *Counter) part(c fair.Caller) *part {
	if c.Source.IsValid() {
		return &d.unknown
	}
	return &d.known
}

// Allow reports whether the caller may ask for name below wildcard, and remembers
// that it did. A name that it has asked for within the window passes always, unless the
// window had to be closed.
func (d *Counter) Allow(c fair.Caller, wildcard, name string, now time.Time) bool {
	ok, full, cause := d.allow(c, wildcard, name, now)
	if cause == "" {
		return ok
	}
	d.metrics.full.WithLabelValues(cause).Inc()
	d.filling.Add(full)
	if d.opt.Full != nil {
		d.opt.Full(full, cause)
	}
	return ok
}

// allow is Allow; cause is not "" where the memory is full, for that caller.
func (d *Counter) allow(c fair.Caller, wildcard, name string, now time.Time) (ok bool, full fair.Caller, cause string) {
	key, hash := maphash.String(d.seed, wildcard), maphash.String(d.seed, name)
	d.mu.Lock()
	defer d.mu.Unlock()
	w := d.part(c).callers[c].window(key)
	if w != nil && now.Sub(w.since) >= windowLength {
		d.part(c).remove(c, key, w)
		w = nil
	}
	if w != nil {
		if _, seen := w.names[hash]; seen {
			return true, full, ""
		}
		if w.closed || len(w.names) >= d.opt.Limit {
			return false, full, ""
		}
	}
	if ok, full, cause = d.makeSpace(c, now); !ok {
		return false, full, cause
	}
	d.part(c).add(c, key, hash, now)
	return true, full, cause
}

// window returns the window of a wildcard, nil if there is none.
func (of *counted) window(wildcard uint64) *window {
	if of == nil {
		return nil
	}
	return of.windows[wildcard]
}

// add remembers a name.
func (p *part) add(c fair.Caller, wildcard, name uint64, now time.Time) {
	of := p.callers[c]
	if of == nil {
		of = &counted{windows: map[uint64]*window{}}
		p.callers[c] = of
		p.count(of, callerCost)
	}
	w := of.windows[wildcard]
	if w == nil {
		w = &window{since: now, names: map[uint64]struct{}{}}
		of.windows[wildcard] = w
		p.count(of, windowCost)
	}
	w.names[name] = struct{}{}
	of.open++
	p.count(of, 1)
}

// count adds to what a caller has, and to the sum of all.
func (p *part) count(of *counted, n int) {
	of.names += n
	p.names += n
}

// remove removes a window, and its caller with the last one.
func (p *part) remove(c fair.Caller, wildcard uint64, w *window) {
	of := p.callers[c]
	p.count(of, -len(w.names)-windowCost)
	of.open -= len(w.names)
	delete(of.windows, wildcard)
	if len(of.windows) == 0 {
		p.count(of, -callerCost)
		delete(p.callers, c)
	}
}

// makeSpace reports whether there is space for another name of the caller. It removes what
// is over first, and then closes windows of the function that has most.
func (d *Counter) makeSpace(c fair.Caller, now time.Time) (ok bool, full fair.Caller, cause string) {
	if d.full(c) == "" {
		return true, full, ""
	}
	d.sweep(now)
	switch cause = d.full(c); {
	case cause == "":
		return true, full, ""
	case cause != fair.CauseAll || d.known.names+d.unknown.names < d.opt.Most:
		return false, c, cause
	}
	full, of := d.known.largest()
	if mine := d.part(c).callers[c]; of == nil || full == c || mine != nil && mine.open >= of.open {
		return false, c, cause
	}
	d.known.closeWindows(of)
	return d.full(c) == "", full, fair.CauseFunction
}

// full says what there is no space in for another name of the caller, "" if there is.
func (d *Counter) full(c fair.Caller) (cause string) {
	names := 0
	if of := d.part(c).callers[c]; of != nil {
		names = of.names
	}
	switch {
	case c.Source.IsValid() && names >= max(d.opt.Most/8, 1):
		return fair.CauseSource
	case c.Source.IsValid() && d.unknown.names >= d.opt.Most/2:
		return fair.CauseAll
	case !c.Source.IsValid() && names >= max(d.opt.Most/4, 1):
		return fair.CauseFunction
	case d.known.names+d.unknown.names >= d.opt.Most:
		return fair.CauseAll
	}
	return ""
}

// largest returns of whom most names are remembered, nil if of nobody.
func (p *part) largest() (c fair.Caller, largest *counted) {
	for other, of := range p.callers {
		if of.open > 0 && (largest == nil || of.open > largest.open) {
			c, largest = other, of
		}
	}
	return c, largest
}

// closeWindows closes windows of a caller until a sixteenth of its names is gone, so that
// it is not done for each name.
func (p *part) closeWindows(of *counted) {
	least := of.open - of.open/16 - 1
	for _, w := range of.windows {
		if of.open <= least {
			return
		}
		p.count(of, -len(w.names))
		of.open -= len(w.names)
		w.names, w.closed = nil, true
	}
}

// sweep removes the windows that are over, at most once a second.
func (d *Counter) sweep(now time.Time) {
	if now.Sub(d.swept) < time.Second {
		return
	}
	d.swept = now
	for _, p := range []*part{&d.known, &d.unknown} {
		for c, of := range p.callers {
			for wildcard, w := range of.windows {
				if now.Sub(w.since) >= windowLength {
					p.remove(c, wildcard, w)
				}
			}
		}
	}
}
