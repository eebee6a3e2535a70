// Package reactor waits for many sockets with one goroutine: epoll(7) without
// a goroutine, a stack and a net.Conn for each of them.
//
// What it does: a Loop calls the Handler of a descriptor when the kernel says
// that it is ready, and runs what other goroutines post to it. Everything of one
// loop happens on its goroutine, one thing at a time, so a handler needs no
// locks for what only its loop touches, and must never block.
//
// Beside it stand the calls that handlers make on sockets (Accept, Connect,
// Read, Write, CloseWrite, Close), none of which blocks, and the way out: Conn and
// Connected make a net.Conn of a socket for a goroutine to go on with. A Stream makes the
// same calls where a goroutine waits.
//
// What it does not do: a loop reads, writes and closes nothing by itself, decides
// nothing (Connect goes where it is told; who may call it is checked at the root),
// knows no deadlines and recovers no panics. It exists on Linux; elsewhere New
// returns ErrUnsupported, and callers use goroutines.
//
//	l, err := reactor.New()
//	go l.Run()
//	l.Post(func() { err = l.Watch(fd, reactor.Readable, handler) })
//
// Why not the runtime's own poller alone: waking a goroutine for each readiness
// of each socket costs more than what a proxy does with it. The loop itself
// waits in the runtime's poller (an epoll descriptor can be polled), so an idle
// loop holds no thread.
package reactor

import "errors"

// ErrUnsupported is returned by New where there is no epoll.
var ErrUnsupported = errors.New("epoll is not available on this system")

// BufferSize is the size of a loop's scratch buffer.
const BufferSize = 64 << 10

// Handler is called by its loop when a descriptor is ready. It must not block.
// It is called again only for a new readiness (edge-triggered): it has to read or
// write until the kernel says EAGAIN, or until a short read without HangUp.
type Handler interface {
	Ready(fd int, e Events)
}
