package proxy

// Closing reports whether every loop has been told to end what it sets up.
func (s *Server) Closing() bool { return s.connect.Closing() }
