package load

import (
	"crypto/tls"
	"net"
)

// secures reports whether the target has a TLS listener.
func secures(t *Target) bool { return t.TLS != "" }

// dial connects to the proxy. The handshake, where there is one, is made with the first
// bytes.
func (t *Target) dial() (net.Conn, error) {
	c, err := net.Dial("tcp", t.Addr)
	if err != nil || t.secure == nil {
		return c, err
	}
	return tls.Client(c, t.secure), nil
}

// secured opens n connections as allowed does, each behind a whole handshake with the
// target: TLS 1.3, X25519, no session that was kept. Go prefers a hybrid group with
// ML-KEM-768, which the other side need not have, and the clients of functions mostly have
// not.
func (t *Target) secured(o *Origins, n int) (outcome, error) {
	as := *t
	as.Addr = t.TLS
	as.secure = &tls.Config{
		MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.X25519},
		InsecureSkipVerify: true, // the certificate is of this very run
	}
	return as.allowed(o, n)
}
