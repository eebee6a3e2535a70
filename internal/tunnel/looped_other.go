//go:build !linux

package tunnel

import "net"

// looped does not exist where there is no epoll; each direction has a goroutine.
type looped struct{}

func (*looped) close(bool)                         {}
func (*looped) cutLater()                          {}
func (*looped) keepAliveLater(net.KeepAliveConfig) {}
