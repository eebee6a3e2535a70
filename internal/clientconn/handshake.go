package clientconn

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Handshake is how a TLS handshake with a client ended.
type Handshake uint8

// The ways a handshake ends.
const (
	HandshakeOK                Handshake = iota
	HandshakeAlert                       // the client refused: it does not take the certificate, say
	HandshakeClientCertificate           // the client's certificate does not hold
	HandshakeNotTLS                      // the client does not speak TLS
	HandshakeTimeout                     // the client did not go on in time
	HandshakeClientLeft                  // the client closed the connection
	HandshakeOther                       // no version, cipher or protocol in common, or a fault of TLS
	Handshakes
)

// handshakeCauses are the values of the label cause.
var handshakeCauses = [Handshakes]string{
	"", "alert", "client_certificate", "not_tls", "timeout", "client_left", "other",
}

// Cause returns the word of a handshake that failed, "" of one that did not.
func (h Handshake) Cause() string { return handshakeCauses[h] }

// handshakeOf returns how a handshake ended that returned err.
func handshakeOf(err error) Handshake {
	var unverified *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var op *net.OpError
	var timeout net.Error
	switch {
	case err == nil:
		return HandshakeOK
	case errors.As(err, &unverified):
		return HandshakeClientCertificate
	case errors.As(err, &record):
		return HandshakeNotTLS
	case errors.As(err, &op) && op.Op == "remote error":
		return HandshakeAlert
	case errors.As(err, &timeout) && timeout.Timeout():
		return HandshakeTimeout
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed):
		return HandshakeClientLeft
	}
	return HandshakeOther
}

// CountHandshakes makes the metric of TLS, each of its series at 0, and returns what
// counts a handshake. reg may be nil.
func CountHandshakes(reg prometheus.Registerer) func(Handshake) {
	all := promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
		Name: "egress_tls_handshakes_total",
		Help: "TLS handshakes with clients, by result, and by cause where they failed; alert: the client refused, because it does not trust the certificate, for one.",
	}, []string{"result", "cause"})
	var counters [Handshakes]prometheus.Counter
	for h := range Handshakes {
		result := "failed"
		if h == HandshakeOK {
			result = "ok"
		}
		counters[h] = all.WithLabelValues(result, h.Cause())
	}
	return func(h Handshake) { counters[h].Inc() }
}
