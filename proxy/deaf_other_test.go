//go:build !linux

package proxy_test

import "testing"

// deafListener needs to see when the queue of a listener is full.
func deafListener(t testing.TB) (port uint16, hear func()) {
	t.Helper()
	t.Skip("only Linux says how long the queue of a listener is")
	return 0, nil
}

// deafAt is not there either.
func deafAt(t testing.TB, _ [4]byte) (port uint16, hear func()) {
	t.Helper()
	return deafListener(t)
}

// boundSocket needs a port that stays refused while a socket has it.
func boundSocket(t testing.TB, _ [4]byte) (fd int, port uint16) {
	t.Helper()
	t.Skip("written for the sockets of Linux")
	return 0, 0
}
