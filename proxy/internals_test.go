package proxy

// Unidentified returns how many connections hold a place among those that have
// not shown who they are; one is Serve's, for the connection it waits for.
func (s *Server) Unidentified() int { return len(s.waiting) }

// Open returns how many tunnels and plain requests hold a place.
func (s *Server) Open() int64 { return s.slots.total.Load() }
