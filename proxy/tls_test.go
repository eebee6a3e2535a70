package proxy_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/proxy"
)

// authority signs certificates for tests.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	a := &authority{t: t}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	c := a.sign(template)
	a.cert, a.key = c.Leaf, c.PrivateKey.(*ecdsa.PrivateKey)
	return a
}

// sign signs a certificate by the authority, or by itself before there is one.
func (a *authority) sign(template *x509.Certificate) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	parent, by := a.cert, a.key
	if parent == nil {
		parent, by = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	if err != nil {
		a.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// issue returns a certificate for a name, for servers and clients.
func (a *authority) issue(name string) tls.Certificate {
	return a.sign(&x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// listener is the configuration of the proxy's TLS listener.
func (a *authority) listener(auth tls.ClientAuthType) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{a.issue("proxy.test")},
		ClientAuth:   auth, ClientCAs: a.pool(), NextProtos: []string{"http/1.1"},
	}
}

// tlsRig is a rig behind TLS where the function certified is identified by
// a certificate.
func tlsRig(t *testing.T, a *authority, o *origin, config *tls.Config, ro rigOptions) *rig {
	ro.tls = config
	ro.functions = []function{{
		name: "certified", noToken: true, certs: []string{"certified.internal"},
		rules: []rule{{host: "any.test", ports: []uint16{o.port}, any: true, addresses: loopback}, {host: "tls.test", ports: []uint16{o.port}, addresses: loopback}},
	}}
	return openRig(t, o, ro)
}

// enter opens a TLS connection to the proxy.
func (r *rig) enter(a *authority, protocols []string, certs ...tls.Certificate) (*tls.Conn, error) {
	r.t.Helper()
	c := tls.Client(r.dial(), &tls.Config{RootCAs: a.pool(), ServerName: "proxy.test", Certificates: certs, NextProtos: protocols})
	return c, c.Handshake()
}

func TestAClientCertificateIdentifiesInsideTLS(t *testing.T) {
	a := newAuthority(t)
	o := newOrigin(t, echo)
	r := tlsRig(t, a, o, a.listener(tls.VerifyClientCertIfGiven), rigOptions{})
	first := clientHello(names("tls.test"))
	c, err := r.enter(a, []string{"h2", "http/1.1"}, a.issue("Certified.internal"))
	if err != nil {
		t.Fatal(err)
	}
	if p := c.ConnectionState().NegotiatedProtocol; p != "http/1.1" {
		t.Errorf("negotiated %q", p)
	}
	_, _ = io.WriteString(c, withAuth(o.at("tls.test"))+first)
	br := bufio.NewReader(c)
	wantEstablished(t, br)
	_ = c.CloseWrite() // half-close works inside TLS too
	wantExactly(t, br, first)
	wantEnd(t, br)
	m := r.one("closed")
	if m["function"] != "certified" || m["via"] != "certificate" || m["ended"] != "client" || m["bytes_up"] != float64(len(first)) || m["bytes_down"] != float64(len(first)) {
		t.Errorf("record: %v", m)
	}
}

func TestATokenIdentifiesInsideTLSToo(t *testing.T) {
	a := newAuthority(t)
	o := newOrigin(t, echo)
	r := tlsRig(t, a, o, a.listener(tls.VerifyClientCertIfGiven), rigOptions{})
	c, err := r.enter(a, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(c, connectAs("billing", o.at("any.test"))+"early")
	br := bufio.NewReader(c)
	wantEstablished(t, br)
	wantExactly(t, br, "early")
	c.Close()
	if m := r.one("closed"); m["via"] != "token" || m["bytes_up"] != 5.0 {
		t.Errorf("record: %v", m)
	}
}

func TestACertificateThatNamesNobodyIsRejected(t *testing.T) {
	a, stranger := newAuthority(t), newAuthority(t)
	o := newOrigin(t, echo)
	for _, row := range []struct {
		name string
		auth tls.ClientAuthType
		cert tls.Certificate
		line string
	}{
		{"a name of no function", tls.VerifyClientCertIfGiven, a.issue("unknown.internal"), ""},
		{"no name", tls.VerifyClientCertIfGiven, a.issue(""), ""},
		{"a name of no function, with a token that holds", tls.VerifyClientCertIfGiven, a.issue("unknown.internal"), auth("billing")},
		{"one function's certificate with another's token", tls.VerifyClientCertIfGiven, a.issue("certified.internal"), auth("billing")},
		{"the right name, by a stranger, where the listener does not verify", tls.RequestClientCert, stranger.issue("certified.internal"), ""},
		{"the right name, by a stranger, required and not verified", tls.RequireAnyClientCert, stranger.issue("certified.internal"), ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := tlsRig(t, a, o, a.listener(row.auth), rigOptions{})
			c, err := r.enter(a, nil, row.cert)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(c, withAuth(o.at("any.test"), row.line))
			r.wantRefusal(readReply(t, bufio.NewReader(c)), 407, "identity_rejected", "http_request_denied")
		})
	}
	if n := o.accepted.Load(); n != 0 {
		t.Errorf("%d connections to the origin", n)
	}
}

func TestACertificateThatDoesNotVerifyEndsTheHandshakeAndIsRecorded(t *testing.T) {
	a, stranger := newAuthority(t), newAuthority(t)
	r := tlsRig(t, a, newOrigin(t, echo), a.listener(tls.VerifyClientCertIfGiven), rigOptions{})
	raw := r.dial()
	cert := stranger.issue("certified.internal")
	c := tls.Client(raw, &tls.Config{RootCAs: a.pool(), ServerName: "proxy.test",
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }})
	_, _ = io.WriteString(c, connectAs("billing", "any.test:443"))
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("the proxy answered")
	}
	if m := r.one("refused"); m["reason"] != "identity_rejected" || m["function"] != nil {
		t.Errorf("record: %v", m)
	}
}

func TestH2IsNeverNegotiated(t *testing.T) {
	a := newAuthority(t)
	r := tlsRig(t, a, newOrigin(t, echo), a.listener(tls.NoClientCert), rigOptions{})
	if c, err := r.enter(a, []string{"h2"}); err == nil && c.ConnectionState().NegotiatedProtocol != "" {
		t.Errorf("negotiated %q", c.ConnectionState().NegotiatedProtocol)
	}
	c, err := r.enter(a, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	if got := readReply(t, bufio.NewReader(c)); got.StatusCode < 400 || got.reason() != "bad_request" {
		t.Errorf("got %s", got.Status)
	}
}

func TestAHandshakeThatDoesNotEndIsEnded(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	r := tlsRig(t, a, newOrigin(t, echo), a.listener(tls.NoClientCert), rigOptions{limits: proxy.Limits{HeaderTimeout: 200 * time.Millisecond}})
	for _, first := range []string{"", clientHello(names("proxy.test"))[:30]} {
		_, br := r.send(first)
		wantEnd(t, br)
	}
	_, br := r.send(connectAs("billing", "any.test:443")) // no TLS at all
	_, _ = io.Copy(io.Discard, br)
	eventually(t, "the places given back", func() bool { return r.server.Unidentified() == 1 })
}

// The header and the ClientHello may come in one segment.
func TestABalancersHeaderStandsBeforeTheHandshake(t *testing.T) {
	a := newAuthority(t)
	o := newOrigin(t, echo)
	r := tlsRig(t, a, o, a.listener(tls.VerifyClientCertIfGiven), rigOptions{options: func(opt *proxy.Options) {
		opt.ProxyProtocolFrom = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	}})
	c := tls.Client(&fusing{Conn: r.dial(), first: headerV2(proxied, tcp4, from10129)},
		&tls.Config{RootCAs: a.pool(), ServerName: "proxy.test", Certificates: []tls.Certificate{a.issue("certified.internal")}})
	_, _ = io.WriteString(c, withAuth(o.at("any.test"))+"early")
	br := bufio.NewReader(c)
	wantEstablished(t, br)
	wantExactly(t, br, "early")
	c.Close()
	if m := r.one("opened"); m["client"] != "10.1.2.9:40000" || m["function"] != "certified" {
		t.Errorf("record: %v", m)
	}
}

// What breaks off must not look whole: an end of TLS, or of the socket below it, would.
func TestTunnelThatItsOriginResetsIsResetBelowTLS(t *testing.T) {
	for name, header := range map[string]string{"behind a balancer": headerV2(proxied, tcp4, from10129), "without one": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAuthority(t)
			o := newOrigin(t, func(c net.Conn) {
				_, _ = io.CopyN(c, c, 5)
				_, _ = c.Read(make([]byte, 1))
				_ = c.(*tapConn).Conn.(*net.TCPConn).SetLinger(0)
				_ = c.Close()
			})
			r := tlsRig(t, a, o, a.listener(tls.VerifyClientCertIfGiven), rigOptions{options: func(opt *proxy.Options) {
				if header != "" {
					opt.ProxyProtocolFrom = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
				}
			}})
			c := tls.Client(&fusing{Conn: r.dial(), first: header},
				&tls.Config{RootCAs: a.pool(), ServerName: "proxy.test", Certificates: []tls.Certificate{a.issue("certified.internal")}})
			_, _ = io.WriteString(c, withAuth(o.at("any.test"))+"early")
			br := bufio.NewReader(c)
			wantEstablished(t, br)
			wantExactly(t, br, "early")
			_, _ = io.WriteString(c, "x")
			if _, err := br.ReadByte(); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the client read %v, want a reset", err)
			}
		})
	}
}

// fusing puts bytes before the first write, in one segment with it.
type fusing struct {
	net.Conn
	first string
}

func (c *fusing) Write(p []byte) (int, error) {
	b := append([]byte(c.first), p...)
	n, err := c.Conn.Write(b)
	n -= len(c.first)
	c.first = ""
	return max(n, 0), err
}
