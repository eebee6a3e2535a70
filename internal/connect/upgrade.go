package connect

import (
	"net"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/exchange"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/tunnel"
)

// Move moves so many bytes one way, as a tunnel does.
func (s *Server) Move(t tunnel.Transfer) (left int64, srcErr, dstErr error) { return s.tunnels.Move(t) }

// Upgraded gives the connections of a plain request that has changed its protocol (RFC
// 9110, section 7.8) to a tunnel like any other. early is what the client has sent for it
// already; so many bytes have come back.
func (s *Server) Upgraded(x *exchange.Exchange, origin net.Conn, early []byte, down int64) {
	client := x.Conn.Conn
	s.startedTunnel(x, 0, func(o *exchange.Open, done func(tunnel.Result)) *tunnel.Tunnel {
		return s.tunnels.Start(tunnel.Params{Client: client, Origin: origin, Prefix: early, Value: o, Done: func(r tunnel.Result) {
			r.Down += down
			done(r)
		}})
	})
}
