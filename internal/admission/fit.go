package admission

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
// there are: the admin listener and its connections, the records, lookups.
const leastReserve = 64

// preAuthBytes is what a connection that has not shown who it is costs at
// worst, with its head, its stack and what the kernel has of it.
const preAuthBytes = 32 << 10

// ResourceLimits are the bounds, cut to what the process may open and to the memory that
// it has. The sum of all is what makes it hold: no client can bring the
// process to its last descriptor, so what is not for clients goes on.
type ResourceLimits struct {
	Connections int // of clients, in all
	PreAuth     int // of them, before their caller is known
	Tunnels     int // connections to origins that are in use
	KeepAlive   int // client connections that wait for their next plain request
	Pooled      int // idle connections to origins of plain HTTP
	Pipes       int // of streaming tunnels; two descriptors each
	ExtraDials  int // attempts to dial beside a host's first
}

// Wanted are the bounds that the file asks for.
type Wanted struct {
	Tunnels int
	PreAuth int
}

// Fit shares out files descriptors; 0 or less: as many as are asked for. memory is
// in bytes; 0: not known.
func Fit(w Wanted, files int, memory uint64) ResourceLimits {
	r := ResourceLimits{
		PreAuth: w.PreAuth, Tunnels: w.Tunnels,
		KeepAlive: mostKeepAlive, Pooled: mostPooled, Pipes: mostPipes, ExtraDials: mostExtraDials,
	}
	if memory > 0 {
		r.PreAuth = max(min(r.PreAuth, int(memory/8/preAuthBytes)), 1)
	}
	if files <= 0 {
		r.Connections = r.PreAuth + 2*r.Tunnels + r.KeepAlive
		return r
	}
	left := max(files-max(files/64, leastReserve), files/4, 64)
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
	// Who is refused keeps its connection until it has read why, so there are
	// more connections than what is let through can take.
	r.Connections = left - r.Tunnels
	return r
}

// WarnIfCut logs where a bound that was asked for cannot be had, and says so where a
// default has become less: nobody asked for that many. w is asked with its defaults.
func (r ResourceLimits) WarnIfCut(given, w Wanted, log *slog.Logger) {
	if r.Tunnels == w.Tunnels && r.PreAuth == w.PreAuth {
		return
	}
	level, text := slog.LevelInfo, "the default limits are cut to the descriptors and the memory of the process"
	if r.Tunnels < given.Tunnels || r.PreAuth < given.PreAuth {
		level, text = slog.LevelWarn, "the limits do not fit the descriptors or the memory of the process and are cut; raise those, or lower the limits"
	}
	log.Log(context.Background(), level, text,
		"tunnels", w.Tunnels, "tunnels_cut_to", r.Tunnels,
		"unidentified", w.PreAuth, "unidentified_cut_to", r.PreAuth)
}
