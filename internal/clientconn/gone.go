package clientconn

import (
	"syscall"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/reactor"
)

// Gone reports whether the client has closed its side of the connection, or reset it.
// One that closes half of it and waits for its answer looks the same, and is not waited
// for, as other proxies have it. It may be called from any goroutine.
func (c *Conn) Gone() bool {
	s, ok := c.raw.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return true
	}
	gone := true
	if err := raw.Control(func(fd uintptr) { gone = reactor.Ended(int(fd)) }); err != nil {
		return true
	}
	return gone
}
