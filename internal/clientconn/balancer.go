package clientconn

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net/netip"

	"github.com/pires/go-proxyproto"
)

// AwaitsProxyHeader reports whether a load balancer's PROXY header has yet to come.
func (c *Conn) AwaitsProxyHeader() bool {
	if c.balanced {
		return false
	}
	for _, p := range c.set.opt.ProxyProtocolFrom {
		if p.Contains(c.Client.Addr()) {
			return true
		}
	}
	return false
}

// errNoByte is a load balancer's connection that ended before its first byte,
// as a health check's does; it is not worth a record.
var errNoByte = errors.New("connection ended before its first byte")

// readProxyHeader reads the PROXY protocol header that a load balancer must
// send.
func (c *Conn) readProxyHeader() error {
	br := bufio.NewReaderSize(c, proxyHeaderBuffer)
	if _, err := br.Peek(1); err != nil {
		return errNoByte
	}
	h, err := proxyproto.Read(br)
	if err != nil {
		return fmt.Errorf("reading the PROXY header: %w", err)
	}
	rest, _ := br.Peek(br.Buffered())
	c.Unread(rest)
	return c.applyProxyHeader(h)
}

// CutProxyHeader takes a PROXY header that has been read into the buffer already. On an
// error the buffer is as it was, and ReadPreamble may go on.
func (c *Conn) CutProxyHeader() error {
	rest := bytes.NewReader(c.Buffered())
	br := bufio.NewReaderSize(rest, proxyHeaderBuffer)
	h, err := proxyproto.Read(br)
	if err == nil {
		err = c.applyProxyHeader(h)
	}
	if err == nil {
		c.Consume(len(c.Buffered()) - rest.Len() - br.Buffered())
	}
	return err
}

// proxyHeaderBuffer is the buffer for a PROXY header; more of it is read on.
const proxyHeaderBuffer = 512

// applyProxyHeader takes the client's address from a PROXY header. A LOCAL one, of a
// health check, leaves the peer's own.
func (c *Conn) applyProxyHeader(h *proxyproto.Header) error {
	if !h.Command.IsLocal() {
		source, _, ok := h.TCPAddrs()
		if !ok {
			return fmt.Errorf("reading the PROXY header: %w", proxyproto.ErrUnsupportedAddressFamilyAndProtocol)
		}
		ap := source.AddrPort()
		c.Client = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	c.balanced = true
	return nil
}
