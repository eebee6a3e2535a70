package proxy_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/proxy"
)

// examiner is an origin that reads every message with two parsers and says
// where they differ, or where a message has what no origin may see.
type examiner struct {
	*plainRig
	sent     sync.Map     // what clients sent, by the name in the path
	messages atomic.Int64 // whole messages that came
	open     atomic.Int64 // connections to the origin

	mu    sync.Mutex
	wrong []string
}

// newExaminer starts a proxy in front of an examining origin.
func newExaminer(t testing.TB) *examiner {
	t.Helper()
	x := &examiner{}
	x.plainRig = newPlainRigFor(t, newOrigin(t, x.serve), proxy.Limits{HeaderBytes: 8 << 10})
	return x
}

// report keeps what is wrong with the bytes that an origin got.
func (x *examiner) report(what string, got []byte) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.wrong = append(x.wrong, fmt.Sprintf("%s\nthe origin got %q", what, got))
}

// faults returns what was found since the last call.
func (x *examiner) faults() []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	found := x.wrong
	x.wrong = nil
	return found
}

// serve reads messages of a connection until it ends and answers each.
func (x *examiner) serve(c net.Conn) {
	x.open.Add(1)
	defer x.open.Add(-1)
	var got []byte
	room := make([]byte, 16<<10)
	for {
		n, err := c.Read(room)
		got = append(got, room[:n]...)
		for len(got) > 0 {
			m, size, parse := reader{}.read(got)
			if errors.Is(parse, errPartial) {
				break
			}
			if parse != nil {
				x.report(parse.Error(), got)
				return
			}
			x.examine(&m, got[:size])
			got = got[size:]
			answer := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
			if m.method == http.MethodHead {
				answer = strings.TrimSuffix(answer, "ok")
			}
			if _, err := io.WriteString(c, answer); err != nil {
				return
			}
		}
		if err != nil {
			// What is left was cut by the proxy: nobody may take it for whole.
			if _, err := readLeniently(got); err == nil {
				x.report("net/http takes for whole what is not", got)
			}
			return
		}
	}
}

// oneHop are the fields that no origin may see.
var oneHop = []string{"connection", "keep-alive", "te", "trailer", "upgrade", "http2-settings"}

// examine compares the two readings of one message and looks for what does not
// belong into it.
func (x *examiner) examine(m *message, raw []byte) {
	x.messages.Add(1)
	other, err := readLeniently(raw)
	if err != nil {
		x.report("net/http: "+err.Error(), raw)
		return
	}
	if other.method != m.method || other.target != m.target || other.host != m.host || other.framing != m.framing || other.body != m.body {
		x.report(fmt.Sprintf("read as %+v, and by net/http as %+v", m, other), raw)
	}
	if m.host != x.host {
		x.report("the Host is not the one that was judged", raw)
	}
	if strings.Contains(m.target, "smuggled") || strings.Contains(strings.ToLower(m.target), "://") && m.target[0] != '/' {
		x.report("this request was never judged", raw)
	}
	if via := m.values("via"); len(via) == 0 || !strings.HasSuffix(via[len(via)-1], " egress") {
		x.report("Via does not name the proxy", raw)
	}
	for _, f := range m.fields {
		for _, name := range oneHop {
			if f[0] == name && !x.ownClose(m, f) && !x.switches(m, f) {
				x.report(name+" is of one hop", raw)
			}
		}
		if strings.HasPrefix(f[0], "proxy-") {
			x.report(f[0]+" is for the proxy", raw)
		}
	}
	x.asked(m, raw)
}

// ownClose reports whether a field is the proxy's own: it ends a connection after
// content that the method should not have.
func (x *examiner) ownClose(m *message, f [2]string) bool {
	custom := m.method == "POST" || m.method == "PUT" || m.method == "PATCH"
	return f[0] == "connection" && f[1] == "close" && !custom && m.framing != "none"
}

// switches reports whether a field is part of a request to become a tunnel, which the
// rule of the test lets pass: to any protocol but HTTP/2.
func (x *examiner) switches(m *message, f [2]string) bool {
	to := strings.ToLower(strings.Join(m.values("upgrade"), ","))
	own := len(m.values("connection")) == 1 && m.values("connection")[0] == "Upgrade"
	return own && m.body == "" && to != "" && !strings.Contains(to, "h2c") && (f[0] == "connection" || f[0] == "upgrade")
}

// named finds the name of a request of the test in its path.
var named = regexp.MustCompile(`^/t/([0-9a-f]{16})\b`)

// asked looks for the message in what the client sent, read strictly: the proxy
// may have understood nothing else. What stands behind bytes that cannot be
// read so is not a request.
func (x *examiner) asked(m *message, raw []byte) {
	id := named.FindStringSubmatch(m.target)
	if id == nil {
		return // the test itself has changed the path
	}
	sent, known := x.sent.Load(id[1])
	if !known {
		return // or the name
	}
	rest := []byte(sent.(string))
	for {
		read, n, err := reader{client: true}.read(rest)
		if err != nil {
			x.report(fmt.Sprintf("nobody asked for this: %v\nin %q", err, sent), raw)
			return
		}
		if read.method == m.method && read.body == m.body && strings.HasSuffix(read.target, m.target) {
			x.nominated(&read, m, raw)
			return
		}
		rest = rest[n:]
	}
}

// nominated looks for the fields that the client's Connection named.
func (x *examiner) nominated(sent, m *message, raw []byte) {
	for _, value := range sent.values("connection") {
		for option := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.Trim(option, " \t"), "X-Hop") && len(m.values("x-hop")) > 0 {
				x.report("X-Hop was named in Connection", raw)
			}
		}
	}
}

// send sends bytes to the proxy on a connection of their own and waits until
// it has ended it.
func (x *examiner) send(raw string) (answered []byte) {
	c, err := net.Dial("tcp", x.addr)
	if err != nil {
		x.report(err.Error(), nil)
		return nil
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	// The proxy may have refused it before its end: then it reads no more.
	_, _ = io.WriteString(c, raw)
	_ = c.(*net.TCPConn).CloseWrite()
	answered, err = io.ReadAll(c)
	if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
		x.report("the proxy neither answers nor ends", []byte(raw))
	}
	return answered
}

// TestOriginNeverSeesAMessageThatTwoParsersReadInTwoWays sends requests of
// every kind that smuggling is made of, and mixtures of them. What comes out is
// read with a strict parser and with net/http, and looked for in what went in.
func TestOriginNeverSeesAMessageThatTwoParsersReadInTwoWays(t *testing.T) {
	t.Parallel()
	cases := 3000
	if testing.Short() {
		cases = 500
	}
	x := newExaminer(t)
	var next, forwarded, refused atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for n := next.Add(1); n <= int64(cases); n = next.Add(1) {
				g := gadgets{Rand: rand.New(rand.NewPCG(uint64(n), 9112)), host: x.host}
				id, raw := g.request()
				x.sent.Store(id, raw)
				before, _, _ := bytes.Cut(x.send(raw), []byte("\r\n"))
				switch {
				case bytes.HasPrefix(before, []byte("HTTP/1.1 200 ")), bytes.HasPrefix(before, []byte("HTTP/1.1 100 ")):
					forwarded.Add(1)
				default:
					refused.Add(1)
				}
			}
		})
	}
	wg.Wait()
	x.quiet()
	for i, fault := range x.faults() {
		if i < 10 {
			t.Error(fault)
		}
	}
	t.Logf("%d forwarded, %d refused, %d messages at the origin", forwarded.Load(), refused.Load(), x.messages.Load())
	// Were everything refused, nothing would have been shown.
	if f, r := forwarded.Load(), refused.Load(); f < int64(cases)/5 || r < int64(cases)/5 || x.messages.Load() < f {
		t.Errorf("%d forwarded, %d refused, %d messages at the origin", f, r, x.messages.Load())
	}
}

// quiet waits until the origin has looked at everything: idle connections of
// the pool are ended, and so are their readers.
func (x *examiner) quiet() {
	x.cancel()
	<-x.ran
	x.server.Close()
	eventually(x.t, "no connection to the origin", func() bool { return x.open.Load() == 0 })
}

// FuzzForwarded is the same for bytes that a fuzzer makes of requests. HOST and
// AUTH stand for the authority and the credential, so that it does not have to
// find them.
func FuzzForwarded(f *testing.F) {
	for n := range 60 {
		g := gadgets{Rand: rand.New(rand.NewPCG(uint64(n), 1)), host: "HOST"}
		_, raw := g.request()
		f.Add([]byte(strings.ReplaceAll(raw, auth("billing"), "AUTH")))
	}
	for _, to := range []string{"websocket", "0", "h2c", "0, H2C"} {
		f.Add([]byte("GET http://HOST/ HTTP/1.1\r\nHost: a\r\nUpgrade: " + to + "\r\nConnection: upgrade\r\nAUTH\r\n\r\n"))
	}
	f.Add([]byte("OPTIONS http://HOST/100% HTTP/1.0\r\nHost: a\r\nAUTH\r\n\r\n"))
	x := newExaminer(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) > 32<<10 || bytes.Contains(raw, []byte("CONNECT")) {
			return // what goes through a tunnel is not the proxy's to read
		}
		x.send(strings.NewReplacer("HOST", x.host, "AUTH", auth("billing")).Replace(string(raw)))
		for _, fault := range x.faults() {
			t.Errorf("%s\nof %q", fault, raw)
		}
	})
}
