package proxy

import (
	"context"
	"net"
	"syscall"
)

// Listen opens a listener for Serve. What can be set once on the listening
// socket and is inherited by the connections is set there, not on each of
// them; keepalive is left to package tunnel, for what lasts. Multipath TCP is
// off, because splice(2) does not take its sockets.
func Listen(ctx context.Context, address string) (net.Listener, error) {
	var tuned error
	lc := net.ListenConfig{
		KeepAlive: -1,
		Control: func(_, _ string, c syscall.RawConn) error {
			if err := c.Control(func(fd uintptr) { tuned = tune(int(fd)) }); err != nil {
				return err
			}
			return tuned
		},
	}
	lc.SetMultipathTCP(false)
	return lc.Listen(ctx, "tcp", address)
}
