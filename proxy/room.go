package proxy

import (
	"context"
	"log/slog"
)

// What the server may hold of each kind where the process may open as many
// files as it wants.
const (
	mostPooled = 1024 // idle connections to origins of plain HTTP
	mostPipes  = 128  // of streaming tunnels; two descriptors each
	mostBeside = 1024 // attempts to dial beside a host's first
	mostKept   = 8192 // client connections that wait for their next plain request
)

// leastReserve is how many descriptors stay for everything else, however few
// there are: the admin listener and its connections, the records, lookups.
const leastReserve = 64

// unidentifiedBytes is what a connection that has not shown who it is costs at
// worst, with its head, its stack and what the kernel has of it.
const unidentifiedBytes = 32 << 10

// room is the limits, cut to what the process may open and to the memory that
// it has. The sum of all is what makes it hold: no client can bring the
// process to its last descriptor, so what is not for clients goes on.
type room struct {
	seats        int // client connections in all
	unidentified int
	tunnels      int // connections to origins that are in use
	kept         int
	pooled       int
	pipes        int
	beside       int
}

// newRoom shares out files descriptors; 0: as many as are asked for. memory is
// in bytes; 0: not known.
func newRoom(l Limits, files int, memory uint64) room {
	r := room{
		unidentified: l.Unidentified, tunnels: l.Tunnels,
		kept: mostKept, pooled: mostPooled, pipes: mostPipes, beside: mostBeside,
	}
	if memory > 0 {
		r.unidentified = max(min(r.unidentified, int(memory/8/unidentifiedBytes)), 1)
	}
	if files <= 0 {
		r.seats = r.unidentified + 2*r.tunnels + r.kept
		return r
	}
	left := max(files-max(files/64, leastReserve), files/4, 64)
	// Where descriptors are few everything gets a little, where there are many
	// tunnels get nearly all.
	r.kept = min(r.kept, max(left/64, min(left/32, 32)))
	r.pooled = min(r.pooled, max(left/128, min(left/32, 32)))
	r.pipes = min(r.pipes, max(left/256, min(left/64, 8)))
	r.beside = min(r.beside, max(left/128, min(left/64, 16)))
	others := r.pooled + 2*r.pipes + r.beside
	r.unidentified = min(r.unidentified, max(left/32, min(left/8, 64), left-2*r.tunnels-max(left/16, others+r.kept)))
	left -= others
	r.tunnels = min(r.tunnels, (left-r.unidentified-r.kept)/2)
	// Who is refused keeps its connection until it has read why, so there are
	// more seats than what is let through can take.
	r.seats = left - r.tunnels
	return r
}

// tell warns where a limit that was asked for cannot be had, and says so where a
// default has become less: nobody asked for that many.
func (r room) tell(asked Limits, log *slog.Logger) {
	l := asked.withDefaults()
	if r.tunnels == l.Tunnels && r.unidentified == l.Unidentified {
		return
	}
	level, text := slog.LevelInfo, "the default limits are cut to the descriptors and the memory of the process"
	if r.tunnels < asked.Tunnels || r.unidentified < asked.Unidentified {
		level, text = slog.LevelWarn, "the limits do not fit the descriptors or the memory of the process and are cut; raise those, or lower the limits"
	}
	log.Log(context.Background(), level, text,
		"tunnels", l.Tunnels, "tunnels_cut_to", r.tunnels,
		"unidentified", l.Unidentified, "unidentified_cut_to", r.unidentified)
}

// room returns the room that the options leave.
func (o *Options) room() room {
	if o.Files == 0 {
		o.Files = files()
	}
	var limit uint64
	if o.Memory != nil {
		_, limit = o.Memory()
	}
	return newRoom(o.Limits, o.Files, limit)
}
