package proxy_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/http"
	"testing"
	"time"
)

// okOrStream is an origin that answers ok, and for /stream with a stream.
func okOrStream(c net.Conn) {
	br := bufio.NewReader(c)
	for {
		q, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		if q.URL.Path == "/stream" {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\nbegun")
			_, _ = io.Copy(io.Discard, br)
			return
		}
		if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"); err != nil {
			return
		}
	}
}

// certifiedGet is a plain request by who has shown a certificate.
func certifiedGet(o *origin, path string) string {
	return "GET http://" + o.at("any.test") + path + " HTTP/1.1\r\nHost: x\r\n\r\n"
}

// revoked returns how many records say that something was revoked.
func (r *rig) revoked() (n int) {
	for _, m := range r.of("closed") {
		if m["ended"] == "revoked" {
			n++
		}
	}
	return n
}

// Whom the old authority alone has vouched for gets nothing more: not on a connection that
// is kept, in an answer that is under way, or by a tunnel.
func TestClientWhoseAuthorityWasReplacedGetsNothingMore(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	both := a.pool()
	both.AddCert(other.cert)
	for _, row := range []struct {
		name    string
		after   *x509.CertPool
		revoked bool
	}{{"replaced", other.pool(), true}, {"another one added", both, false}, {"read again", a.pool(), false}} {
		t.Run(row.name, func(t *testing.T) {
			o := newOrigin(t, okOrStream)
			r := tlsRig(t, a, o, a.listener(tls.VerifyClientCertIfGiven), rigOptions{authorities: a.pool()})
			enter := func(raw, want string) (*tls.Conn, *bufio.Reader) {
				c, err := r.enter(a, nil, a.issue("certified.internal"))
				if err != nil {
					t.Fatal(err)
				}
				_, _ = io.WriteString(c, raw)
				br := bufio.NewReader(c)
				readUntil(t, br, want)
				return c, br
			}
			get := certifiedGet(o, "/")
			idle, idleReader := enter(get, "ok")
			next, nextReader := enter(get, "ok")
			_, stream := enter(certifiedGet(o, "/stream"), "begun")
			tunnel, tunnelReader := enter(withAuth(o.at("any.test")), "\r\n\r\n")
			_, _ = io.WriteString(tunnel, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			readUntil(t, tunnelReader, "ok")

			r.authorities = row.after
			r.setPolicy([]function{{name: "certified", noToken: true, certs: []string{"certified.internal"},
				rules: []rule{{host: "any.test", ports: []uint16{o.port}, any: true, addresses: loopback}}}})
			_, _ = io.WriteString(next, get)
			if !row.revoked {
				readUntil(t, nextReader, "ok")
				r.server.Rejudge()
				for c, br := range map[*tls.Conn]*bufio.Reader{idle: idleReader, next: nextReader} {
					_, _ = io.WriteString(c, get)
					readUntil(t, br, "ok")
				}
				if n := r.revoked(); n != 0 || r.server.Tunnels() != 1 {
					t.Errorf("%d tunnels, %d revoked", r.server.Tunnels(), n)
				}
				return
			}
			r.wantRefusal(readReply(t, nextReader), 407, "identity_rejected", "http_request_denied")
			r.server.Rejudge()
			wantEnd(t, idleReader)
			wantCut(t, stream)
			wantEnd(t, tunnelReader)
			eventually(t, "both revoked", func() bool { return r.revoked() == 2 })
		})
	}
}

// TLS has asked for the time at the handshake; a connection may be kept for longer than a
// certificate lasts.
func TestCertificateWhoseTimeIsOverTakesNoNewRequest(t *testing.T) {
	a := newAuthority(t)
	o := newOrigin(t, okOrStream)
	config := a.listener(tls.VerifyClientCertIfGiven)
	config.Time = func() time.Time { return time.Now().Add(-time.Hour) } // the handshake was an hour ago
	r := tlsRig(t, a, o, config, rigOptions{authorities: a.pool()})
	over := a.sign(&x509.Certificate{
		SerialNumber: big.NewInt(3), DNSNames: []string{"certified.internal"}, NotAfter: time.Now().Add(-time.Minute),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	for _, raw := range []string{certifiedGet(o, "/"), withAuth(o.at("any.test"))} {
		c, err := r.enter(a, nil, over)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, raw)
		r.wantRefusal(readReply(t, bufio.NewReader(c)), 407, "identity_rejected", "http_request_denied")
	}
	if n := o.accepted.Load() + r.lookups.Load(); n != 0 {
		t.Errorf("%d lookups and connections", n)
	}
}
