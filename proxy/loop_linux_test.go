package proxy_test

import (
	"bytes"
	"io"
	"runtime"
	"testing"
	"time"

	sys "golang.org/x/sys/unix"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/proxy"
)

func TestAnOpenTunnelHoldsNoGoroutine(t *testing.T) {
	o := newOrigin(t, echo)
	r := openRig(t, o, rigOptions{})
	r.tunnel(o, "any.test")
	const tunnels, most = 50, 500
	before, open := runtime.NumGoroutine(), 0
	// The origin of the test has one for each of its connections. A tunnel whose
	// client was slow to ask has left its loop; then one more is opened.
	eventually(t, "tunnels with no goroutine beside the origin's", func() bool {
		for range max(tunnels-open, 1) {
			if open == most {
				break
			}
			c := r.tunnel(o, "any.test")
			if _, err := io.WriteString(c, "ping"); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(c, make([]byte, 4)); err != nil {
				t.Fatal(err)
			}
			open++
		}
		others := max(runtime.NumGoroutine()-before-open, 0)
		return open-others >= tunnels
	})
}

// tunnel opens a tunnel to the origin.
func (r *rig) tunnel(o *origin, host string) io.ReadWriteCloser {
	r.t.Helper()
	c, br := r.send(connectAs("billing", o.at(host)))
	wantEstablished(r.t, br)
	return c
}

// What takes longer than a loop waits goes on in a goroutine, with the same
// connection attempt: the queue of the origin is full until the proxy has
// asked, and the kernel asks again a second later.
func TestADialThatOutlastsTheLoopsPatienceSucceeds(t *testing.T) {
	ln, port := boundSocket(t, [4]byte{127, 0, 0, 1})
	if err := sys.Listen(ln, 0); err != nil {
		t.Fatal(err)
	}
	fill(t, ln, port)
	o := &origin{port: port}
	r := openRig(t, o, rigOptions{})
	_, br := r.send(connectAs("billing", o.at("any.test")))
	eventually(t, "a goroutine that waits for the dial", func() bool {
		stacks := make([]byte, 4<<20)
		return bytes.Contains(stacks[:runtime.Stack(stacks, true)], []byte("/internal/reactor.Connected("))
	})
	for range 2 {
		fd, _, err := sys.Accept(ln)
		if err != nil {
			t.Fatal(err)
		}
		defer sys.Close(fd)
	}
	wantEstablished(t, br)
}

// gate is a record stream that takes nothing until it is opened.
type gate struct {
	recordBuffer
	asked chan struct{} // has room for one
	open  chan struct{}
}

func (g *gate) Write(p []byte) (int, error) {
	select {
	case g.asked <- struct{}{}:
	default:
	}
	<-g.open
	return g.recordBuffer.Write(p)
}

func TestCloseWhileAPermitIsBeingRecordedEndsItAndLeavesNothing(t *testing.T) {
	o := newOrigin(t, echo)
	g := &gate{asked: make(chan struct{}, 1), open: make(chan struct{})}
	r := openRig(t, o, rigOptions{sink: g, limits: proxy.Limits{HeaderTimeout: time.Hour}})
	c, _ := r.send(connectAs("billing", o.at("any.test")))
	<-g.asked
	closed := make(chan struct{})
	go func() { r.server.Close(); close(closed) }()
	eventually(t, "Close at work", r.server.Closing)
	close(g.open)
	<-closed
	wantEnd(t, c)
	eventually(t, "no place taken", func() bool { return r.server.Open() == 0 })
	eventually(t, "both records", func() bool { return len(g.all(t)) == 2 })
	for i, want := range []string{"opened", "closed"} {
		if m := g.all(t)[i]; m["event"] != want {
			t.Errorf("record %d: %v", i, m)
		}
	}
}

// A record that waits for its output takes nothing from the time that the host
// has to answer the dial.
func TestTimeThatARecordWaitsIsNotTheHosts(t *testing.T) {
	o := newOrigin(t, serveOK)
	var got reply
	// Where the machine takes all of the time, there is more of it the next time.
	for timeout := 200 * time.Millisecond; timeout < patience/2; timeout *= 2 {
		g := &gate{asked: make(chan struct{}, 1), open: make(chan struct{})}
		r := openRig(t, o, rigOptions{sink: g, limits: proxy.Limits{DialTimeout: timeout}})
		_, br := r.send("GET http://" + o.at("any.test") + "/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + auth("billing") + "\r\n")
		<-g.asked
		time.AfterFunc(timeout+200*time.Millisecond, func() { close(g.open) })
		if got = readReply(t, br); got.StatusCode == 200 {
			return
		}
	}
	t.Errorf("got %s", got.Status)
}
