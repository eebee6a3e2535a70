package proxy

import (
	"net/netip"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/fair"
)

// Unidentified returns how many connections hold a place among those that have
// not shown who they are; on a TLS listener one is Serve's, for the connection it
// waits for.
func (s *Server) Unidentified() int { return s.shared.Conns.PreAuth() }

// Open returns how many tunnels and plain requests hold a place.
func (s *Server) Open() int64 { return s.shared.Slots.Open() }

// Seats returns how many client connections hold a seat; on a TLS listener one is
// Serve's.
func (s *Server) Seats() int { return s.shared.Conns.Len() }

// Share returns how many places among the unidentified one source may have.
func (s *Server) Share() int { return s.shared.Conns.PreAuthShare() }

// Sources returns how many sources are known to have unidentified connections.
func (s *Server) Sources() int { return s.shared.Conns.PreAuthSources() }

// Kept returns how many connections are counted as waiting for a next request.
func (s *Server) Kept() int64 { return s.shared.Slots.IdleKeepAlive() }

// Serving reports whether Serve has begun to accept on loops.
func (s *Server) Serving() bool { return s.connect.Looping() }

// LingerFor sets how long a connection may linger.
func (s *Server) LingerFor(d time.Duration) { s.shared.Conns.LingerFor(d) }

// LingerShare returns how many connections of one caller may linger.
func (s *Server) LingerShare() int { return s.shared.Conns.LingerShare() }

// Lingering returns how many connections of a function, or of a source where
// nobody is known, have their last reply and are not closed yet.
func (s *Server) Lingering(function string, source netip.Addr) int {
	return s.shared.Conns.Lingering(fair.CallerOf(function, source))
}
