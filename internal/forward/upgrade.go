package forward

import (
	"bytes"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hop"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/tunnel"
)

// upgrades reports whether the request may become a tunnel: it asks for that, and the rule
// lets bytes pass that nobody reads. Over h2c come requests that nobody judges; it is
// obsolete (RFC 9113, section 3.1).
func (x *plainRequest) upgrades() bool {
	return x.options.Upgrade != "" && x.options.Names("Upgrade") && x.Head.Minor == 1 && !x.Head.HasContent() &&
		x.PassesUpgrade() && !strings.Contains(strings.ToLower(x.options.Upgrade), "h2c")
}

// becomeTunnel answers the client that its connection changes its protocol, and gives both
// connections to a tunnel, with what has come for it already.
func (x *plainRequest) becomeTunnel() {
	a := &x.answer
	came := x.conn.Buffered()
	b := hop.AppendAnswer((*a.buf)[:0], &a.head, false, via(a.head.Minor))
	b = hop.AppendField(hop.AppendField(b, "Connection", "Upgrade"), "Upgrade", a.head.Upgrade)
	*a.buf = append(append(b, "\r\n"...), came...)
	a.pending = int64(len(came))
	a.flush()
	x.client.server.open.Remove(&x.watch)
	if cause, aborted := x.watch.Ended(); aborted || a.err != nil {
		if !aborted {
			cause = tunnel.Error
		}
		x.Ended(x.result(cause))
		return
	}
	early, origin := bytes.Clone(x.Conn.Buffered()), x.conn.Detach()
	x.conn = nil
	x.client.server.Tunnel(x.Exchange, origin, early, a.x.watch.Down.Load())
}
