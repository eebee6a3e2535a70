package proxy

// Closing reports whether every lane has been told to end what it sets up.
func (s *Server) Closing() bool {
	s.mu.Lock()
	loops := s.running
	s.mu.Unlock()
	all := len(loops) > 0
	for _, l := range loops {
		told := make(chan bool)
		if l.loop.Post(func() { told <- l.closing }) {
			all = <-told && all
		}
	}
	return all
}
