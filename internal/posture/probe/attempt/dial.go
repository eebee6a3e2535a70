package attempt

import (
	"context"
	"net"

	"golang.org/x/net/icmp"
)

// dial opens a connection for a try. Where it leads is a setting of whoever starts the
// probe; this program is no gate, and nobody else has a say in it.
func dial(ctx context.Context, network, address string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, network, address)
}

// listenEcho opens a socket for echo requests: one that needs no right, where the kernel
// gives it (net.ipv4.ping_group_range), else a raw one. raw says how an address is written.
func listenEcho() (conn *icmp.PacketConn, raw bool, err error) {
	if conn, err = icmp.ListenPacket("udp4", "0.0.0.0"); err == nil {
		return conn, false, nil
	}
	conn, err = icmp.ListenPacket("ip4:icmp", "0.0.0.0")
	return conn, true, err
}
