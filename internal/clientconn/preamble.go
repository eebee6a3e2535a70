package clientconn

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/reactor"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// ReadPreamble does what comes before the first request, within the time for its head:
// it reads the PROXY header of a load balancer and shakes hands where the listener is
// TLS. False: the connection has to be closed without an answer, for the reason given;
// verdict.ReasonNone: for nothing that is worth a record.
func (c *Conn) ReadPreamble(tlsConfig *tls.Config) (verdict.Reason, bool) {
	if !c.listed {
		c.List()
	}
	if c.AwaitsProxyHeader() {
		if err := c.readProxyHeader(); err != nil {
			if errors.Is(err, errNoByte) {
				return verdict.ReasonNone, false
			}
			return verdict.ReasonBadRequest, false
		}
		if !c.Unlist() {
			return verdict.ReasonNone, false
		}
		c.List()
	}
	if tlsConfig == nil {
		return verdict.ReasonNone, true
	}
	return c.handshake(tlsConfig)
}

// handshake makes the connection a TLS one, within the deadline for the head.
// Names are taken from a certificate that was verified, whatever the config
// asks of clients; one that was shown and was not verified names nobody.
func (c *Conn) handshake(config *tls.Config) (verdict.Reason, bool) {
	// A peer that takes nothing must not hold the handshake either.
	_ = c.SetWriteDeadline(time.Now().Add(c.set.opt.HeaderTimeout))
	under := &underTLS{Conn: c.Conn, ahead: bytes.Clone(c.Buffered())}
	under.stream.Init(c.Conn)
	c.Free()
	tc := tls.Server(under, config)
	ended := handshakeOf(tc.HandshakeContext(c.set.opt.Base))
	c.set.opt.Handshaken(ended)
	switch ended {
	case HandshakeOK:
	case HandshakeClientCertificate:
		return verdict.ReasonIdentityRejected, false
	default:
		return verdict.ReasonNone, false
	}
	_ = c.SetWriteDeadline(time.Time{})
	state := tc.ConnectionState()
	c.Chain = identity.NewChain(state, time.Now())
	c.Certificate = c.Chain.Names()
	if c.Certificate == nil && len(state.PeerCertificates) > 0 {
		c.Certificate = []string{}
	}
	c.Conn = tc
	c.stream.Init(tc)
	return verdict.ReasonNone, true
}

// underTLS is the raw connection under TLS, with what the PROXY header's reader had read
// ahead.
type underTLS struct {
	net.Conn
	stream reactor.Stream
	ahead  []byte
}

// Read reads what was read ahead first.
func (u *underTLS) Read(p []byte) (int, error) {
	if len(u.ahead) > 0 {
		n := copy(p, u.ahead)
		u.ahead = u.ahead[n:]
		return n, nil
	}
	return u.stream.Read(p)
}

// Write implements net.Conn.
func (u *underTLS) Write(p []byte) (int, error) { return u.stream.Write(p) }

// NetConn returns the raw connection.
func (u *underTLS) NetConn() net.Conn { return u.Conn }
