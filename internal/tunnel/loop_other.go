//go:build !linux

package tunnel

import "net"

// loopTunnel does not exist where there is no epoll; each direction has a goroutine.
type loopTunnel struct{}

func (*loopTunnel) close(bool)                         {}
func (*loopTunnel) abortLater()                        {}
func (*loopTunnel) keepAliveLater(net.KeepAliveConfig) {}
