//go:build torture

package torture

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// contact is a connection that an origin or a canary got.
type contact struct {
	at       time.Time
	local    netip.AddrPort
	role     role
	op       uint64 // 0: no byte said whose it is
	up, down int64
	first    position // of the records at the first byte
	whole    bool     // all that its plan says came and went
	wrong    string   // what came was not what its plan says
}

// role is what stands behind an address.
type role int

const (
	roleOrigin role = iota
	roleBehindToxics
	roleCanary
	roleMute // takes everything and says nothing
)

// request is a plain HTTP request that an origin got.
type request struct {
	at    time.Time
	local netip.AddrPort
	op    uint64
	first position
	body  int64
	odd   string // what no forwarded request has
}

// origins are all peers of the way out. Nothing in them knows TLS: the bytes of
// a ClientHello are bytes.
type origins struct {
	world     *world
	listeners []net.Listener
	servers   []*http.Server
	wait      sync.WaitGroup

	mu       sync.Mutex
	contacts []*contact
	requests []request
	open     map[net.Conn]bool
}

// The peers by the last two bytes of their addresses.
const (
	peers     = 4  // x.0.1 to x.0.4 are origins
	deadPeer  = 99 // nobody listens
	blackHole = 98 // takes no connection and says nothing
	mutePeer  = 97 // takes requests and does not answer them
)

// newOrigins opens all of them.
func newOrigins(w *world) (*origins, error) {
	o := &origins{world: w, open: map[net.Conn]bool{}}
	p := w.ports
	for n := byte(1); n <= peers; n++ {
		for _, port := range []uint16{p.tls, p.raw} {
			for _, net := range []byte{1, 2, 3} {
				if err := o.listen(netip.AddrPortFrom(addrOf(net, 0, n), port), roleOrigin); err != nil {
					return nil, err
				}
			}
			if err := o.listen(netip.AddrPortFrom(addrOf(1, 2, n), port), roleBehindToxics); err != nil {
				return nil, err
			}
		}
		for _, port := range []uint16{p.tls, p.raw, p.web, p.off} {
			if err := o.listen(netip.AddrPortFrom(addrOf(9, 0, n), port), roleCanary); err != nil {
				return nil, err
			}
		}
		for _, net := range []byte{1, 2, 3} {
			if err := o.listen(netip.AddrPortFrom(addrOf(net, 0, n), p.off), roleCanary); err != nil {
				return nil, err
			}
		}
		for _, net := range []byte{1, 2} {
			if err := o.serveWeb(netip.AddrPortFrom(addrOf(net, 0, n), p.web)); err != nil {
				return nil, err
			}
		}
	}
	if err := o.listen(netip.AddrPortFrom(addrOf(1, 0, mutePeer), p.web), roleMute); err != nil {
		return nil, err
	}
	return o, o.digHole(netip.AddrPortFrom(addrOf(1, 0, blackHole), p.tls))
}

// listen opens a peer of bare TCP.
func (o *origins) listen(at netip.AddrPort, r role) error {
	l, err := net.Listen("tcp", at.String())
	if err != nil {
		return fmt.Errorf("opening an origin: %w", err)
	}
	o.listeners = append(o.listeners, l)
	o.wait.Go(func() { o.accept(l, r) })
	return nil
}

// accept serves a peer's connections.
func (o *origins) accept(l net.Listener, r role) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		k := o.note(conn, r)
		o.wait.Go(func() { o.serve(conn, k) })
	}
}

// note writes a contact down.
func (o *origins) note(conn net.Conn, r role) *contact {
	k := &contact{at: time.Now(), local: netip.MustParseAddrPort(conn.LocalAddr().String()), role: r}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.contacts = append(o.contacts, k)
	o.open[conn] = true
	return k
}

// forget is the end of a contact.
func (o *origins) forget(conn net.Conn) {
	_ = conn.Close()
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.open, conn)
}

// serve reads the hello, where there is one, and the plan, and does its part.
func (o *origins) serve(conn net.Conn, k *contact) {
	defer o.forget(conn)
	_ = conn.SetDeadline(time.Now().Add(2 * time.Minute))
	if k.role == roleMute {
		_, _ = io.Copy(io.Discard, conn)
		return
	}
	in := bufio.NewReader(&counted{Conn: conn, n: &k.up, first: func() { k.first = o.world.sink.mark() }})
	var hello []byte
	if b, err := in.Peek(1); err != nil {
		return
	} else if b[0] == 0x16 {
		header, err := in.Peek(5)
		if err != nil {
			return
		}
		hello = make([]byte, 5+int(header[3])<<8+int(header[4]))
		n, err := io.ReadFull(in, hello)
		k.op = operationIn(hello[:n])
		if err != nil {
			return
		}
	}
	line, err := in.ReadString('\n')
	if m := planBegins.FindStringSubmatch(line); m != nil && k.op == 0 {
		k.op, _ = strconv.ParseUint(m[1], 10, 64)
	}
	if err != nil || strings.HasPrefix(line, notTLS) {
		return
	}
	t, err := parseTransfer(line)
	if err != nil || k.op != 0 && k.op != t.op {
		k.wrong = fmt.Sprintf("plan %.60q of operation %d behind the hello of %d", line, t.op, k.op)
		return
	}
	k.op = t.op
	o.transfer(conn, in, k, t)
}

// transfer takes and gives what the plan says.
func (o *origins) transfer(conn net.Conn, in *bufio.Reader, k *contact, t transfer) {
	r := rand.New(rand.NewPCG(t.op, 2))
	var sent error
	var sending sync.WaitGroup
	if t.end != endHalf {
		sending.Go(func() { k.down, sent = t.send(conn, r, t.down, downward) })
	}
	got := t.check(in, t.up, upward)
	if got != nil {
		if errors.Is(got, errCrossed) {
			k.wrong = got.Error()
		}
		_ = conn.(*net.TCPConn).SetLinger(0)
		_ = conn.Close()
		sending.Wait()
		return
	}
	sending.Wait()
	if t.end == endHalf {
		// The client says that no more comes; only then does the answer.
		if b, err := in.ReadByte(); err != io.EOF {
			if err == nil {
				k.wrong = fmt.Sprintf("byte %#x where the client's stream ends", b)
			}
			return
		}
		k.down, sent = t.send(conn, r, t.down, downward)
	}
	if sent != nil {
		return
	}
	if t.end == endOrigin {
		k.whole = conn.(*net.TCPConn).CloseWrite() == nil
		_, _ = io.Copy(io.Discard, in)
		return
	}
	n, err := io.Copy(io.Discard, in)
	if n > 0 {
		k.wrong = fmt.Sprintf("%d bytes more than the plan says", n)
	}
	k.whole = err == nil
}

// counted counts what is read.
type counted struct {
	net.Conn
	n     *int64
	first func()
}

// Read reads and counts.
func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && *c.n == 0 {
		c.first()
	}
	*c.n += int64(n)
	return n, err
}

// planBegins finds the number of an operation in the beginning of a plan.
var planBegins = regexp.MustCompile(`^T ([0-9]+) `)

// operationName finds the number of an operation in a name of it.
var operationName = regexp.MustCompile(`o([0-9]+)-[a-z0-9]+\.[a-z]+\.test`)

// operationIn returns the number in the first name of an operation, 0: there is none.
func operationIn(b []byte) uint64 {
	m := operationName.FindSubmatch(b)
	if m == nil {
		return 0
	}
	n, _ := strconv.ParseUint(string(m[1]), 10, 64)
	return n
}

// serveWeb opens an origin of plain HTTP.
func (o *origins) serveWeb(at netip.AddrPort) error {
	l, err := net.Listen("tcp", at.String())
	if err != nil {
		return fmt.Errorf("opening an origin: %w", err)
	}
	s := &http.Server{
		Handler: http.HandlerFunc(o.answer), IdleTimeout: time.Second, ErrorLog: log.New(io.Discard, "", 0),
		ConnState: func(c net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				o.note(c, roleOrigin) // its requests say whose it is
			case http.StateClosed:
				o.forget(c)
			}
		},
	}
	o.servers = append(o.servers, s)
	o.wait.Go(func() { _ = s.Serve(l) })
	return nil
}

// forbiddenFields never reach an origin.
var forbiddenFields = []string{"Proxy-Authorization", "Proxy-Connection", "Connection", "Te", "Upgrade", "X-Hop"}

// answer answers a plain request with as many bytes as its query asks for.
func (o *origins) answer(w http.ResponseWriter, r *http.Request) {
	q := request{
		at: time.Now(), op: operationIn([]byte(r.Host)), first: o.world.sink.mark(),
		local: netip.MustParseAddrPort(r.Context().Value(http.LocalAddrContextKey).(net.Addr).String()),
	}
	for _, name := range forbiddenFields {
		if len(r.Header[name]) > 0 {
			q.odd = fmt.Sprintf("field %s reached the origin", name)
		}
	}
	if !strings.HasSuffix(r.Host, fmt.Sprintf(":%d", o.world.ports.web)) || r.Header.Get("Via") == "" {
		q.odd = fmt.Sprintf("Host %q, Via %q", r.Host, r.Header.Get("Via"))
	}
	t := transfer{op: q.op}
	t.down, _ = strconv.ParseInt(r.URL.Query().Get("down"), 10, 64)
	body := bufio.NewReader(r.Body)
	if n := r.ContentLength; n > 0 {
		if err := t.check(body, n, upward); errors.Is(err, errCrossed) {
			q.odd = err.Error()
		} else if err == nil {
			q.body = n
		}
	} else if n, err := io.Copy(io.Discard, body); err == nil {
		q.body = n
	}
	o.mu.Lock()
	o.requests = append(o.requests, q)
	o.mu.Unlock()
	if r.URL.Query().Get("length") != "" {
		w.Header().Set("Content-Length", strconv.FormatInt(t.down, 10))
	}
	if r.Method != http.MethodHead {
		_, _ = w.Write(pattern(nil, t.op, downward, 0, t.down))
	}
}

// digHole makes an address that never answers a SYN: the listener's queue is
// full.
func (o *origins) digHole(at netip.AddrPort) error {
	hole, err := listenWithoutRoom(at)
	if err != nil {
		return err
	}
	o.listeners = append(o.listeners, hole)
	for range 8 {
		d := net.Dialer{Timeout: 300 * time.Millisecond}
		if c, err := d.Dial("tcp", at.String()); err == nil {
			o.listeners = append(o.listeners, closer{c})
		}
	}
	return nil
}

// reset ends what is still open and forgets a round.
func (o *origins) reset() (contacts []*contact, requests []request) {
	o.mu.Lock()
	for c := range o.open {
		_ = c.Close()
	}
	o.mu.Unlock()
	for end := time.Now().Add(10 * time.Second); o.busy() > 0 && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	contacts, requests = o.contacts, o.requests
	o.contacts, o.requests = nil, nil
	return contacts, requests
}

// busy returns how many contacts are open.
func (o *origins) busy() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.open)
}

// close closes all peers.
func (o *origins) close() {
	for _, l := range o.listeners {
		_ = l.Close()
	}
	for _, s := range o.servers {
		_ = s.Close()
	}
	o.reset()
	o.wait.Wait()
}
