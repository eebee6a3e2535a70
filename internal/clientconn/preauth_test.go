package clientconn

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/admission"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/capacity"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
)

// slowToClose is a connection whose Close waits for its reader, as that of package net does.
type slowToClose struct {
	net.Conn
	closing, reader chan struct{}
}

func (c *slowToClose) Close() error {
	close(c.closing)
	<-c.reader
	return nil
}

func (*slowToClose) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:1"))
}

// An event loop puts a connection out whose goroutine has no turn yet.
func TestWhoPutsAConnectionOutDoesNotWaitForItsReader(t *testing.T) {
	const places = 64
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "evicted"})
	s := NewSet(Options{
		HeaderBytes: 1024, Resources: capacity.Limits{Connections: 256, PreAuth: places, KeepAlive: 1},
		Excess: &admission.Excess{}, Base: context.Background(), Evicted: counter, LingererClosed: counter, Handshaken: func(Handshake) {},
	})
	raw := &slowToClose{closing: make(chan struct{}), reader: make(chan struct{})}
	t.Cleanup(func() { close(raw.reader) })
	oldest := s.Add(raw)
	oldest.List()
	returned := make(chan struct{})
	go func() {
		defer close(returned)
		for range s.PreAuthShare() {
			newer := &slowToClose{closing: make(chan struct{}), reader: raw.reader}
			s.Add(newer).List() // the last of them puts the oldest out
		}
	}()
	select {
	case <-returned:
	case <-time.After(egresstest.Timeout):
		t.Error("whoever puts a connection out waits for its reader")
	}
	select {
	case <-raw.closing:
	case <-time.After(egresstest.Timeout):
		t.Error("the oldest is not closed")
	}
}
