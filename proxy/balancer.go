package proxy

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net/netip"

	"github.com/pires/go-proxyproto"
)

// fromBalancer reports whether a PROXY header is to be expected.
func (s *Server) fromBalancer(a netip.Addr) bool {
	for _, p := range s.opt.ProxyProtocolFrom {
		if p.Contains(a) {
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
func (c *conn) readProxyHeader() error {
	br := bufio.NewReaderSize(c, proxyHeaderBuffer)
	if _, err := br.Peek(1); err != nil {
		return errNoByte
	}
	h, err := proxyproto.Read(br)
	if err != nil {
		return fmt.Errorf("reading the PROXY header: %w", err)
	}
	rest, _ := br.Peek(br.Buffered())
	c.unread(rest)
	return c.applyProxyHeader(h)
}

// cutProxyHeader is readProxyHeader for a header that has been read into the
// buffer already. On an error the buffer is as it was.
func (c *conn) cutProxyHeader() error {
	rest := bytes.NewReader(c.buffered())
	br := bufio.NewReaderSize(rest, proxyHeaderBuffer)
	h, err := proxyproto.Read(br)
	if err == nil {
		err = c.applyProxyHeader(h)
	}
	if err == nil {
		c.consume(len(c.buffered()) - rest.Len() - br.Buffered())
	}
	return err
}

// proxyHeaderBuffer is the buffer for a PROXY header; more of it is read on.
const proxyHeaderBuffer = 512

// applyProxyHeader takes the client's address from a PROXY header. A LOCAL one, of a
// health check, leaves the peer's own.
func (c *conn) applyProxyHeader(h *proxyproto.Header) error {
	if !h.Command.IsLocal() {
		source, _, ok := h.TCPAddrs()
		if !ok {
			return fmt.Errorf("reading the PROXY header: %w", proxyproto.ErrUnsupportedAddressFamilyAndProtocol)
		}
		ap := source.AddrPort()
		c.client = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	c.balanced = true
	return nil
}
