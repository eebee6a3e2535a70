// Package proxyheader reads the PROXY protocol header that a load balancer sends in front
// of a connection (The PROXY protocol, versions 1 and 2, HAProxy Technologies).
//
// What it does: [Read] says from where the client comes, for every listener alike. A
// header may come in as many pieces as the network makes of it.
//
// What it does not do: it sets no deadline, and does not know from whom a header is
// believed; whoever reads the connection does.
//
//	from, err := proxyheader.Read(br)
//	if err == nil && from.IsValid() { client = from }
package proxyheader

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net/netip"

	"github.com/pires/go-proxyproto"
)

// maxLine is the longest header of version 1, its line end included.
const maxLine = 107

// errNobody is a header that says that there is a client, and not which.
var errNobody = errors.New("it does not say who the client is")

// Read reads a header, and returns where the client comes from. What is not valid is that
// of a LOCAL connection, which the balancer makes by itself, as for a health check: its
// own address is the client's. A client of whom the header does not say the address
// (UNKNOWN in version 1, UNSPEC in version 2), or by which it is none of TCP, is an
// error: it would have whatever belongs to the balancer.
//
// br must have room for 107 bytes. Behind an error it is nowhere in particular.
func Read(br *bufio.Reader) (from netip.AddrPort, err error) {
	if err := awaitLine(br); err != nil {
		return from, fmt.Errorf("reading the PROXY header: %w", err)
	}
	h, err := proxyproto.Read(br)
	switch {
	case err != nil:
		return from, fmt.Errorf("reading the PROXY header: %w", err)
	case h.Command.IsLocal() && h.Version == 2:
		return from, nil
	}
	source, _, ok := h.TCPAddrs() // none of UNKNOWN, which the library has as LOCAL
	if !ok || h.Command.IsLocal() {
		return from, fmt.Errorf("reading the PROXY header: %w", errNobody)
	}
	ap := source.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), nil
}

// awaitLine waits until all of a header of version 1 is buffered, as the library wants it.
// It returns at once where it can be none, or has no end.
func awaitLine(br *bufio.Reader) error {
	const begin = "PROXY "
	for n := 1; n <= maxLine; n++ {
		if _, err := br.Peek(n); err != nil {
			return err
		}
		n = min(br.Buffered(), maxLine)
		line, _ := br.Peek(n)
		if !bytes.HasPrefix(line, []byte(begin[:min(n, len(begin))])) || bytes.IndexByte(line, '\n') >= 0 {
			return nil
		}
	}
	return nil
}
