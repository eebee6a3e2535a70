package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

// hostile are texts that would make two lines of one, hide a line on a
// terminal, end a string of JSON, or fill a disk.
var hostile = map[string]string{
	"controls":       "a\x01\x02\x08\x0b\x7fb",
	"a line break":   "a\n{\"event\":\"opened\",\"verdict\":\"allow\"}\nb",
	"an ANSI code":   "\x1b[2J\x1b[31mred\x1b]0;title\x07",
	"separators":     "a\u2028b\u2029c\u0085d\u202ee",
	"no UTF-8":       "a\xff\xfe\xc0\x80b",
	"breaks of JSON": `","verdict":"allow","x":"\u0000\`,
	"eight KiB":      strings.Repeat("A", 8<<10),
	"NUL":            "a\x00b",
}

const hostilePolicy = `version: 1
listen: {proxy: "127.0.0.1:0", admin: "127.0.0.1:0", dns: "127.0.0.1:0"}
dns: {upstreams: ["${dns}"], families: ip4, clients: [127.0.0.0/8]}
limits: {dial_timeout: 30s, hello_timeout: 30s}
functions:
  billing:
    identify: {${token_billing}}
    allow: [{host: before.test, ports: [${echo}], addresses: [127.0.0.0/8]}]
`

// hostileRequests put a text wherever a client has a say.
func hostileRequests(text string) map[string]string {
	user := base64.StdEncoding.EncodeToString([]byte(text + ":" + text))
	return map[string]string{
		"host":       "CONNECT " + text + ":443 HTTP/1.1\r\n" + authorization("billing") + "\r\n",
		"user":       "CONNECT evil.test:443 HTTP/1.1\r\nProxy-Authorization: Basic " + user + "\r\n\r\n",
		"scheme":     "CONNECT evil.test:443 HTTP/1.1\r\nProxy-Authorization: " + text + "\r\n\r\n",
		"method":     text + " http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\n" + authorization("billing") + "\r\n",
		"User-Agent": "CONNECT evil.test:443 HTTP/1.1\r\nUser-Agent: " + text + "\r\n" + authorization("billing") + "\r\n",
		"Host field": "GET http://evil.test/ HTTP/1.1\r\nHost: " + text + "\r\n" + authorization("billing") + "\r\n",
		"URL":        "GET http://" + text + "/" + text + " HTTP/1.1\r\nHost: evil.test\r\n" + authorization("billing") + "\r\n",
	}
}

func TestHostileTextIsOneLineThatReadsBackAndPrintsSafely(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	p := w.start(hostilePolicy)
	asked := 0
	for what, text := range hostile {
		for where, request := range hostileRequests(text) {
			r, err := p.ask(request)
			if err != nil || r.StatusCode < 400 {
				t.Errorf("%s as %s: %v, %v", what, where, r.Response, err)
				continue
			}
			asked++
			var raw bytes.Buffer
			_ = r.Header.Write(&raw)
			if answer := r.Status + raw.String() + r.body; hasHostile(strings.NewReplacer("\r", "", "\n", "").Replace(answer)) {
				t.Errorf("%s as %s comes back in the answer: %q", what, where, answer)
			}
		}
		p.helloWith(text)
		p.questionWith(text)
	}
	// A connection that ends before its first byte, and a ClientHello without a
	// name: what is absent is null.
	p.helloWith("")
	w.eventually("every end is recorded", func() bool {
		return len(p.of("opened")) == len(hostile)+1 && len(p.of("answered")) == len(hostile)
	})
	if n := len(p.of("refused")) + len(p.of("challenged")); n < asked+len(hostile)+1 {
		t.Errorf("%d records of %d requests", n, asked+len(hostile)+1)
	}
	if got := p.of("refused"); got[len(got)-1].Reason != "sni_missing" {
		t.Errorf("the last refusal is for %s", got[len(got)-1].Reason)
	}
	p.signal(syscall.SIGTERM)
	p.wait()
	p.safeLines()
	p.wholeAndStopped()
}

// hasHostile reports whether a text has what must not get to a terminal or a log.
func hasHostile(text string) bool {
	return !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return r != ' ' && !unicode.IsPrint(r) })
}

// safeLines checks every line of the records and of the log.
func (p *running) safeLines() {
	p.t.Helper()
	for name, text := range map[string]string{"records": string(p.output()), "log": p.read(p.stderr)} {
		for line := range strings.Lines(text) {
			line, whole := strings.CutSuffix(line, "\n")
			var m map[string]any
			if err := json.Unmarshal([]byte(line), &m); err != nil || !whole || len(line) >= 16<<10 {
				p.t.Errorf("%s: %d bytes that are no line: %v: %.200q", name, len(line), err, line)
			}
			if hasHostile(line) {
				p.t.Errorf("%s: a line has what does not print: %.300q", name, line)
			}
		}
	}
	for _, r := range p.records() {
		if r.Event == "opened" && r.Host != "before.test" || r.Verdict == "allow" && r.Event != "opened" && r.Event != "closed" {
			p.t.Errorf("a record that nobody's decision made: %+v", r)
		}
	}
}

// helloWith opens a tunnel and sends a ClientHello with a server name of any
// bytes; "" is none.
func (p *running) helloWith(name string) {
	p.t.Helper()
	r := p.connect("billing", p.world.fill("before.test:${echo}"))
	if r.conn == nil {
		p.t.Fatalf("no tunnel: %s", r.Status)
	}
	name = name[:min(len(name), 4<<10)]
	_, _ = r.conn.Write(clientHello(p.t, name))
	r.ends(p.t)
	_ = r.conn.Close()
}

// clientHello returns a ClientHello whose server name is any bytes.
func clientHello(t testing.TB, name string) []byte {
	t.Helper()
	marker := strings.Repeat("x", max(1, min(len(name), 60))) + ".test"
	if name == "" {
		marker = ""
	}
	ours, theirs := net.Pipe()
	go func() {
		_ = tls.Client(theirs, &tls.Config{ServerName: marker, InsecureSkipVerify: true}).Handshake()
	}()
	_ = ours.SetReadDeadline(time.Now().Add(patience))
	head := make([]byte, 5)
	if _, err := io.ReadFull(ours, head); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, binary.BigEndian.Uint16(head[3:]))
	if _, err := io.ReadFull(ours, body); err != nil {
		t.Fatal(err)
	}
	_, _ = ours.Close(), theirs.Close()
	if i := bytes.Index(body, []byte(marker)); marker != "" {
		// The name is put over the marker, as far as it fits: lengths stay true.
		copy(body[i:i+len(marker)], name)
	}
	return append(head, body...)
}

// questionWith asks the filter for a name with a label of any bytes, and wants
// an answer.
func (p *running) questionWith(text string) {
	p.t.Helper()
	label := text[:min(len(text), 63)]
	q := []byte{0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, byte(len(label))}
	q = append(append(q, label...), 4, 't', 'e', 's', 't', 0, 0, 1, 0, 1)
	c, err := net.Dial("udp", p.dns)
	p.world.must(err)
	defer c.Close()
	_, err = c.Write(q)
	p.world.must(err)
	_ = c.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, 1500)
	n, err := c.Read(b)
	if err != nil || n < 12 || fmt.Sprint(b[:2]) != fmt.Sprint(q[:2]) || b[3]&15 == 0 {
		p.t.Errorf("label %.40q: %x, %v", label, b[:n], err)
	}
}

// An origin that answers twice gets nothing of what it sent into the log: a library that
// complains may quote it.
func TestWhatAnOriginSendsUnaskedIsInNoLineOfTheLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.vars["echo"] = port(w.listen(func(c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nX-Secret: hush\r\nContent-Length: 0\r\n\r\n")
		_, _ = io.Copy(io.Discard, c)
	}))
	w.names.set("before.test", "127.0.0.1")
	p := w.start(only("before.test"))
	for range 8 {
		r, err := p.ask("GET http://before.test:" + w.vars["echo"] + "/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + authorization("billing") + "\r\n")
		if err != nil || r.StatusCode != http.StatusOK {
			t.Fatalf("%v, %v", r.Response, err)
		}
	}
	p.finish()
	for line := range strings.Lines(p.read(p.stderr)) {
		if !json.Valid([]byte(line)) || strings.Contains(line, "hush") || strings.Contains(line, "200 OK") {
			t.Errorf("a line of the log: %s", line)
		}
	}
}
