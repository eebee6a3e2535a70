package dnsserver

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// batchSize is how many packets one system call moves at most.
	batchSize = 32
	// controlBytes takes the control message of either family.
	controlBytes = 64
)

// message is struct mmsghdr of recvmmsg(2).
type message struct {
	header unix.Msghdr
	length uint32
}

// batch reads and writes packets of one socket, many to a system call and
// without allocating. It is for one goroutine. Answers leave from the address
// that was asked, also on a socket that is bound to all.
type batch struct {
	sock    *socket
	in, out [batchSize]message
	inVec   [batchSize]unix.Iovec
	outVec  [batchSize]unix.Iovec
	names   [batchSize]unix.RawSockaddrInet6 // of either family
	ctl     [batchSize][controlBytes]byte
	packets [batchSize][maxQuestion]byte
	replies [batchSize][replyBytes]byte

	pktinfo bool // the socket tells which address was asked
	queued  int
	got     int
	sent    int
	errno   syscall.Errno
	recvFn  func(fd uintptr)
	sendFn  func(fd uintptr)
}

// newBatch prepares the socket and the memory for it.
func newBatch(sock *socket) (*batch, error) {
	b := &batch{sock: sock}
	b.recvFn, b.sendFn = b.recv, b.send
	if sock.any {
		if err := b.askPktinfo(); err != nil {
			return nil, err
		}
	}
	for i := range b.in {
		b.inVec[i].Base = &b.packets[i][0]
		b.inVec[i].SetLen(maxQuestion)
		h := &b.in[i].header
		h.Iov, h.Name = &b.inVec[i], (*byte)(unsafe.Pointer(&b.names[i]))
		h.SetIovlen(1)
	}
	return b, nil
}

// askPktinfo has the kernel tell which address was asked. An IPv6 socket that
// takes IPv4 too wants both options, another one takes one.
func (b *batch) askPktinfo() error {
	var err4, err6 error
	err := b.sock.raw.Control(func(fd uintptr) {
		err4 = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		err6 = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
	})
	if err == nil && err4 != nil && err6 != nil {
		err = err4
	}
	if err != nil {
		return fmt.Errorf("asking for the address of questions: %w", err)
	}
	b.pktinfo = true
	return nil
}

// read waits for packets and returns how many there are.
func (b *batch) read() (int, error) {
	b.queued = 0
	for i := range b.in {
		h := &b.in[i].header
		h.Namelen = unix.SizeofSockaddrInet6
		h.Flags = 0
		if b.pktinfo {
			h.Control = &b.ctl[i][0]
			h.SetControllen(controlBytes)
		}
	}
	for {
		if err := b.sock.raw.Control(b.recvFn); err != nil {
			return 0, err
		}
		switch {
		case b.sock.readsStopped.Load():
			return 0, net.ErrClosed
		case b.errno == unix.EINTR:
		case b.errno != 0:
			return 0, os.NewSyscallError("recvmmsg", b.errno)
		default:
			return b.got, nil
		}
	}
}

// recv is one recvmmsg(2), which waits for the first packet alone.
func (b *batch) recv(fd uintptr) {
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&b.in[0])), batchSize, unix.MSG_WAITFORONE, 0, 0)
	b.got, b.errno = int(n), errno
}

// packet returns packet i, who sent it, and whether it is all there. It is
// valid until the next read.
func (b *batch) packet(i int) (pkt []byte, from netip.AddrPort, whole bool) {
	m := &b.in[i]
	return b.packets[i][:m.length], addrPort(&b.names[i]), m.header.Flags&unix.MSG_TRUNC == 0
}

// addrPort reads a socket address of either family.
func addrPort(name *unix.RawSockaddrInet6) netip.AddrPort {
	if name.Family == unix.AF_INET {
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
		return netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), networkOrder(v4.Port))
	}
	return netip.AddrPortFrom(netip.AddrFrom16(name.Addr).Unmap(), networkOrder(name.Port))
}

// networkOrder reads a port of a socket address.
func networkOrder(port uint16) uint16 {
	p := (*[2]byte)(unsafe.Pointer(&port))
	return uint16(p[0])<<8 | uint16(p[1])
}

// buffer returns the empty buffer for the answer to packet i.
func (b *batch) buffer(i int) []byte { return b.replies[i][:0] }

// origin returns where the answer to packet i goes, for when the batch has
// moved on.
func (b *batch) origin(i int) *origin {
	n := b.leaveFrom(i)
	return &origin{b.names[i], b.in[i].header.Namelen, append([]byte(nil), b.ctl[i][:n]...)}
}

// leaveFrom makes the control message of packet i one for its answer and returns
// its length: the address stays, the interface is for the route to choose.
func (b *batch) leaveFrom(i int) int {
	n := int(b.in[i].header.Controllen)
	if !b.pktinfo || n < unix.SizeofCmsghdr {
		return 0
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b.ctl[i][0]))
	data := b.ctl[i][unix.CmsgLen(0):]
	switch {
	case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO:
		clear(data[:4]) // struct in_pktinfo: the index comes first
		return min(n, unix.CmsgSpace(unix.SizeofInet4Pktinfo))
	case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO:
		if !netip.AddrFrom16([16]byte(data[:16])).IsLinkLocalUnicast() {
			clear(data[16:20]) // struct in6_pktinfo: the index comes last
		}
		return min(n, unix.CmsgSpace(unix.SizeofInet6Pktinfo))
	default:
		return 0
	}
}

// reply queues the answer to packet i.
func (b *batch) reply(i int, answer []byte) {
	if len(answer) == 0 {
		return
	}
	k := b.queued
	b.outVec[k].Base = &answer[0]
	b.outVec[k].SetLen(len(answer))
	h := &b.out[k].header
	*h = unix.Msghdr{Name: b.in[i].header.Name, Namelen: b.in[i].header.Namelen, Iov: &b.outVec[k]}
	h.SetIovlen(1)
	if n := b.leaveFrom(i); n > 0 {
		h.Control = &b.ctl[i][0]
		h.SetControllen(n)
	}
	b.queued++
}

// flush sends the queued answers. One that cannot be sent is left out: its
// client asks again or is gone.
func (b *batch) flush() {
	for b.sent = 0; b.sent < b.queued; {
		if b.sock.raw.Control(b.sendFn) != nil {
			return
		}
		if b.errno != 0 && b.errno != unix.EINTR {
			b.sent++
		}
	}
}

// send is one sendmmsg(2).
func (b *batch) send(fd uintptr) {
	n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&b.out[b.sent])), uintptr(b.queued-b.sent), 0, 0, 0)
	b.errno = errno
	if errno == 0 {
		b.sent += int(n)
	}
}

// transient reports whether an error of a socket is about one packet or a moment,
// such as an ICMP error that an earlier answer met.
func transient(err error) bool {
	for _, e := range []error{unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.ENOBUFS, unix.ENOMEM, unix.EPERM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// reusePort lets several sockets share an address; the kernel spreads packets
// over them by their source.
func reusePort(_, _ string, c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	})
	if err != nil {
		return err
	}
	return failed
}

// maxSockets is how many UDP sockets share an address at most.
const maxSockets = 16
