//go:build torture

package torture

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// patience bounds every wait of a client. What takes longer hangs.
const patience = 25 * time.Second

// clients run operations and keep them.
type clients struct {
	world *world
	next  uint64 // the number of the next operation; only the dispatcher's
	slots chan struct{}
	total int // of the weights of recipes

	running sync.WaitGroup
	ending  context.Context // ends when the load has to

	mu   sync.Mutex
	done []*operation
}

// manyAtOnce bounds how many clients there are at one time.
const manyAtOnce = 160

// newClients makes clients without operations.
func newClients(w *world) *clients {
	c := &clients{world: w, slots: make(chan struct{}, manyAtOnce), next: 1}
	for _, one := range recipes {
		c.total += w.options.weight(one)
	}
	return c
}

// run starts operations at the rate of the options until ctx ends, then waits
// for those that run. Who is idle is told to go.
func (c *clients) run(ctx context.Context) {
	var stop context.CancelFunc
	c.ending, stop = context.WithCancel(context.Background())
	tick := time.NewTicker(time.Second / time.Duration(c.world.options.rate))
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
			c.dispatch()
		}
	}
	stop()
	c.running.Wait()
}

// dispatch starts one operation, or a series, if there is room.
func (c *clients) dispatch() {
	select {
	case c.slots <- struct{}{}:
	default:
		return
	}
	id := c.next
	c.next += seriesLength
	r := rand.New(rand.NewPCG(c.world.options.seed, id))
	c.running.Go(func() {
		defer func() { <-c.slots }()
		if r.IntN(100) < seriesShare && !c.world.options.targeted() {
			c.keep(c.series(r, id)...)
			return
		}
		c.keep(c.single(r, id))
	})
}

// keep files operations that have ended.
func (c *clients) keep(all ...*operation) {
	for _, o := range all {
		if o.end.IsZero() {
			o.end = time.Now()
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done = append(c.done, all...)
}

// reset forgets a round.
func (c *clients) reset() (all []*operation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	all, c.done = c.done, nil
	return all
}

// single plans one operation and carries it out.
func (c *clients) single(r *rand.Rand, id uint64) *operation {
	o := newOperation(c.world, r, id)
	at := r.IntN(c.total)
	for _, one := range recipes {
		if at -= c.world.options.weight(one); at < 0 {
			o.kind = one.kind
			one.plan(c.world, r, o)
			break
		}
	}
	if o.kind == "" {
		return o
	}
	o.start = time.Now()
	if o.method == "LOOKUP" {
		c.lookup(o)
	} else {
		c.connect(r, o)
	}
	return o
}

// dial connects to the program, from the client's own address where no bad
// network is between.
func (c *clients) dial(o *operation) (*net.TCPConn, error) {
	d := net.Dialer{Timeout: 5 * time.Second}
	to := o.network
	if to == "" {
		to = fmt.Sprintf("127.0.0.1:%d", c.world.ports.proxy)
		from := o.source
		if o.balancer != "" {
			from = addrOf(90, byte(o.id>>8), byte(o.id))
		}
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	}
	conn, err := d.Dial("tcp", to)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	return conn.(*net.TCPConn), nil
}

// authorization returns the field of the credential.
func (o *operation) authorization() string {
	token := tokenOf(o.function)
	switch o.credential {
	case awsToken, forgedToken:
		return o.attestedField()
	case noToken:
		return ""
	case badToken:
		token = "wrong" + token
	}
	return "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(o.function+":"+token)) + "\r\n"
}

// connect carries out a CONNECT.
func (c *clients) connect(r *rand.Rand, o *operation) {
	conn, err := c.dial(o)
	if err != nil {
		o.outcome, o.detail = nothing, err.Error()
		return
	}
	defer conn.Close()
	head := o.raw
	if head == "" {
		head = "CONNECT " + o.target() + " HTTP/1.1\r\nHost: " + o.target() + "\r\n" + o.authorization() + "\r\n"
	}
	head = o.proxyHeader() + head
	first := o.first()
	if o.early && o.abort == 0 {
		head += string(first)
		o.sent = int64(len(first))
	}
	if !c.sendHead(r, o, conn, head) {
		return
	}
	in := bufio.NewReaderSize(conn, 16<<10)
	if !c.readAnswer(o, in) {
		return
	}
	o.passedAt = time.Now()
	if o.abort == abortAnswer {
		c.leave(o, conn)
		return
	}
	if !o.early || o.abort != 0 {
		if !c.sendFirst(r, o, conn, first) {
			return
		}
	}
	c.throughTunnel(r, o, conn, in)
	o.tailSeen = c.world.sink.mark()
}

// proxyHeader is what a load balancer sends ahead of its client.
func (o *operation) proxyHeader() string {
	switch a := o.source.As4(); o.balancer {
	case balancerV1:
		return fmt.Sprintf("PROXY TCP4 %s 127.0.0.1 4000 3128\r\n", o.source)
	case balancerV2:
		return "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + string(a[:]) + "\x7f\x00\x00\x01\x0f\xa0\x0c\x38"
	case balancerBad:
		return "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x02ab"
	}
	return ""
}

// leave goes away.
func (c *clients) leave(o *operation, conn *net.TCPConn) {
	if o.reset {
		_ = conn.SetLinger(0)
	}
	_ = conn.Close()
	if o.outcome == "" {
		o.outcome = quit
	}
	o.tail = tailQuit
}

// sendHead sends the head, slowly or in part where the plan says so. It returns
// whether an answer is waited for.
func (c *clients) sendHead(r *rand.Rand, o *operation, conn *net.TCPConn, head string) bool {
	switch o.abort {
	case abortConnected:
		c.leave(o, conn)
		return false
	case abortMidHead:
		head = head[:r.IntN(len(head))]
	}
	piece := len(head)
	if o.slow > 0 {
		piece = max(1, len(head)/4)
	}
	for len(head) > 0 {
		n := min(piece, len(head))
		if _, err := io.WriteString(conn, head[:n]); err != nil {
			break // the answer may be there all the same
		}
		if head = head[n:]; len(head) > 0 {
			time.Sleep(time.Duration(o.slow) * time.Millisecond)
		}
	}
	if o.abort == abortMidHead || o.abort == abortHead {
		if r.IntN(2) == 0 {
			time.Sleep(time.Duration(r.IntN(20)) * time.Millisecond)
		}
		c.leave(o, conn)
		return false
	}
	return true
}

// readAnswer reads the program's answer to a CONNECT and returns whether it
// lets the client through.
func (c *clients) readAnswer(o *operation, in *bufio.Reader) bool {
	resp, err := http.ReadResponse(in, &http.Request{Method: http.MethodConnect})
	if err != nil {
		o.outcome, o.detail = endOf(in, err), err.Error()
		return false
	}
	if resp.StatusCode == http.StatusOK {
		o.outcome, o.status, o.seen = passed, resp.StatusCode, c.world.sink.mark()
		return true
	}
	c.readRefusal(o, resp)
	return false
}

// endOf tells a connection that ended before an answer from one that ended in it.
func endOf(in *bufio.Reader, err error) outcome {
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return hung
	case errors.Is(err, io.ErrUnexpectedEOF) && in.Buffered() > 0:
		return torn
	default:
		return nothing
	}
}

// readRefusal reads a refusal to its end.
func (c *clients) readRefusal(o *operation, resp *http.Response) {
	o.status, o.reason, o.recordID = resp.StatusCode, resp.Header.Get("X-Egress-Reason"), resp.Header.Get("X-Egress-Request-Id")
	o.seen = c.world.sink.mark()
	body, err := io.ReadAll(resp.Body)
	o.outcome = refused
	switch {
	case err != nil:
		o.outcome, o.detail = torn, err.Error()
	case resp.StatusCode == http.StatusProxyAuthRequired && len(body) > 0:
		o.detail = "a 407 with content"
	case resp.StatusCode != http.StatusProxyAuthRequired && o.method != http.MethodHead && !bytes.Contains(body, []byte(o.recordID)):
		o.detail = "the text does not name the request"
	}
}

// first is what the client sends before the transfer: the hello, where the rule
// wants one.
func (o *operation) first() []byte {
	if o.zone == zoneRaw || o.zone == zonePorts || o.literal.IsValid() {
		return nil
	}
	switch o.hello {
	case helloWrong:
		return clientHello(fmt.Sprintf("o%d-one.other.test", o.id))
	case helloNone:
		return clientHello("")
	case helloNotTLS:
		return []byte(notTLS + "-OpenSSH_9.6\r\n")
	case helloSilent:
		return nil
	}
	return clientHello(o.host)
}

// sendFirst sends what comes first in the tunnel, and returns whether the
// client stays.
func (c *clients) sendFirst(r *rand.Rand, o *operation, conn *net.TCPConn, first []byte) bool {
	if (o.abort == abortMidHello || o.hello == helloCut) && len(first) > 0 {
		first = first[:1+r.IntN(len(first)-1)]
	}
	cut := 0
	if r.IntN(4) == 0 && len(first) > 0 {
		cut = r.IntN(len(first))
	}
	for _, part := range [][]byte{first[:cut], first[cut:]} {
		n, err := conn.Write(part)
		o.sent += int64(n)
		if err != nil {
			break // its end is read
		}
	}
	if o.abort == abortMidHello || o.abort == abortHello || o.hello == helloCut {
		c.leave(o, conn)
		return false
	}
	return true
}
