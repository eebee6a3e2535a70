package tunnel_test

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/tunnel"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// group is a group whose tunnels a rig starts by one of the two engines.
type group struct {
	*tunnel.Group
	start func(front, back *net.TCPConn, prefix []byte, done func(tunnel.Result)) *tunnel.Tunnel
}

// groupMaker is newGroup, or what makes a group with the other engine.
type groupMaker func(testing.TB, tunnel.Options) *group

// newGroup runs a group until the test ends, and waits for it. Each direction of its tunnels has a goroutine.
func newGroup(t testing.TB, o tunnel.Options) *group {
	t.Helper()
	return byGoroutines(runGroup(t, o))
}

// byGoroutines starts tunnels by Start.
func byGoroutines(g *tunnel.Group) *group {
	return &group{g, func(front, back *net.TCPConn, prefix []byte, done func(tunnel.Result)) *tunnel.Tunnel {
		return g.Start(tunnel.Params{Client: front, Origin: back, Prefix: prefix, Done: done})
	}}
}

// runGroup runs a group until the test ends, and waits for it.
func runGroup(t testing.TB, o tunnel.Options) *tunnel.Group {
	t.Helper()
	group := tunnel.New(o)
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		group.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-stopped
	})
	return group
}

// rig is one tunnel with the far ends of both its connections.
type rig struct {
	client, origin *net.TCPConn
	tunnel         *tunnel.Tunnel
	result         chan tunnel.Result // holds more than one, so that a second Done is seen
}

func newRig(t testing.TB, group *group, prefix []byte) *rig {
	t.Helper()
	client, front := egresstest.Pair(t)
	back, origin := egresstest.Pair(t)
	r := &rig{client: client, origin: origin, result: make(chan tunnel.Result, 4)}
	t.Cleanup(func() {
		client.Close()
		origin.Close()
	})
	r.tunnel = group.start(front, back, prefix, func(res tunnel.Result) { r.result <- res })
	return r
}

// roundTrip sends buf from client to origin and back.
func roundTrip(t testing.TB, client, origin net.Conn, buf []byte) {
	t.Helper()
	for _, leg := range [][2]net.Conn{{client, origin}, {origin, client}} {
		if _, err := leg[0].Write(buf); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(leg[1], buf); err != nil {
			t.Fatal(err)
		}
	}
}

// ended waits for Done and checks the cause.
func (r *rig) ended(t testing.TB, want tunnel.Cause) tunnel.Result {
	t.Helper()
	select {
	case got := <-r.result:
		if got.Ended != want {
			t.Fatalf("ended by %v (%v), want %v", got.Ended, got.Err, want)
		}
		return got
	case <-time.After(testTimeout):
		t.Fatalf("the tunnel has not ended after %v", testTimeout)
		return tunnel.Result{}
	}
}

// testTimeout is how long a test waits for what must happen before it gives up.
const testTimeout = egresstest.Timeout

// readAll reads to the end that the tunnel makes of conn.
func readAll(t testing.TB, conn net.Conn) []byte {
	t.Helper()
	must(t, conn.SetReadDeadline(time.Now().Add(testTimeout)))
	b, err := io.ReadAll(conn)
	must(t, err)
	return b
}

// flood writes until the tunnel takes no more or the connection ends, and closes the channel it returns.
func flood(conn net.Conn) <-chan struct{} {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for chunk := make([]byte, 64<<10); ; {
			if _, err := conn.Write(chunk); err != nil {
				return
			}
		}
	}()
	return ended
}
