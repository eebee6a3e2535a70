package egresstest_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
)

// handshake connects a client that trusts ca and wants name to a server that has the
// certificate, and asks the client for one.
func handshake(t *testing.T, ca *egresstest.Authority, server tls.Certificate, name string) error {
	t.Helper()
	near, far := egresstest.Pair(t)
	defer near.Close()
	ended := make(chan error, 1)
	go func() {
		defer far.Close()
		ended <- tls.Server(far, &tls.Config{
			Certificates: []tls.Certificate{server}, ClientCAs: ca.Pool(), ClientAuth: tls.RequireAndVerifyClientCert,
		}).Handshake()
	}()
	err := tls.Client(near, &tls.Config{RootCAs: ca.Pool(), ServerName: name, Certificates: []tls.Certificate{ca.Issue("client.test")}}).Handshake()
	return errors.Join(err, <-ended)
}

func TestCertificatesHoldForTheirNamesAndByTheirAuthorityAlone(t *testing.T) {
	ca, other := egresstest.NewAuthority(t), egresstest.NewAuthority(t)
	for _, row := range []struct {
		name  string
		cert  tls.Certificate
		holds bool
	}{
		{"a.test", ca.Issue("a.test", "b.test"), true},
		{"b.test", ca.Issue("a.test", "b.test"), true},
		{"c.test", ca.Issue("a.test", "b.test"), false},
		{"a.test", other.Issue("a.test"), false},
		{"a.test", egresstest.SelfSigned(t, "a.test"), false},
	} {
		if err := handshake(t, ca, row.cert, row.name); (err == nil) != row.holds {
			t.Errorf("%s: %v", row.name, err)
		}
	}
	certificate, key := egresstest.PEM(t, ca.Issue("a.test"))
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	if err := handshake(t, ca, pair, "a.test"); err != nil {
		t.Errorf("out of files: %v", err)
	}
}

func TestWaitingEndsWhenItIsDoneAndWhenTimeIsOver(t *testing.T) {
	calls := 0
	if !egresstest.Within(egresstest.Timeout, func() bool { calls++; return calls == 3 }) || calls != 3 {
		t.Errorf("%d calls", calls)
	}
	if began := time.Now(); egresstest.Within(10*time.Millisecond, func() bool { return false }) || time.Since(began) < 10*time.Millisecond {
		t.Error("it came about, or was not waited for")
	}
}

func TestServedConnectionsAreClosedAndOnePortIsForBoth(t *testing.T) {
	ln, pc := egresstest.ListenBoth(t, "127.0.0.1")
	defer pc.Close()
	if ln.Addr().String() != pc.LocalAddr().String() {
		t.Errorf("TCP is at %v, UDP at %v", ln.Addr(), pc.LocalAddr())
	}
	egresstest.Serve(t, ln, func(c net.Conn) { _, _ = io.WriteString(c, "hello") })
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if b, err := io.ReadAll(c); string(b) != "hello" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

func TestBufferIsWrittenAndReadAtOnce(t *testing.T) {
	var b egresstest.Buffer
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 100 {
			_, _ = io.WriteString(&b, "{\"n\":1}\n")
		}
	}()
	egresstest.Eventually(t, "all is written", func() bool { return b.Len() == 800 && len(b.String()) == 800 })
	<-done
	sum := 0
	for _, r := range egresstest.Records[struct{ N int }](t, b.Bytes()) {
		sum += r.N
	}
	if b.Reset(); sum != 100 || b.Len() != 0 {
		t.Errorf("%d of 100, and %d bytes are left", sum, b.Len())
	}
}
