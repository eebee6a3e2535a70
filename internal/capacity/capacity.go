// Package capacity shares out what the process may have: its descriptors, and its
// memory where that is known.
//
// What it does: it cuts the limits that a file asks for to what there is, each in
// proportion, keeps some for what is not for clients, and says in one line of the log
// what it has cut. What it does not do: it hands nothing out; package admission does.
package capacity

import (
	"context"
	"log/slog"
)

// What the server may hold of each kind where the process may open as many
// files as it wants.
const (
	mostPooled     = 1024 // idle connections to origins of plain HTTP
	mostPipes      = 128  // of streaming tunnels; two descriptors each
	mostExtraDials = 1024 // attempts to dial beside a host's first
	mostKeepAlive  = 8192 // client connections that wait for their next plain request
)

// leastReserve is how many descriptors stay for everything else, however few
// there are: the admin listener and its connections, the records.
const leastReserve = 64

// preAuthBytes is what a connection that has not shown who it is costs at
// worst, with its head, its stack and what the kernel has of it.
const preAuthBytes = 32 << 10

// Limits are the bounds, cut to what the process may open and to the memory that
// it has. The sum of all is what makes it hold: no client can bring the
// process to its last descriptor, so what is not for clients goes on.
type Limits struct {
	Connections int // of clients, in all
	PreAuth     int // of them, before their caller is known
	Tunnels     int // connections to origins that are in use
	PerFunction int // of them, those of one function
	KeepAlive   int // client connections that wait for their next plain request
	Pooled      int // idle connections to origins of plain HTTP
	Pipes       int // of streaming tunnels; two descriptors each
	ExtraDials  int // attempts to dial beside a host's first
}

// Wanted are the bounds that the file asks for.
type Wanted struct {
	Tunnels     int
	PerFunction int
	PreAuth     int
}

// Fit shares out files descriptors; 0 or less: as many as are asked for. memory is
// in bytes; 0: not known.
func Fit(w Wanted, files int, memory uint64) Limits {
	r := Limits{
		PreAuth: w.PreAuth, Tunnels: w.Tunnels, PerFunction: w.PerFunction,
		KeepAlive: mostKeepAlive, Pooled: mostPooled, Pipes: mostPipes, ExtraDials: mostExtraDials,
	}
	if memory > 0 {
		r.PreAuth = max(min(r.PreAuth, int(memory/8/preAuthBytes)), 1)
	}
	if files <= 0 {
		r.Connections = r.PreAuth + 2*r.Tunnels + r.KeepAlive
		return r
	}
	left := max(files-max(files/128, leastReserve), files/4, 64)
	// Where descriptors are few everything gets a little, where there are many
	// tunnels get nearly all.
	r.KeepAlive = min(r.KeepAlive, max(left/64, min(left/32, 32)))
	r.Pooled = min(r.Pooled, max(left/128, min(left/32, 32)))
	r.Pipes = min(r.Pipes, max(left/256, min(left/64, 8)))
	r.ExtraDials = min(r.ExtraDials, max(left/128, min(left/64, 16)))
	others := r.Pooled + 2*r.Pipes + r.ExtraDials
	r.PreAuth = min(r.PreAuth, max(left/32, min(left/8, 64), left-2*r.Tunnels-max(left/16, others+r.KeepAlive)))
	left -= others
	r.Tunnels = min(r.Tunnels, (left-r.PreAuth-r.KeepAlive)/2)
	r.PerFunction = inProportion(w.PerFunction, r.Tunnels, w.Tunnels)
	// Who is refused keeps its connection until it has read why, so there are
	// more connections than what is let through can take.
	r.Connections = left - r.Tunnels
	return r
}

// leastPerFunction is what is not cut of a limit for one function, where four may have as
// much: who asks for a few means them.
const leastPerFunction = 16

// inProportion returns the part of what there is that per was of what was wanted: a
// share that is not cut with its whole is no share.
func inProportion(per, had, wanted int) int {
	if had >= wanted {
		return per
	}
	return max(int(int64(min(per, wanted))*int64(had)/int64(wanted)), min(per, leastPerFunction, had/4), 1)
}

// limit is one bound as it was asked for and as it can be had.
type limit struct {
	name        string
	wanted, had int
	given       int  // what the file has; 0: nothing, and wanted is a default
	always      bool // the line has it even where it is whole
}

// limits are the bounds, in the order of the line. What the file cannot ask for makes no
// line by itself: where everything else is whole nobody misses it.
func (r Limits) limits(given, w Wanted) []limit {
	return []limit{
		{"tunnels", w.Tunnels, r.Tunnels, given.Tunnels, true},
		{"tunnels_per_function", w.PerFunction, r.PerFunction, given.PerFunction, true},
		{"unidentified", w.PreAuth, r.PreAuth, given.PreAuth, true},
		{"kept_alive", mostKeepAlive, r.KeepAlive, 0, false},
		{"pooled", mostPooled, r.Pooled, 0, false},
		{"pipes", mostPipes, r.Pipes, 0, false},
		{"extra_dials", mostExtraDials, r.ExtraDials, 0, false},
	}
}

// WarnIfCut logs, in one line, which bounds that were asked for cannot be had, with all
// that are cut, and says so where a default has become less: nobody asked for that
// many. w is asked with its defaults; l are the bounds of lookups, which had theirs before.
func (r Limits) WarnIfCut(given, w Wanted, l LookupLimits, log *slog.Logger) {
	say, level, text := false, slog.LevelInfo, "the default limits are cut to the descriptors and the memory of the process"
	var attrs []slog.Attr
	for _, c := range append(r.limits(given, w), l.limits()...) {
		if c.had >= c.wanted && !c.always {
			continue
		}
		attrs = append(attrs, slog.Int(c.name, c.wanted), slog.Int(c.name+"_cut_to", c.had))
		say = say || c.always && c.had < c.wanted
		if c.had < c.given {
			level, text = slog.LevelWarn, "the limits do not fit the descriptors or the memory of the process and are cut; raise those, or lower the limits"
		}
	}
	if say {
		log.LogAttrs(context.Background(), level, text, attrs...)
	}
}
