package proxy

// Closing reports whether every lane has been told to end what it sets up.
func (s *Server) Closing() bool {
	s.mu.Lock()
	lanes := s.running
	s.mu.Unlock()
	all := len(lanes) > 0
	for _, l := range lanes {
		told := make(chan bool)
		if l.loop.Post(func() { told <- l.closing }) {
			all = <-told && all
		}
	}
	return all
}
