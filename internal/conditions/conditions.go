// Package conditions says in the log what is wrong while it is wrong, for whoever has the
// log alone.
//
// What it does: a [Watch] looks at the metrics every five seconds and logs each condition of
// its table (records that are slow, a bound that is nearly full, …) once when it begins, each
// hour while it lasts, and once when it is over; no more than one line a minute of each.
//
// What it does not do: it measures nothing, and knows of no request. What ends on a date is
// told by package expiry.
//
//	w := conditions.New(reg, log)
//	w.Run(ctx)
package conditions

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"
)

const (
	// again is how often a condition is logged while it lasts.
	again = time.Hour
	// quiet is the least time between two lines of one condition.
	quiet = time.Minute
)

// Condition is something that is wrong, or is not.
type Condition struct {
	Name  string // in the log, as condition
	Of    string // what it is about, where there are several: an upstream, a bound
	On    bool
	Text  string // what is wrong
	Attrs []slog.Attr

	// BeginTold and EndTold say that others have a line for its begin, or its end.
	BeginTold, EndTold bool
}

// Log logs conditions when they begin and end. Make one with NewLog. Safe for concurrent use.
type Log struct {
	log *slog.Logger

	mu  sync.Mutex
	all map[[2]string]*state // by Name and Of
}

// state is one condition as the log has it.
type state struct {
	told  bool      // that it is there
	began time.Time // while it is told
	last  time.Time // the last line
}

// NewLog returns a Log in which nothing is wrong.
func NewLog(log *slog.Logger) *Log { return &Log{log: log, all: map[[2]string]*state{}} }

// Set says how a condition stands now, and logs it where that is due. What changes within a
// minute of a line waits for a later Set.
func (l *Log) Set(now time.Time, c Condition) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := [2]string{c.Name, c.Of}
	s := l.all[key]
	if s == nil {
		if !c.On {
			return
		}
		s = &state{last: now.Add(-quiet)}
		l.all[key] = s
	}
	if now.Before(s.last) { // the clock was put back
		s.last = now
	}
	since := now.Sub(s.last)
	switch {
	case since < quiet || !c.On && !s.told:
	case !s.told:
		s.told, s.began, s.last = true, now, now
		if !c.BeginTold {
			l.write(slog.LevelWarn, c.Text, &c)
		}
	case !c.On:
		s.told, s.last = false, now
		if !c.EndTold {
			c.Attrs = append(slices.Clone(c.Attrs), slog.Float64("lasted_seconds", max(now.Sub(s.began), 0).Seconds()))
			l.write(slog.LevelInfo, "over: "+c.Text, &c)
		}
	case since >= again:
		s.last = now
		l.write(slog.LevelWarn, "still: "+c.Text, &c)
	}
}

// write writes one line.
func (l *Log) write(level slog.Level, text string, c *Condition) {
	attrs := []slog.Attr{slog.String("condition", c.Name)}
	if c.Of != "" {
		attrs = append(attrs, slog.String("of", c.Of))
	}
	l.log.LogAttrs(context.Background(), level, text, append(attrs, c.Attrs...)...)
}
