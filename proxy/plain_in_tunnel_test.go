package proxy_test

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/proxy"
)

// inTunnel opens a tunnel whose rule wants TLS, sends first in pieces, and returns the
// client with its reader.
func (r *rig) inTunnel(target string, pieces ...string) (net.Conn, *bufio.Reader) {
	r.t.Helper()
	c, br := r.send(connectAs("billing", target))
	wantEstablished(r.t, br)
	for i, piece := range pieces {
		if i > 0 {
			time.Sleep(20 * time.Millisecond) // another segment, as a rule; either way it is the same request
		}
		if _, err := io.WriteString(c, piece); err != nil {
			r.t.Fatal(err)
		}
	}
	return c, br
}

// A client that tunnels http:// cannot know from an end without a byte what is wrong.
func TestPlainRequestInATunnelIsToldThatTheRuleWantsTLS(t *testing.T) {
	long := "GET /" + strings.Repeat("a", 12<<10) + " HTTP/1.1\r\n"
	fields := "Host: tls.test\r\n\r\n"
	for _, listener := range []string{"loop", "goroutines"} {
		t.Run(listener, func(t *testing.T) {
			o := newOrigin(t, echo)
			r := openRig(t, o, rigOptions{})
			if listener == "goroutines" {
				defer r.serveByGoroutines()()
			}
			for name, pieces := range map[string][]string{
				"whole":               {"GET / HTTP/1.1\r\n" + fields},
				"one byte, then more": {"G", "ET / HTTP/1.1\r\n" + fields},
				"cut in the line end": {"GET / HTTP/1.1\r", "\n" + fields},
				"content":             {"POST /up HTTP/1.1\r\nHost: tls.test\r\nContent-Length: 5\r\n\r\nhello"},
				"HTTP/1.0":            {"GET / HTTP/1.0\r\n\r\n"},
				"of one letter":       {"X * HTTP/1.1\r\n\r\n"},
				"longer than buffers": {long + fields},
				"the line alone":      {"GET / HTTP/1.1\r\n"},
			} {
				t.Run(name, func(t *testing.T) {
					_, br := r.inTunnel(o.at("tls.test"), pieces...)
					got := readReply(t, br)
					r.wantRefusal(got, 403, "not_tls", "http_request_denied")
					if !strings.Contains(got.body, "tls: any") {
						t.Errorf("no advice in %q", got.body)
					}
				})
			}
			t.Run("with the CONNECT", func(t *testing.T) {
				_, br := r.send(connectAs("billing", o.at("tls.test")) + "GET / HTTP/1.1\r\n" + fields)
				wantEstablished(t, br)
				r.wantRefusal(readReply(t, br), 403, "not_tls", "http_request_denied")
			})
			t.Run("HEAD", func(t *testing.T) {
				_, br := r.inTunnel(o.at("tls.test"), "HEAD / HTTP/1.1\r\n"+fields)
				all, _ := io.ReadAll(br)
				if head, body, _ := strings.Cut(string(all), "\r\n\r\n"); !strings.HasPrefix(head, "HTTP/1.1 403 Egress refused: not_tls tls.test for billing\r\n") || body != "" {
					t.Errorf("got %q", all)
				}
			})
			for _, m := range r.of("refused") {
				if m["reason"] != "not_tls" || m["method"] != "CONNECT" {
					t.Errorf("record: %v", m)
				}
			}
			if got := o.text(); got != "" {
				t.Errorf("the origin got %q", got)
			}
		})
	}
}

// Bytes that are no request of HTTP/1.x would not understand an answer of it, and a
// protocol whose answer it could be taken for must not get one.
func TestWhatIsNeitherHelloNorRequestGetsNoByteInATunnel(t *testing.T) {
	o := newOrigin(t, echo)
	r := openRig(t, o, rigOptions{limits: proxy.Limits{HeaderBytes: 4 << 10}})
	rows := map[string]string{
		"SSH": "SSH-2.0-OpenSSH_9.6\r\n", "SMTP": "EHLO tls.test\r\n", "HTTP/2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"HTTP/0.9": "GET /\r\n", "a bare line feed": "GET / HTTP/1.1\n\n", "RTSP": "DESCRIBE rtsp://tls.test/ RTSP/1.0\r\n\r\n",
		"an answer": "HTTP/1.1 200 OK\r\n\r\n", "no target": "GET HTTP/1.1\r\n\r\n", "a long word": strings.Repeat("A", 100),
		"a control byte": "GET /\x01 HTTP/1.1\r\n\r\n", "a line over the limit": "GET /" + strings.Repeat("a", 8<<10) + " HTTP/1.1\r\n\r\n",
	}
	for name, first := range rows {
		t.Run(name, func(t *testing.T) {
			_, br := r.inTunnel(o.at("tls.test"), first)
			wantEnd(t, br)
		})
	}
	t.Run("a line that the client ends", func(t *testing.T) {
		c, br := r.inTunnel(o.at("tls.test"), "GET / HTTP/1.1")
		_ = c.(*net.TCPConn).CloseWrite()
		wantEnd(t, br)
	})
	refused := r.of("refused")
	for _, m := range refused {
		if m["reason"] != "not_tls" {
			t.Errorf("record: %v", m)
		}
	}
	if len(refused) != len(rows)+1 || o.text() != "" {
		t.Errorf("%d records of %d; the origin got %q", len(refused), len(rows), o.text())
	}
}

// The rest of a line is waited for as a ClientHello is, and no longer.
func TestRequestLineThatDoesNotEndIsWaitedForAsAHelloIs(t *testing.T) {
	o := newOrigin(t, echo)
	r := openRig(t, o, rigOptions{limits: proxy.Limits{HelloTimeout: 200 * time.Millisecond}})
	_, br := r.send(connectAs("billing", o.at("tls.test")) + "GET / HTTP/1.1")
	wantEstablished(t, br)
	wantEnd(t, br)
	if m := r.one("refused"); m["reason"] != "not_tls" {
		t.Errorf("record: %v", m)
	}
}

func TestPlainRequestInATunnelInsideTLSIsAnsweredThere(t *testing.T) {
	a := newAuthority(t)
	o := newOrigin(t, echo)
	r := tlsRig(t, a, o, a.listener(tls.VerifyClientCertIfGiven), rigOptions{})
	c, err := r.enter(a, nil, a.issue("certified.internal"))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(c, withAuth(o.at("tls.test"))+"GET / HTTP/1.1\r\n\r\n")
	br := bufio.NewReader(c)
	wantEstablished(t, br)
	r.wantRefusal(readReply(t, br), 403, "not_tls", "http_request_denied")
	if got := o.text(); got != "" {
		t.Errorf("the origin got %q", got)
	}
}

func TestAnswerInATunnelComesBehindItsRecordOrSaysThatThereIsNone(t *testing.T) {
	o := newOrigin(t, echo)
	sink := &gateSink{gate: make(chan struct{}, 1)}
	r := openRig(t, o, rigOptions{sink: sink})
	sink.gate <- struct{}{}
	c, br := r.inTunnel(o.at("tls.test"), "GET / HTTP/1.1\r\n\r\n")
	_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if b, err := br.Peek(1); err == nil {
		t.Errorf("the client has %q before the record is written", b)
	}
	close(sink.gate)
	_ = c.SetReadDeadline(time.Now().Add(patience))
	wantExactly(t, br, "HTTP/1.1 403")
	if all := sink.all(t); len(all) != 2 || all[1]["reason"] != "not_tls" {
		t.Errorf("the client has the answer, the records are %v", all)
	}

	failing := &failingSink{}
	r = openRig(t, o, rigOptions{sink: failing})
	c, br = r.send(connectAs("billing", o.at("tls.test")))
	wantEstablished(t, br)
	failing.broken.Store(true)
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if got := readReply(t, br); got.StatusCode != 503 || got.reason() != "audit_unavailable" {
		t.Errorf("got %s", got.Status)
	}
}
