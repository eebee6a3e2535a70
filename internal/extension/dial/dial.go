// Package dial has the extension's ways out: to the proxy by TLS, and to Lambda's
// Extensions API. The third, to STS, is the AWS SDK's.
//
// What it does: it opens connections to where the extension's own settings say, within
// a time.
//
// What it does not do: it dials no target of a client, and takes no proxy from the
// environment, for HTTPS_PROXY there names the extension itself.
//
//	conn, err := dial.Proxy{Address: "egress.internal:3129", TLS: config}.Dial(ctx)
package dial

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"time"
)

// Timeout is how long a connection and its handshake may take.
const Timeout = 5 * time.Second

// Proxy is where the proxy is.
type Proxy struct {
	Address string      // host:port
	TLS     *tls.Config // with ServerName; required
}

// Dial opens one connection. The context bounds the dial alone, with Timeout.
func (p Proxy) Dial(ctx context.Context) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.Address)
	if err != nil {
		return nil, fmt.Errorf("dialing the proxy: %w", err)
	}
	conn := tls.Client(raw, p.TLS)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close() // its handshake is what failed
		return nil, fmt.Errorf("handshake with the proxy: %w", err)
	}
	return conn, nil
}

// RuntimeAPI returns the client for Lambda's Extensions API. A call has no time: the
// next event may be days away.
func RuntimeAPI() *http.Client {
	return &http.Client{Transport: &http.Transport{Proxy: nil, DialContext: (&net.Dialer{Timeout: Timeout}).DialContext}}
}

// Local reports, by an error, that nobody takes connections at an address of this
// machine.
func Local(ctx context.Context, address string) error {
	conn, err := (&net.Dialer{Timeout: Timeout}).DialContext(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("dialing the extension: %w", err)
	}
	return conn.Close()
}
