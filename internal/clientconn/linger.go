package clientconn

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/admission"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/fair"
)

const (
	// lingerTime and lingerBytes bound how long a client that has its last reply may
	// go on sending before the connection is cut.
	lingerTime  = 2 * time.Second
	lingerBytes = 1 << 20
	// lingerBuffer is what its bytes are thrown away from; each connection holds one.
	lingerBuffer = 512
)

// SetLingerWriteDeadline gives the last reply as long as its client has to read it.
func (c *Conn) SetLingerWriteDeadline() {
	_ = c.SetWriteDeadline(time.Now().Add(lingerTime))
}

// LingerFor sets how long connections may linger, for tests.
func (s *Set) LingerFor(d time.Duration) { s.lingerFor.Store(int64(d)) }

// LingerShare returns how many connections of one caller may linger.
func (s *Set) LingerShare() int { return s.lingering.Share() }

// Measure registers the gauges of the connections.
func (s *Set) Measure(reg prometheus.Registerer) {
	s.conns.Measure(reg)
	s.lingering.Measure(reg)
}

// Lingering returns how many connections of a caller linger.
func (s *Set) Lingering(k fair.Caller) int { return s.lingering.Len(k) }

// LingeringClose ends a connection so that the client can read the reply
// whole: it says that no more will come, then takes what the client still
// sends, for a bounded time and size, because closing with unread input would
// reset the connection and destroy the reply (RFC 9112, section 9.6). It counts
// to the function that has called, empty: to its source.
func (c *Conn) LingeringClose(function string) {
	if cw, ok := c.Conn.(interface{ CloseWrite() error }); !ok || cw.CloseWrite() != nil {
		return
	}
	c.Free()
	var place admission.LingeringEntry
	out := c.set.lingering.Add(fair.CallerOf(function, c.Client.Addr()), &place, c.raw)
	defer c.set.lingering.Remove(&place)
	if out != nil {
		c.set.opt.LingererClosed.Inc()
		_ = out.Close()
	}
	_ = c.SetReadDeadline(time.Now().Add(time.Duration(c.set.lingerFor.Load())))
	buf := make([]byte, lingerBuffer)
	for taken := 0; taken < lingerBytes; {
		n, err := c.Conn.Read(buf)
		taken += n
		if err != nil {
			return
		}
	}
}
