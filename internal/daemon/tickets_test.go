package daemon

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
)

// shake shakes hands with the server, reads a byte, behind which a client has its ticket,
// and returns the server's side.
func shake(t *testing.T, server, client *tls.Config) tls.ConnectionState {
	t.Helper()
	near, far := egresstest.Pair(t)
	served := make(chan tls.ConnectionState, 1)
	go func() {
		defer far.Close()
		c := tls.Server(far, server)
		_, _ = c.Write([]byte("x")) // shakes hands first
		served <- c.ConnectionState()
	}()
	if _, err := tls.Client(near, client).Read(make([]byte, 1)); err != nil {
		t.Error(err)
	}
	_ = near.Close() // or a server that has failed would wait to say so
	return <-served
}

// A session stands for a certificate that has been verified, so it must not be resumed
// behind a load that may trust another authority: whatever the toolchain verifies of it.
func TestSessionsDoNotOutliveALoad(t *testing.T) {
	a, other := egresstest.NewAuthority(t), egresstest.NewAuthority(t)
	own, certificate := a.Issue("proxy.test"), a.Issue("a.internal")
	dir := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cert, key := egresstest.PEM(t, own)
	text := fmt.Sprintf("version: 1\nlisten: {tls: {address: \"127.0.0.1:0\", certificate: %s, key: %s, client_ca: %%s}}\n"+
		"functions: {a: {owner: o, identify: {certificates: [a.internal]}, allow: [good.test]}}\n", file("own.crt", cert), file("own.key", key))
	first, second := fmt.Sprintf(text, file("a.pem", a.PEM())), fmt.Sprintf(text, file("both.pem", append(a.PEM(), other.PEM()...)))
	third := fmt.Sprintf(text, file("other.pem", other.PEM()))
	for version, name := range map[uint16]string{tls.VersionTLS12: "TLS 1.2", tls.VersionTLS13: "TLS 1.3"} {
		t.Run(name, func(t *testing.T) {
			f := newTestFile(t, first)
			server := (&program{file: f.policyFile}).tlsConfig()
			client := &tls.Config{
				RootCAs: a.Pool(), ServerName: "proxy.test", Certificates: []tls.Certificate{certificate},
				ClientSessionCache: tls.NewLRUClientSessionCache(1), MaxVersion: version,
			}
			var chain *identity.Chain
			for i, row := range []struct {
				load    string
				resumed bool
			}{{"", false}, {"", true}, {first, false}, {"", true}, {second, false}, {"", true}} {
				if row.load != "" {
					f.reloaded(row.load)
				}
				state := shake(t, server, client)
				if state.DidResume != row.resumed {
					t.Errorf("handshake %d: resumed %v", i, state.DidResume)
				}
				// A resumed one proves as much as the one that it resumes.
				chain = identity.NewChain(state, time.Now())
				if _, table := f.Current(); chain == nil || !chain.Valid(table, time.Now()) {
					t.Errorf("handshake %d: the certificate does not hold", i)
				}
			}
			f.reloaded(third)
			if _, table := f.Current(); chain.Valid(table, time.Now()) || chain.Trusted(table, time.Now()) {
				t.Error("the certificate outlives its authority")
			}
		})
	}
}
