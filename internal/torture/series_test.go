//go:build torture

package torture

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	// seriesLength is the most requests of one connection.
	seriesLength = 4
	// seriesShare is how many connections of a hundred carry plain HTTP.
	seriesShare = 14
)

// series plans some plain requests and sends them over one connection: one
// after the other, or all at once. Behind a refusal nothing may come of any.
func (c *clients) series(r *rand.Rand, id uint64) []*operation {
	who := newOperation(c.world, r, id)
	switch n := r.IntN(12); {
	case n < 2:
		who.bySource(r)
	case n < 3:
		who.credential, who.function = noToken, ""
	case n < 5:
		who.attest(pick(r, c.world.issuer, c.world.fetched.issuer), r, r.IntN(4) == 0)
	}
	all := make([]*operation, 1+r.IntN(seriesLength))
	for i := range all {
		all[i] = c.planPlain(r, id+uint64(i), who)
		all[i].start = time.Now()
	}
	conn, err := c.dial(all[0])
	if err != nil {
		for _, o := range all {
			o.outcome, o.detail = nothing, err.Error()
		}
		return all
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	if pipelined := r.IntN(3) == 0; pipelined {
		var text strings.Builder
		for _, o := range all {
			text.WriteString(o.raw)
		}
		_, _ = io.WriteString(conn, text.String())
		for i, o := range all {
			if !c.readResponse(o, in) {
				for _, rest := range all[i+1:] {
					rest.behind, rest.outcome = o.outcome == refused, quit
				}
				break
			}
		}
		return all
	}
	for i, o := range all {
		o.start = time.Now()
		_, _ = io.WriteString(conn, o.raw)
		if !c.readResponse(o, in) {
			return all[:i+1]
		}
		o.end = time.Now()
	}
	return all
}

// planPlain plans a plain request of a client and writes it out.
func (c *clients) planPlain(r *rand.Rand, id uint64, who *operation) *operation {
	o := newOperation(c.world, r, id)
	o.source, o.function, o.credential = who.source, who.function, who.credential
	o.token, o.key, o.basic = who.token, who.key, who.basic
	o.kind, o.port, o.method = "plain request", c.world.ports.web, pick(r, "GET", "GET", "POST", "HEAD")
	o.transfer.up, o.transfer.down = r.Int64N(20<<10), r.Int64N(40<<10)
	switch r.IntN(8) {
	case 0:
		o.kind = "plain request that is refused"
		o.name("one", pick(r, zoneNever, zoneBoth, zoneDenied))
	case 1:
		o.kind = "plain request that fails"
		o.name(pick(r, "mix", "canary", "dead", "nx", "flip"), zoneWeb)
	default:
		o.name(pick(r, "one", "third", "alias"), zoneWeb)
	}
	length := ""
	if r.IntN(2) == 0 {
		length = "&length=1"
	}
	body := ""
	fields := "X-Hop: 1\r\nConnection: X-Hop\r\nProxy-Connection: keep-alive\r\nTE: trailers\r\n"
	if o.method == "POST" {
		body = string(pattern(nil, id, upward, 0, o.transfer.up))
		if r.IntN(2) == 0 {
			fields += fmt.Sprintf("Content-Length: %d\r\n", len(body))
		} else {
			fields += "Transfer-Encoding: chunked\r\n"
			body = chunked(body, r)
		}
	}
	o.raw = fmt.Sprintf("%s http://%s/?down=%d%s HTTP/1.1\r\nHost: %s\r\n%s%s\r\n%s",
		o.method, o.target(), o.transfer.down, length, o.target(), o.authorization(), fields, body)
	return o
}

// chunked writes a body in chunks.
func chunked(body string, r *rand.Rand) string {
	var b strings.Builder
	for len(body) > 0 {
		n := 1 + r.IntN(len(body))
		fmt.Fprintf(&b, "%x\r\n%s\r\n", n, body[:n])
		body = body[n:]
	}
	return b.String() + "0\r\n\r\n"
}

// readResponse reads the answer to one plain request and returns whether the
// connection goes on.
func (c *clients) readResponse(o *operation, in *bufio.Reader) bool {
	resp, err := http.ReadResponse(in, &http.Request{Method: o.method})
	if err != nil {
		o.outcome, o.detail = endOf(in, err), err.Error()
		return false
	}
	defer resp.Body.Close()
	if resp.Header.Get("X-Egress-Reason") != "" {
		c.readRefusal(o, resp)
		return false
	}
	o.outcome, o.status, o.seen, o.passedAt = passed, resp.StatusCode, c.world.sink.mark(), time.Now()
	want := o.transfer.down
	if o.method == http.MethodHead {
		want = 0
	}
	o.tail = tailOf(o, o.transfer.check(bufio.NewReader(&countedReader{resp.Body, &o.got}), want, downward))
	if o.tail == tailWhole {
		if n, err := io.Copy(io.Discard, resp.Body); n > 0 || err != nil {
			o.tail, o.detail = tailCut, fmt.Sprintf("%d bytes behind the last, %v", n, err)
		}
	}
	if resp.Header.Get("Via") == "" || resp.Header.Get("X-Egress-Request-Id") != "" {
		o.detail = "the fields are not those of an answer that was handed on"
	}
	return o.tail == tailWhole && !resp.Close
}

// lookup asks the DNS filter.
func (c *clients) lookup(o *operation) {
	q := new(dns.Msg).SetQuestion(dns.Fqdn(o.host), o.qtype)
	q.SetEdns0(1232, false)
	at := netip.AddrPortFrom(o.source, 0)
	d := &net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(at), Timeout: 5 * time.Second}
	if o.proto == "tcp" {
		d.LocalAddr = net.TCPAddrFromAddrPort(at)
	}
	exchange := dns.Client{Net: o.proto, Timeout: 12 * time.Second, Dialer: d}
	m, _, err := exchange.Exchange(q, fmt.Sprintf("127.0.0.1:%d", c.world.ports.dns))
	o.seen = c.world.sink.mark()
	if err != nil {
		o.outcome, o.detail = nothing, err.Error()
		return
	}
	o.outcome, o.status, o.passedAt = passed, m.Rcode, time.Now()
	for _, rr := range m.Answer {
		if a, ok := rr.(*dns.A); ok {
			addr, _ := netip.AddrFromSlice(a.A)
			o.addrs = append(o.addrs, addr.Unmap())
		}
	}
	slices.SortFunc(o.addrs, netip.Addr.Compare)
	if opt := m.IsEdns0(); opt != nil {
		for _, option := range opt.Option {
			if e, ok := option.(*dns.EDNS0_EDE); ok && e.ExtraText != "" {
				o.outcome, o.reason = refused, e.ExtraText
			}
		}
	}
}
