package proxy_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"testing"
)

// How a handshake ends is counted: a listener whose certificate nobody trusts, or whose
// clients show certificates of another authority, does not look like one without clients.
func TestHandshakesAreCountedByHowTheyEnd(t *testing.T) {
	t.Parallel()
	a, stranger := newAuthority(t), newAuthority(t)
	r := tlsRig(t, a, newOrigin(t, echo), a.listener(tls.VerifyClientCertIfGiven), rigOptions{})
	shake := func(config *tls.Config) {
		c := tls.Client(r.dial(), config)
		_ = c.Handshake()
		_, _ = io.Copy(io.Discard, c) // until the proxy has seen the end
	}
	good := func() *tls.Config { return &tls.Config{RootCAs: a.pool(), ServerName: "proxy.test"} }
	for _, row := range []struct {
		series string
		client func()
	}{
		{"ok ", func() {
			c := tls.Client(r.dial(), good())
			if err := c.Handshake(); err != nil {
				t.Error(err)
			}
			_ = c.Close()
		}},
		{"failed alert", func() { shake(&tls.Config{RootCAs: x509.NewCertPool(), ServerName: "proxy.test"}) }},
		{"failed client_certificate", func() {
			config := good()
			config.Certificates = []tls.Certificate{stranger.issue("certified.internal")}
			shake(config)
		}},
		{"failed not_tls", func() {
			c := r.dial()
			_, _ = io.WriteString(c, "CONNECT a.test:443 HTTP/1.1\r\n\r\n")
			_, _ = io.Copy(io.Discard, c)
		}},
		{"failed client_left", func() {
			c := r.dial()
			_, _ = io.WriteString(c, "\x16\x03\x01")
			_ = c.Close()
		}},
		{"failed other", func() {
			config := good()
			config.MaxVersion = tls.VersionTLS11
			config.MinVersion = tls.VersionTLS10
			shake(config)
		}},
	} {
		before := r.handshakes()
		row.client()
		eventually(t, row.series+" is counted", func() bool { return r.handshakes()[row.series] == before[row.series]+1 })
		for series, n := range r.handshakes() {
			if series != row.series && n != before[series] {
				t.Errorf("%s: %s is counted too", row.series, series)
			}
		}
	}
}

// handshakes returns how many there were, by result and cause.
func (r *rig) handshakes() map[string]float64 {
	all := map[string]float64{}
	r.eachSeries("egress_tls_handshakes_total", func(labels map[string]string, n float64) { all[labels["result"]+" "+labels["cause"]] = n })
	return all
}
