package proxy_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	sys "golang.org/x/sys/unix"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/reactor"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/proxy"
)

// The first read fills the room for a head, and taking the header out of it makes
// it look as if there were no more.
func TestBurstBehindAPROXYHeaderArrivesWhole(t *testing.T) {
	o := newOrigin(t, echo)
	r := balancedRig(t, o, rigOptions{})
	c := r.dial()
	eventually(t, "accepted in silence", func() bool { return r.server.Unidentified() == 1 })
	early := strings.Repeat("x", 8000)
	if _, err := io.WriteString(c, "PROXY TCP4 10.1.2.9 10.0.0.1 40000 3128\r\nCONNECT "+o.at("any.test")+" HTTP/1.1\r\nHost: x\r\n\r\n"+early); err != nil {
		t.Fatal(err)
	}
	br := bufio.NewReader(c)
	wantEstablished(t, br)
	wantExactly(t, br, early)
}

// Small writes to a client are not held back until it has acknowledged the last.
func TestAcceptedConnectionsSendAtOnce(t *testing.T) {
	ln, err := proxy.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = c.Write([]byte("x"))
	raw, err := ln.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	accepted := -1
	eventually(t, "accepted", func() bool {
		_ = raw.Control(func(fd uintptr) { accepted, _, err = reactor.Accept(int(fd)) })
		return err == nil
	})
	defer reactor.Close(accepted)
	if on, err := sys.GetsockoptInt(accepted, sys.IPPROTO_TCP, sys.TCP_NODELAY); err != nil || on == 0 {
		t.Errorf("TCP_NODELAY is %d, %v", on, err)
	}
}

// Serve has returned because its listener is closed, and what it has let in has
// its deadlines all the same.
func TestHeaderTimeoutHoldsAfterTheListenerIsClosed(t *testing.T) {
	o := newOrigin(t, echo)
	r := openRig(t, o, rigOptions{limits: proxy.Limits{HeaderTimeout: time.Second}})
	c := r.dial()
	_, _ = io.WriteString(c, "CONN")
	eventually(t, "accepted", func() bool { return r.server.Unidentified() == 1 })
	_ = r.ln.Close()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	wantEnd(t, c)
}

// fillingDisk takes the first write when it is told to, two lines of the next one
// that has more, and everything then.
type fillingDisk struct {
	recordBuffer
	asked, open chan struct{}
	writes      int
	full        bool
}

func (d *fillingDisk) Write(p []byte) (int, error) {
	if d.writes++; d.writes == 1 {
		close(d.asked)
		<-d.open
	}
	if lines := bytes.SplitAfter(p, []byte("\n")); len(lines) > 3 && !d.full {
		d.full = true
		n, _ := d.recordBuffer.Write(p[:len(lines[0])+len(lines[1])])
		return n, syscall.ENOSPC
	}
	return d.recordBuffer.Write(p)
}

// Permits are recorded many at once. Where the disk takes some of them, those are
// tunnels and have an end, and the others are refused.
func TestPermitsThatTheDiskTookBeforeItWasFullAreTunnels(t *testing.T) {
	o := newOrigin(t, echo)
	disk := &fillingDisk{asked: make(chan struct{}), open: make(chan struct{})}
	r := openRig(t, o, rigOptions{sink: disk})
	conns := []*net.TCPConn{}
	send := func() {
		c, _ := r.send(connectAs("billing", o.at("any.test")))
		conns = append(conns, c)
	}
	send()
	<-disk.asked
	for range 8 {
		send()
	}
	eventually(t, "all are dialed", func() bool { return o.connections(t) == 9 && r.value("egress_dials") == 0 })
	close(disk.open)
	answered := map[bool]int{}
	for _, c := range conns {
		line, err := bufio.NewReader(c).ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		answered[strings.Contains(line, " 200 ")]++
	}
	if answered[true] == 0 || answered[false] == 0 {
		t.Fatalf("%d permits passed and %d did not; the disk was not full between them", answered[true], answered[false])
	}
	closes(t, conns)
	eventually(t, "no tunnel is open", func() bool { return r.server.Open() == 0 })
	ids := func(event string) map[any]bool {
		all := map[any]bool{}
		for _, m := range disk.all(t) {
			if m["event"] == event {
				all[m["id"]] = true
			}
		}
		return all
	}
	eventually(t, "all ends are recorded", func() bool { return len(ids("closed")) >= answered[true] })
	opened, closed := ids("opened"), ids("closed")
	for id := range opened {
		if !closed[id] {
			t.Errorf("%v is recorded as opened and never as closed", id)
		}
	}
	if len(opened) != answered[true] {
		t.Errorf("%d records of openings, %d clients were told so", len(opened), answered[true])
	}
}

// What an event loop was dialing when Close came is refused on the record, as it is where
// a goroutine dials.
func TestCloseDuringADialOfALoopIsRecorded(t *testing.T) {
	port, _ := deafListener(t)
	r := stormRig(t, &origin{}, time.Minute, port)
	_, _ = r.send(connectAs("billing", fmt.Sprintf("h0.deaf.test:%d", port)))
	eventually(t, "dialing", func() bool { return r.value("egress_dials") == 1 })
	r.server.Close()
	if m := r.of("refused"); len(m) != 1 || m[0]["reason"] != "draining" {
		t.Errorf("records of what was being dialed: %v", m)
	}
	if n := r.value("egress_dials"); n != 0 {
		t.Errorf("%v dials are under way after Close", n)
	}
}
