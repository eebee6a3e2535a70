package egresstest

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"testing"
)

// Loopback returns why connections cannot come from all over 127.0.0.0/8, nil where
// they can.
func Loopback() error {
	ln, err := net.Listen("tcp", "127.0.0.77:0")
	if err != nil {
		return noLoopback(err)
	}
	return ln.Close()
}

// NeedsLoopback skips the test where only some of 127.0.0.0/8 is loopback.
func NeedsLoopback(t testing.TB) {
	t.Helper()
	if err := Loopback(); err != nil {
		t.Skip(err)
	}
}

func noLoopback(err error) error {
	return fmt.Errorf("on Linux all of 127.0.0.0/8 is loopback, here it is not: %w", err)
}

// Pair returns both ends of one connection on loopback; whoever asks closes them.
func Pair(t testing.TB) (dialed, accepted *net.TCPConn) {
	t.Helper()
	ln, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if dialed, err = net.DialTCP("tcp4", nil, ln.Addr().(*net.TCPAddr)); err != nil {
		t.Fatal(err)
	}
	if accepted, err = ln.AcceptTCP(); err != nil {
		dialed.Close()
		t.Fatal(err)
	}
	return dialed, accepted
}

// ListenBoth listens at one port of an address of loopback over TCP and UDP, as a name
// server does; whoever asks closes them. It skips the test where the address is none of
// this machine's.
func ListenBoth(t testing.TB, ip string) (net.Listener, *net.UDPConn) {
	t.Helper()
	for try := 1; ; try++ {
		ln, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
		if errors.Is(err, syscall.EADDRNOTAVAIL) {
			t.Skip(noLoopback(err))
		}
		if err != nil {
			t.Fatal(err)
		}
		// The port that is free for TCP somebody may use for UDP.
		pc, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(ln.Addr().(*net.TCPAddr).AddrPort()))
		if err == nil {
			return ln, pc
		}
		_ = ln.Close()
		if try == 50 {
			t.Fatal(err)
		}
	}
}

// Serve runs serve on each connection of a listener and closes the connection behind
// it. The listener is closed at the end of the test, which waits until all have ended.
func Serve(t testing.TB, ln net.Listener, serve func(net.Conn)) {
	t.Helper()
	var open sync.WaitGroup
	open.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			open.Go(func() { defer c.Close(); serve(c) })
		}
	})
	t.Cleanup(func() { _ = ln.Close(); open.Wait() })
}
