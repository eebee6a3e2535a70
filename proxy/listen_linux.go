package proxy

import "golang.org/x/sys/unix"

// deferSeconds is how long the kernel holds a connection back that has sent
// nothing; then it is accepted all the same, and has the header timeout.
const deferSeconds = 1

// tune makes the kernel hand a connection over when its first bytes have come:
// every client of a proxy speaks first, so this spares one wake-up and one
// empty read for each, and a client that only connects costs nothing here.
func tune(fd int) error {
	return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, deferSeconds)
}
