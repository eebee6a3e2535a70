package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/dnsfilter"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/proxy"
)

// doors are the open listeners. tls and dns are nil where the file has none.
type doors struct {
	proxy, tls, admin net.Listener
	dns               *dnsfilter.Sockets
}

// listen opens every listener, or none. The file may leave a port to the
// kernel, so it is only now that the program knows where it listens.
func (p *program) listen(ctx context.Context) (d doors, err error) {
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	l := p.cfg.Listen
	if d.proxy, err = p.open(ctx, "listen.proxy", l.Proxy); err != nil {
		return d, err
	}
	if d.admin, err = p.open(ctx, "listen.admin", l.Admin); err != nil {
		return d, err
	}
	if l.TLS != nil {
		if d.tls, err = p.open(ctx, "listen.tls.address", l.TLS.Address); err != nil {
			return d, err
		}
	}
	if p.filter == nil {
		return d, nil
	}
	if d.dns, err = dnsfilter.Listen(ctx, l.DNS, 0); err != nil {
		return d, fmt.Errorf("listen.dns: %w", err)
	}
	p.self.add(d.dns.Addr())
	return d, nil
}

// open opens the TCP listener of a key of the file.
func (p *program) open(ctx context.Context, key string, at netip.AddrPort) (net.Listener, error) {
	ln, err := proxy.Listen(ctx, at.String())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	if at, ok := ln.Addr().(*net.TCPAddr); ok {
		p.self.add(at.AddrPort())
	}
	return ln, nil
}

// close closes what is open.
func (d doors) close() {
	for _, ln := range []net.Listener{d.proxy, d.tls, d.admin} {
		if ln != nil {
			_ = ln.Close()
		}
	}
	if d.dns != nil {
		d.dns.Close()
	}
}

// where says where the program listens, for the log and the first record.
func (d doors) where() []slog.Attr {
	attrs := []slog.Attr{slog.String("proxy", d.proxy.Addr().String())}
	if d.tls != nil {
		attrs = append(attrs, slog.String("tls", d.tls.Addr().String()))
	}
	if d.dns != nil {
		attrs = append(attrs, slog.String("dns", d.dns.Addr().String()))
	}
	return append(attrs, slog.String("admin", d.admin.Addr().String()))
}

// String says the same in one line.
func (d doors) String() (s string) {
	for i, a := range d.where() {
		if i > 0 {
			s += ", "
		}
		s += a.Key + " " + a.Value.String()
	}
	return s
}
