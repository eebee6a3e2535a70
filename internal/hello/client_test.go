package hello_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hello"
)

// capture returns what a Go client with that configuration sends first.
func capture(t *testing.T, config *tls.Config) ([]byte, hello.Hello) {
	t.Helper()
	near, far := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = tls.Client(near, config).Handshake()
	}()
	b, h, err := hello.Read(far, nil)
	far.Close()
	<-done
	near.Close()
	if err != nil {
		t.Fatalf("Read: %v", err)
	}
	return b, h
}

func TestHellosOfGoClientsAreRead(t *testing.T) {
	for _, tt := range []struct {
		name   string
		config *tls.Config
		want   error
		ech    bool
	}{
		{"TLS 1.0", &tls.Config{ServerName: host, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10}, nil, false},
		{"TLS 1.2", &tls.Config{ServerName: host, MaxVersion: tls.VersionTLS12}, nil, false},
		{"TLS 1.3", &tls.Config{ServerName: host, MinVersion: tls.VersionTLS13}, nil, false},
		{"ALPN", &tls.Config{ServerName: host, NextProtos: []string{"h2", "http/1.1"}}, nil, false},
		{"trailing dot", &tls.Config{ServerName: host + "."}, nil, false},
		{"another name", &tls.Config{ServerName: "evil.test"}, hello.ErrMismatch, false},
		{"an address, which Go leaves out", &tls.Config{ServerName: "192.0.2.1"}, hello.ErrMissing, false},
		{"ECH", &tls.Config{ServerName: host, EncryptedClientHelloConfigList: echConfig(t, "public.example")}, hello.ErrMismatch, true},
		{"ECH whose public name is the host", &tls.Config{ServerName: "hidden.example", EncryptedClientHelloConfigList: echConfig(t, host)}, nil, true},
	} {
		tt.config.InsecureSkipVerify = true // nothing is verified: no server answers
		_, h := capture(t, tt.config)
		if err := h.Check(host); !errors.Is(err, tt.want) || h.ECH != tt.ech {
			t.Errorf("%s: Check = %v, ECH %t, want %v, %t", tt.name, err, h.ECH, tt.want, tt.ech)
		}
	}
}

// echConfig is an ECHConfigList (RFC 9849, section 4) for a new X25519 key.
func echConfig(t *testing.T, public string) []byte {
	t.Helper()
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var b cryptobyte.Builder
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		b.AddUint16(0xfe0d)
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
			b.AddUint8(1)       // config id
			b.AddUint16(0x0020) // DHKEM(X25519, HKDF-SHA256)
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(key.PublicKey().Bytes()) })
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
				b.AddUint16(1) // HKDF-SHA256
				b.AddUint16(1) // AES-128-GCM
			})
			b.AddUint8(32) // longest name
			b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(public)) })
			b.AddUint16(0) // extensions
		})
	})
	return b.BytesOrPanic()
}

// serverConfig is a server for host whose session tickets are n bytes longer
// than need be.
func serverConfig(t *testing.T, n int) *tls.Config {
	t.Helper()
	config := &tls.Config{Certificates: []tls.Certificate{egresstest.SelfSigned(t, host)}}
	config.WrapSession = func(cs tls.ConnectionState, ss *tls.SessionState) ([]byte, error) {
		ticket, err := config.EncryptTicket(cs, ss)
		return append(ticket, make([]byte, n)...), err
	}
	config.UnwrapSession = func(ticket []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
		return config.DecryptTicket(ticket[:max(0, len(ticket)-n)], cs)
	}
	return config
}

// talk lets a client and a server shake hands across the reading of the hello,
// as a proxy would, and returns what was read and the server's view.
func talk(t *testing.T, client, server *tls.Config) ([]byte, hello.Hello, tls.ConnectionState) {
	t.Helper()
	near, far := connect(t)
	done := make(chan error, 1)
	go func() {
		conn := tls.Client(near, client)
		_, err := conn.Read(make([]byte, 1)) // takes the session tickets in
		done <- err
	}()
	b, h, err := hello.Read(far, nil)
	if err != nil {
		t.Fatalf("Read: %v", err)
	}
	conn := tls.Server(&replayed{far, io.MultiReader(bytes.NewReader(b), far)}, server)
	if _, err := conn.Write([]byte("x")); err != nil {
		t.Fatalf("server: %v", err)
	}
	if err := <-done; err != nil {
		t.Fatalf("client: %v", err)
	}
	return b, h, conn.ConnectionState()
}

// connect returns the two ends of a connection over loopback. A pipe would not
// do: both sides of a handshake may write at once.
func connect(t *testing.T) (near, far net.Conn) {
	t.Helper()
	near, far = egresstest.Pair(t)
	for _, conn := range []net.Conn{near, far} {
		t.Cleanup(func() { conn.Close() })
		if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	return near, far
}

// replayed is a connection from which some bytes were read, and are read again.
type replayed struct {
	net.Conn
	r io.Reader
}

func (c *replayed) Read(b []byte) (int, error) { return c.r.Read(b) }

func TestHandshakeCompletesWithWhatWasRead(t *testing.T) {
	for _, tt := range []struct {
		name    string
		version uint16
		ticket  int // bytes that are added to the session ticket
	}{
		{"TLS 1.2", tls.VersionTLS12, 0},
		{"TLS 1.3", tls.VersionTLS13, 0},
		{"TLS 1.2, ticket over three records", tls.VersionTLS12, 40_000},
		{"TLS 1.3, ticket over three records", tls.VersionTLS13, 40_000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := serverConfig(t, tt.ticket)
			client := &tls.Config{
				ServerName: host, InsecureSkipVerify: true, MaxVersion: tt.version,
				ClientSessionCache: tls.NewLRUClientSessionCache(1),
			}
			for i := range 2 {
				b, h, state := talk(t, client, server)
				if !h.Matches(host) || state.ServerName != h.ServerName() {
					t.Errorf("name %q here, %q at the server", h.ServerName(), state.ServerName)
				}
				if resumed := i == 1; state.DidResume != resumed || resumed && len(b) < tt.ticket {
					t.Errorf("hello %d: resumed %t, %d bytes", i, state.DidResume, len(b))
				}
			}
		})
	}
}
