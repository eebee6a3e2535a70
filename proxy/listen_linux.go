package proxy

import "golang.org/x/sys/unix"

// deferSeconds is how long the kernel holds a connection back that has sent
// nothing; then it is accepted all the same, and has the header timeout.
const deferSeconds = 1

// tune makes the kernel hand a connection over when its first bytes have come:
// every client of a proxy speaks first, so this spares one wake-up and one
// empty read for each, and a client that only connects costs nothing here.
//
// TCP_NODELAY is inherited by what is accepted, as TCP_DEFER_ACCEPT is not: small
// writes of an origin do not wait for the client's acknowledgements.
func tune(fd int) error {
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return err
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, deferSeconds)
}
