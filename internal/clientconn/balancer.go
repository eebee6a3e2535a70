package clientconn

import (
	"bufio"
	"bytes"
	"errors"
	"net/netip"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/proxyheader"
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
	from, err := proxyheader.Read(br)
	if err != nil {
		return err
	}
	rest, _ := br.Peek(br.Buffered())
	c.Unread(rest)
	c.applyProxyHeader(from)
	return nil
}

// CutProxyHeader takes a PROXY header that has been read into the buffer already. On an
// error the buffer is as it was, and ReadPreamble may go on.
func (c *Conn) CutProxyHeader() error {
	rest := bytes.NewReader(c.Buffered())
	br := bufio.NewReaderSize(rest, proxyHeaderBuffer)
	from, err := proxyheader.Read(br)
	if err != nil {
		return err
	}
	c.applyProxyHeader(from)
	c.Consume(len(c.Buffered()) - rest.Len() - br.Buffered())
	return nil
}

// proxyHeaderBuffer is the buffer for a PROXY header; more of it is read on.
const proxyHeaderBuffer = 512

// applyProxyHeader takes the client's address from a PROXY header. One of the balancer's
// own connection leaves the peer's.
func (c *Conn) applyProxyHeader(from netip.AddrPort) {
	if from.IsValid() {
		c.Client = from
	}
	c.balanced = true
}
