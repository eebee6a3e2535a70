package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/proxy"
)

// pairs is how many random requests and answers are tried: EGRESS_PAIRS of them, where
// that is set.
func pairs(t *testing.T) int {
	t.Helper()
	n, err := strconv.Atoi(os.Getenv("EGRESS_PAIRS"))
	switch {
	case err == nil:
		return n
	case testing.Short():
		return 200
	default:
		return 1000
	}
}

// eachPair calls f with a source of chance for each pair, a few at a time.
func eachPair(t *testing.T, f func(g *chance)) {
	t.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	n := int64(pairs(t))
	for range 4 {
		wg.Go(func() {
			for i := next.Add(1); i <= n && !t.Failed(); i = next.Add(1) {
				f(&chance{Rand: rand.New(rand.NewPCG(uint64(i), 9110)), id: fmt.Sprintf("%06d", i)})
			}
		})
	}
	wg.Wait()
}

// chance makes messages.
type chance struct {
	*rand.Rand
	id string
}

// pick returns one of them.
func (g *chance) pick(all ...string) string { return all[g.IntN(len(all))] }

// bytes returns up to n of the letters.
func (g *chance) bytes(n int, letters string) string {
	b := make([]byte, g.IntN(n+1))
	for i := range b {
		b[i] = letters[g.IntN(len(letters))]
	}
	return string(b)
}

const (
	tokens  = "abcXYZ019!#$%&'*+-.^_`|~"
	targets = "abcXYZ019!$&'()*+,;=:@/?%-._~\"<>[]^`{|}"
)

// fields returns field lines, a few of which are of one hop.
func (g *chance) fields() string {
	var b strings.Builder
	for range g.IntN(9) {
		name := "x" + g.bytes(12, tokens)
		if g.IntN(3) == 0 {
			name = g.pick("Accept", "COOKIE", "cookie", "User-Agent", "date", "Content-Type", "content-encoding", "Authorization", "ETag", "X-Egress", "Set-Cookie", "Server", "Warning")
		}
		value := g.bytes(30, "abc XYZ\t,;=\"'\xe4\xff/09")
		fmt.Fprintf(&b, "%s:%s%s%s\r\n", name, g.pick("", " ", "  ", "\t"), strings.Trim(value, " \t"), g.pick("", "", " "))
	}
	switch g.IntN(6) {
	case 0:
		b.WriteString("Connection: X-Hop, keep-alive\r\nx-hop: 1\r\nKeep-Alive: timeout=5\r\nX-HOP: 2\r\n")
	case 1:
		b.WriteString("TE: trailers\r\nProxy-Foo: 1\r\nUpgrade: h2c\r\n")
	}
	return b.String()
}

// content returns the field that frames content, and the content as it is sent.
func (g *chance) content() (field, raw string) {
	text := g.bytes(g.pickInt(10, 500, 20000), "0123456789abcdef\r\n")
	if g.IntN(2) == 0 {
		return g.pick("Content-Length", "content-length") + ": " + strconv.Itoa(len(text)) + "\r\n", text
	}
	var b strings.Builder
	for text != "" {
		n := min(1+g.IntN(3000), len(text))
		fmt.Fprintf(&b, "%s%x%s\r\n%s\r\n", g.pick("", "", "0"), n, g.pick("", "", ";a=b"), text[:n])
		text = text[n:]
	}
	return g.pick("Transfer-Encoding: chunked\r\n", "TRANSFER-ENCODING:Chunked\r\n"), b.String() + "0\r\n" + g.pick("", "", "X-Trailer: 1\r\n") + "\r\n"
}

func (g *chance) pickInt(all ...int) int { return all[g.IntN(len(all))] }

// request returns a request, in the form that an origin is sent.
func (g *chance) request(host string) string {
	method := g.pick("GET", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
	field, raw := "", ""
	if method[0] == 'P' || g.IntN(8) == 0 {
		field, raw = g.content()
	}
	return method + " /" + g.id + "/" + g.bytes(40, targets) + " HTTP/1.1\r\nHost: " + host + "\r\n" + g.fields() + field + g.fields() + "\r\n" + raw
}

// answer returns an answer to a request of the method, interim ones before it.
func (g *chance) answer(method string) string {
	var b strings.Builder
	for range g.IntN(5) / 2 {
		b.WriteString("HTTP/1.1 103 " + g.bytes(9, "abc ") + "\r\n" + g.fields() + "\r\n")
	}
	status := g.pick("200", "200", "200", "201", "204", "206", "299", "304", "404", "500", "599")
	b.WriteString("HTTP/1.1 " + status + " " + g.bytes(20, "abc XYZ\xe4") + "\r\n" + g.fields())
	field, raw := g.content()
	switch {
	case status == "204":
		field, raw = "", ""
	case method == "HEAD" || status == "304":
		raw = ""
	case g.IntN(4) == 0:
		field, raw = "", g.bytes(3000, "abc\r\n") // to the end of the connection
	}
	return b.String() + field + g.fields() + "\r\n" + raw
}

// shape is what has to be the same of a message with and without a proxy.
type shape struct {
	heads   []string // each without what is of one hop
	framing string
	content string
}

// shapeOf reads a message: a request, or the answers to one of the method.
func shapeOf(raw []byte, method string) (s shape, err error) {
	for {
		head, rest, ok := bytes.Cut(raw, []byte("\r\n\r\n"))
		if !ok {
			return s, fmt.Errorf("no end of a head in %q", raw)
		}
		lines := strings.Split(string(head), "\r\n")
		left, framing, length := stripped(lines)
		s.heads = append(s.heads, left)
		raw = rest
		status, _ := strings.CutPrefix(lines[0], "HTTP/1.1 ")
		if len(status) != len(lines[0]) && status[0] == '1' {
			continue
		}
		isAnswer := len(status) != len(lines[0])
		s.framing = framing
		switch {
		case isAnswer && (method == "HEAD" || status[:3] == "204" || status[:3] == "304"):
		case framing == "chunked":
			m := message{}
			n, err := reader{client: true}.chunks(&m, raw)
			if err != nil || n != len(raw) {
				return s, fmt.Errorf("%w; %d of %d bytes", err, n, len(raw))
			}
			s.content = m.body
		default:
			s.content = string(raw)
			if (framing == "length" || !isAnswer) && length != len(raw) {
				return s, fmt.Errorf("%d bytes of content, want %d", len(raw), length)
			}
		}
		return s, nil
	}
}

// stripped takes out of a head what is of one hop, and Via, and says how its content is
// framed.
func stripped(lines []string) (left, framing string, length int) {
	named := []string{"connection", "keep-alive", "te", "trailer", "upgrade", "http2-settings", "proxy-foo", "proxy-authorization", "via"}
	for _, l := range lines[1:] {
		if name, value, _ := strings.Cut(strings.ToLower(l), ":"); name == "connection" {
			for option := range strings.SplitSeq(value, ",") {
				named = append(named, strings.Trim(option, " \t"))
			}
		}
	}
	out := []string{lines[0]}
	for _, l := range lines[1:] {
		name, value, _ := strings.Cut(l, ":")
		switch lower := strings.ToLower(name); {
		case lower == "transfer-encoding":
			framing = "chunked"
		case lower == "content-length":
			framing = "length"
			length, _ = strconv.Atoi(strings.TrimSpace(value))
			out = append(out, name+": "+strconv.Itoa(length))
		case !slices.Contains(named, lower):
			out = append(out, l)
		}
	}
	return strings.Join(out, "\r\n"), framing, length
}

// pairRig is a rig whose origin answers each request by the id in its path, and keeps what
// it got.
type pairRig struct {
	*plainRig
	answers, got sync.Map
}

func newPairRig(t *testing.T) *pairRig {
	p := &pairRig{}
	p.plainRig = newPlainRig(t, func(c net.Conn) {
		var got []byte
		buf := make([]byte, 16<<10)
		for {
			n, err := c.(*tapConn).Conn.Read(buf) // 10,000 requests need not be kept together
			got = append(got, buf[:n]...)
			for len(got) > 0 {
				_, size, parse := reader{}.read(got)
				if errors.Is(parse, errPartial) {
					break
				}
				if parse != nil {
					t.Errorf("%v in %q", parse, got)
					return
				}
				id := string(got[bytes.IndexByte(got, '/')+1:][:6])
				p.got.Store(id, string(got[:size]))
				got = got[size:]
				answer, _ := p.answers.Load(id)
				raw, _ := answer.(string)
				if _, err := io.WriteString(c, raw); err != nil || byEnd(raw) {
					return
				}
			}
			if err != nil {
				return
			}
		}
	})
	return p
}

// byEnd reports whether the end of the connection is that of the answer.
func byEnd(answer string) bool {
	heads := strings.ToLower(answer[:strings.LastIndex("\r\n\r\n"+answer, "\r\n\r\n")])
	last := heads[max(strings.LastIndex(heads, "http/1.1 "), 0):]
	return !strings.Contains(last, "content-length:") && !strings.Contains(last, "transfer-encoding:")
}

// Client and origin get the same bytes as without a proxy, but for the fields of one hop,
// Via, and the framing: chunks lose their extensions, and where the end of the connection
// is that of the content there are chunks for it.
func TestPairsOfMessagesGoOnAsTheyAre(t *testing.T) {
	t.Parallel()
	p := newPairRig(t)
	eachPair(t, func(g *chance) {
		sent := g.request(p.host)
		method, _, _ := strings.Cut(sent, " ")
		answer := g.answer(method)
		p.answers.Store(g.id, answer)
		raw := strings.Replace(sent, " /", " http://"+p.host+"/", 1)
		raw = strings.Replace(raw, "\r\n", "\r\n"+auth("billing")+"Connection: close\r\n", 1)
		c, err := net.Dial("tcp", p.addr)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		for raw != "" { // in pieces, as it may come
			n := min(1+g.IntN(8000), len(raw))
			if _, err := io.WriteString(c, raw[:n]); err != nil {
				break
			}
			raw = raw[n:]
		}
		back, err := io.ReadAll(c)
		if err != nil {
			t.Errorf("%s: %v", g.id, err)
		}
		compareShapes(t, "the client got", answer, string(back), method)
		came, _ := p.got.Load(g.id)
		text, _ := came.(string)
		compareShapes(t, "the origin got", sent, text, "")
	})
}

// compareShapes compares what was sent with what came.
func compareShapes(t *testing.T, what, sent, came, method string) {
	t.Helper()
	want, err := shapeOf([]byte(sent), method)
	if err != nil {
		t.Errorf("the test itself sends %q: %v", sent, err)
		return
	}
	got, err := shapeOf([]byte(came), method)
	if want.framing == "" && method != "" && got.framing == "chunked" {
		got.framing = "" // the end of the connection
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%s\n%q of\n%q: %v", what, came, sent, err)
	}
}

// seen is what a server of net/http has read of a request, or a client of an answer.
type seen struct {
	line     string
	fields   http.Header
	length   int64
	coding   []string
	content  string
	trailers http.Header
}

// without takes out what a proxy, or the time, makes another one.
func without(h http.Header) http.Header {
	h = h.Clone()
	for _, name := range []string{"Via", "Date", "Connection", "Te", "Trailer"} {
		h.Del(name)
	}
	return h
}

// net/http's own client and server see the same of each other through the proxy.
func TestPairsOfNetHTTPSeeTheSame(t *testing.T) {
	t.Parallel()
	var got sync.Map
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		id := r.Header.Get("X-Id")
		got.Store(id, seen{r.Method + " " + r.RequestURI + " " + r.Host, without(r.Header), r.ContentLength, r.TransferEncoding, string(body), nil})
		n, _ := strconv.Atoi(strings.TrimPrefix(id, "direct-"))
		answerPair(w, &chance{Rand: rand.New(rand.NewPCG(uint64(n), 9112))})
	})}
	go func() { _ = server.Serve(ln) }()
	t.Cleanup(func() { _ = server.Close() })
	r := newPlainRigFor(t, &origin{port: uint16(ln.Addr().(*net.TCPAddr).Port)}, proxy.Limits{})
	by := &url.URL{Scheme: "http", Host: r.addr, User: url.UserPassword("billing", "billing")}
	through := &http.Transport{Proxy: http.ProxyURL(by)}
	direct := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, ln.Addr().String())
	}}
	t.Cleanup(through.CloseIdleConnections)
	t.Cleanup(direct.CloseIdleConnections)
	eachPair(t, func(g *chance) {
		seed := g.Uint64()
		var answers, requests [2]seen
		for i, way := range []*http.Transport{direct, through} {
			id := []string{"direct-", ""}[i] + g.id
			again := &chance{Rand: rand.New(rand.NewPCG(seed, 1)), id: g.id}
			resp, err := way.RoundTrip(again.netHTTPRequest(r.host, id))
			if err != nil {
				t.Errorf("%s: %v", id, err)
				return
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil {
				t.Errorf("%s: %v", id, err)
			}
			answers[i] = seen{resp.Status, without(resp.Header), resp.ContentLength, resp.TransferEncoding, string(body), resp.Trailer}
			s, _ := got.Load(id)
			requests[i], _ = s.(seen)
			requests[i].fields.Del("X-Id")
		}
		if !reflect.DeepEqual(answers[0], answers[1]) {
			t.Errorf("the client sees\n%+v, and through the proxy\n%+v", answers[0], answers[1])
		}
		if !reflect.DeepEqual(requests[0], requests[1]) {
			t.Errorf("the server sees\n%+v, and through the proxy\n%+v", requests[0], requests[1])
		}
	})
}

// netHTTPRequest makes a request for net/http's client.
func (g *chance) netHTTPRequest(host, id string) *http.Request {
	r := &http.Request{
		Method: g.pick("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"), Header: http.Header{"X-Id": {id}},
		URL: &url.URL{Scheme: "http", Host: host, Path: "/" + g.bytes(10, "abc /%"), RawQuery: g.bytes(10, "abc=&%2F")},
	}
	for range g.IntN(5) {
		r.Header.Add("X-"+g.bytes(3, "abc"), strings.Trim(g.bytes(9, "abc ,\xe4"), " "))
	}
	if r.Method[0] != 'P' {
		return r.WithContext(context.Background())
	}
	body := g.bytes(g.pickInt(10, 5000, 100000), "abc")
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	if g.IntN(2) == 0 && body != "" {
		r.ContentLength = -1
	}
	return r.WithContext(context.Background())
}

// answerPair answers as chance has it.
func answerPair(w http.ResponseWriter, g *chance) {
	for range g.IntN(5) {
		w.Header().Add("X-"+g.bytes(3, "abc"), strings.Trim(g.bytes(9, "abc ,\xe4"), " "))
	}
	w.Header().Set("Content-Type", "text/plain")
	trailers := g.IntN(4) == 0
	if trailers {
		w.Header().Set("Trailer", "X-Sum")
	}
	if g.IntN(4) == 0 {
		w.WriteHeader(http.StatusEarlyHints)
	}
	w.WriteHeader(g.pickInt(200, 200, 201, 204, 304, 404, 503))
	b := bufio.NewWriter(w)
	for range g.IntN(4) {
		_, _ = b.WriteString(g.bytes(g.pickInt(10, 3000, 100000), "abc\n"))
		if g.IntN(2) == 0 {
			_ = b.Flush()
			w.(http.Flusher).Flush()
		}
	}
	_ = b.Flush()
	if trailers {
		w.Header().Set("X-Sum", g.bytes(5, "abc"))
	}
}
