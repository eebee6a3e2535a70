package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/benchmarks/internal/process"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/standin"
)

// How long an idle connection is kept, by whom.
const (
	originIdle = 2 * time.Second
	proxyIdle  = 5 * time.Second
)

// The function that AWS attests, and whom its tokens are for.
const (
	function = "frozen"
	arn      = "arn:aws:lambda:eu-west-1:111122223333:function:" + function
	audience = "https://egress.example"
)

// authority makes a certificate for localhost that is its own authority, and writes it to
// ca.pem, its key to key.pem.
func authority(dir string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("making a key: %w", err)
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, SubjectKeyId: []byte{1}, AuthorityKeyId: []byte{1},
	}
	t.Subject.CommonName = "localhost"
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("making a certificate: %w", err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("writing a key: %w", err)
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	for name, text := range map[string][]byte{"ca.pem": certificate, "key.pem": private} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return tls.Certificate{}, fmt.Errorf("writing a certificate: %w", err)
		}
	}
	return tls.X509KeyPair(certificate, private)
}

// buckets is what an origin answers, which a client of S3 can read.
const buckets = `<ListAllMyBucketsResult><Owner><ID>a</ID></Owner><Buckets/></ListAllMyBucketsResult>`

// origin answers by TLS. It holds its first requests until so many of them are there: so
// many connections are open then.
type origin struct {
	port int

	mu   sync.Mutex
	left int           // requests that are waited for
	full chan struct{} // closed when they are there
}

// newOrigin starts an origin.
func newOrigin(certificate tls.Certificate) (*origin, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("starting an origin: %w", err)
	}
	o := &origin{port: ln.Addr().(*net.TCPAddr).Port}
	server := &http.Server{
		Handler: o, IdleTimeout: originIdle, ErrorLog: log.New(nowhere{}, "", 0),
		TLSConfig:    &tls.Config{Certificates: []tls.Certificate{certificate}},
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}, // HTTP/1.1 alone
	}
	go func() { _ = server.ServeTLS(ln, "", "") }() // until the program ends
	return o, nil
}

// hold has the next n requests wait for each other.
func (o *origin) hold(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.left, o.full = n, make(chan struct{})
}

// ServeHTTP implements http.Handler.
func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	full := o.full
	if o.left--; o.left == 0 {
		close(full)
	}
	o.mu.Unlock()
	select {
	case <-full:
		_, _ = w.Write([]byte(buckets)) // who is gone misses nothing
	case <-r.Context().Done():
	}
}

// nowhere takes what servers say of clients that go away.
type nowhere struct{}

// Write implements io.Writer.
func (nowhere) Write(b []byte) (int, error) { return len(b), nil }

// site is what all cells share.
type site struct {
	files
	extension string // the binary
	plain     string // where the proxy listens in the clear
	byTLS     string // and by TLS
	sts       string // URL of the stand-in
}

// startProxy starts the proxy, and the stand-in for STS, before the origins of these ports.
func (s *site) startProxy(binary string, ports []int) (*process.Process, error) {
	number := strings.Split(arn, ":")[4]
	issuer, err := standin.New(number, "https://issuer.example")
	if err != nil {
		return nil, fmt.Errorf("making an issuer: %w", err)
	}
	if err := os.WriteFile(s.path("jwks.json"), issuer.JWKS(), 0o600); err != nil {
		return nil, fmt.Errorf("writing the keys: %w", err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("starting the stand-in for STS: %w", err)
	}
	handler := issuer.Handler(standin.Caller{Region: "eu-west-1", Function: function})
	go func() { _ = http.Serve(ln, handler) }() // until the program ends
	s.sts = "http://" + ln.Addr().String()
	if s.plain, err = freePort(); err != nil {
		return nil, err
	}
	if s.byTLS, err = freePort(); err != nil {
		return nil, err
	}
	rule := fmt.Sprintf("      - {host: localhost, ports: [%s], addresses: [127.0.0.0/8, \"::1/128\"]}\n", strings.Trim(strings.ReplaceAll(fmt.Sprint(ports), " ", ", "), "[]"))
	policy := fmt.Sprintf(`version: 1
listen: {proxy: %q, admin: "127.0.0.1:0", tls: {address: %q, certificate: ca.pem, key: key.pem}}
limits: {idle_timeout: %v, tunnels: 20000, tunnels_per_function: 20000}
audit: {output: %q}
aws: {audience: %q, max_lifetime: 15m, accounts: {%q: {issuer: "https://issuer.example", keys: jwks.json}}}
functions:
  %s:
    identify: {aws: [%q]}
    allow:
%[9]s  beside:
    identify: {sources: [127.0.0.0/8]}
    allow:
%[9]s`, s.plain, s.byTLS, proxyIdle, s.path("records"), audience, number, function, arn, rule)
	if err := os.WriteFile(s.path("egress.yaml"), []byte(policy), 0o600); err != nil {
		return nil, fmt.Errorf("writing the policy: %w", err)
	}
	p, err := process.Start(s.dir, binary, "run", "--config", s.path("egress.yaml"))
	if err != nil {
		return nil, err
	}
	return p, p.Await(s.byTLS)
}

// startExtension starts an extension of its own and returns its address.
func (s *site) startExtension() (*process.Process, string, error) {
	at, err := freePort()
	if err != nil {
		return nil, "", err
	}
	_, port, _ := net.SplitHostPort(s.byTLS)
	p, err := process.Start(s.dir, "env", "-i", "EGRESS_LISTEN="+at, "EGRESS_PROXY=https://localhost:"+port, "EGRESS_AUDIENCE="+audience, "EGRESS_CA="+s.path("ca.pem"),
		"AWS_REGION=eu-west-1", "AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=a", "AWS_ENDPOINT_URL_STS="+s.sts, s.extension)
	if err != nil {
		return nil, "", err
	}
	return p, at, p.Await(at)
}

// freePort returns an address of loopback that nobody listens at.
func freePort() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("looking for a port: %w", err)
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}
