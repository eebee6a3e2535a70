package identity

import (
	"crypto/tls"
	"crypto/x509"
	"sync"
	"time"
)

// Chain is a client certificate with what vouches for it, as TLS has verified both. It
// proves who has opened a connection, and has to hold again for what is asked on it
// later. Safe for concurrent use.
type Chain struct {
	leaf          *x509.Certificate
	intermediates *x509.CertPool
	verified      time.Time // when TLS did

	mu        sync.Mutex
	validBy   *Table    // has found last that it is valid; nil: none has
	until     time.Time // the end of its time, by what vouched for it then
	trustedBy *Table    // has found last that it is trusted; nil: none has
}

// NewChain returns the chain of a client certificate that TLS has verified now; nil where
// none was shown, or it was not verified.
func NewChain(state tls.ConnectionState, now time.Time) *Chain {
	if len(state.VerifiedChains) == 0 {
		return nil
	}
	c := &Chain{leaf: state.VerifiedChains[0][0], intermediates: x509.NewCertPool(), verified: now, until: lastEnd(state.VerifiedChains)}
	for _, cert := range state.PeerCertificates[1:] {
		c.intermediates.AddCert(cert)
	}
	return c
}

// Names returns what CertificateNames does of it; nil for a nil Chain.
func (c *Chain) Names() []string {
	if c == nil {
		return nil
	}
	return CertificateNames(c.leaf)
}

// Valid reports whether a new request may be asked by it: its time is not over, and the
// authorities of the table vouch for it. A nil Chain claims nothing, and holds.
func (c *Chain) Valid(t *Table, now time.Time) bool {
	if c == nil {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if t == nil {
		return false
	}
	if t.authorities != nil && c.validBy != t {
		chains, err := c.verify(t, now)
		if err != nil {
			return false
		}
		c.validBy, c.until = t, lastEnd(chains)
	}
	return !now.After(c.until)
}

// Trusted reports whether what is open by it may stay open: the authorities of the table
// vouch for it, at some time of its own. It proves who has opened something, so its time
// may be over. A nil Chain claims nothing, and is trusted.
func (c *Chain) Trusted(t *Table, now time.Time) bool {
	if c == nil {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case t == nil:
		return false
	case t.authorities == nil, c.validBy == t, c.trustedBy == t:
		return true
	}
	for _, at := range []time.Time{now, c.leaf.NotAfter, c.verified} {
		if _, err := c.verify(t, at); err == nil {
			c.trustedBy = t
			return true
		}
	}
	return false
}

// verify asks the authorities of the table at a time, as TLS does of a client.
func (c *Chain) verify(t *Table, at time.Time) ([][]*x509.Certificate, error) {
	return c.leaf.Verify(x509.VerifyOptions{
		Roots: t.authorities, Intermediates: c.intermediates, CurrentTime: at,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

// lastEnd returns the end of the chain that lasts longest: of each the first end counts.
func lastEnd(chains [][]*x509.Certificate) (last time.Time) {
	for _, chain := range chains {
		end := chain[0].NotAfter
		for _, cert := range chain {
			if cert.NotAfter.Before(end) {
				end = cert.NotAfter
			}
		}
		if end.After(last) {
			last = end
		}
	}
	return last
}
