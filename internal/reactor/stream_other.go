//go:build !linux

package reactor

import "net"

// Stream reads and writes a connection, as it does itself. One goroutine at a time may
// read, and one may write.
type Stream struct{ net.Conn }

// Init takes the connection, instead of the one before.
func (s *Stream) Init(c net.Conn) { s.Conn = c }
