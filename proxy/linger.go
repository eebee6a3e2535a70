package proxy

import (
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/admission"
)

const (
	// lingerTime and lingerBytes bound how long a client that has its last reply may
	// go on sending before the connection is cut.
	lingerTime  = 2 * time.Second
	lingerBytes = 1 << 20
	// lingerBuffer is what its bytes are thrown away from; each connection holds one.
	lingerBuffer = 512
)

// lingerer returns whom the connection counts to when it lingers.
func (c *conn) lingerer() admission.Caller {
	if c.current != nil && c.current.Event.Function != "" {
		return admission.Caller{Function: c.current.Event.Function}
	}
	return admission.Caller{Source: admission.Source(c.client.Addr())}
}

// lingeringClose ends a connection so that the client can read the reply
// whole: it says that no more will come, then takes what the client still
// sends, for a bounded time and size, because closing with unread input would
// reset the connection and destroy the reply (RFC 9112, section 9.6).
func (c *conn) lingeringClose() {
	if cw, ok := c.Conn.(interface{ CloseWrite() error }); !ok || cw.CloseWrite() != nil {
		return
	}
	c.free()
	var place admission.LingeringEntry
	out := c.server.lingering.Add(c.lingerer(), &place, c.raw)
	defer c.server.lingering.Remove(&place)
	if out != nil {
		c.server.metrics.lingererClosed.Inc()
		_ = out.Close()
	}
	_ = c.SetReadDeadline(time.Now().Add(time.Duration(c.server.lingerFor.Load())))
	buf := make([]byte, lingerBuffer)
	for taken := 0; taken < lingerBytes; {
		n, err := c.Conn.Read(buf)
		taken += n
		if err != nil {
			return
		}
	}
}
