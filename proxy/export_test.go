package proxy

import (
	"net/netip"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/admission"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// Unidentified returns how many connections hold a place among those that have
// not shown who they are; on a TLS door one is Serve's, for the connection it
// waits for.
func (s *Server) Unidentified() int { return s.conns.PreAuth() }

// Open returns how many tunnels and plain requests hold a place.
func (s *Server) Open() int64 { return s.slots.Open() }

// Seats returns how many client connections hold a seat; on a TLS door one is
// Serve's.
func (s *Server) Seats() int { return s.conns.Len() }

// Share returns how many places among the unidentified one source may have.
func (s *Server) Share() int { return s.preAuth.Share() }

// Sources returns how many sources are known to have unidentified connections.
func (s *Server) Sources() int { return s.preAuth.Sources() }

// DialReason maps the error of a dial to a reason.
func DialReason(err error) verdict.Reason { return dialReason(err) }

// Kept returns how many connections are counted as waiting for a next request.
func (s *Server) Kept() int64 { return s.keepAlive.Taken() }

// Serving reports whether Serve has begun to accept on loops.
func (s *Server) Serving() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.running) > 0
}

// LingerFor sets how long a connection may linger.
func (s *Server) LingerFor(d time.Duration) { s.lingerFor.Store(int64(d)) }

// LingerShare returns how many connections of one caller may linger.
func (s *Server) LingerShare() int { return s.lingering.Share() }

// Lingering returns how many connections of a function, or of a source where
// nobody is known, have their last reply and are not closed yet.
func (s *Server) Lingering(function string, source netip.Addr) int {
	if function != "" {
		return s.lingering.Len(admission.Caller{Function: function})
	}
	return s.lingering.Len(admission.Caller{Source: admission.Source(source)})
}
