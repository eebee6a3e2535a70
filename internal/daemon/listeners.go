package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"

	"golang.org/x/sync/errgroup"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/dnsfilter"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/proxy"
)

// listeners are the open listeners. tls and dns are nil where the file has none.
type listeners struct {
	proxy, tls, admin net.Listener
	dns               *dnsfilter.Sockets
}

// listen opens every listener, or none. The file may leave a port to the
// kernel, so it is only now that the program knows where it listens.
func (p *program) listen(ctx context.Context) (l listeners, err error) {
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	at := p.cfg.Listen
	if l.proxy, err = p.open(ctx, "listen.proxy", at.Proxy); err != nil {
		return l, err
	}
	if l.admin, err = p.open(ctx, "listen.admin", at.Admin); err != nil {
		return l, err
	}
	if at.TLS != nil {
		if l.tls, err = p.open(ctx, "listen.tls.address", at.TLS.Address); err != nil {
			return l, err
		}
	}
	if p.filter == nil {
		return l, nil
	}
	if l.dns, err = dnsfilter.Listen(ctx, at.DNS, 0); err != nil {
		return l, fmt.Errorf("listen.dns: %w", err)
	}
	p.self.Add(l.dns.Addr())
	return l, nil
}

// open opens the TCP listener of a key of the file.
func (p *program) open(ctx context.Context, key string, at netip.AddrPort) (net.Listener, error) {
	ln, err := proxy.Listen(ctx, at.String())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	if at, ok := ln.Addr().(*net.TCPAddr); ok {
		p.self.Add(at.AddrPort())
	}
	return ln, nil
}

// serveListeners serves what is open. A listener that fails for good ends the group.
func (p *program) serveListeners(l listeners, all *errgroup.Group) {
	all.Go(func() error { return p.server.Serve(l.proxy, nil) })
	if l.tls != nil {
		all.Go(func() error { return p.server.Serve(l.tls, p.tlsConfig()) })
	}
	if l.dns != nil {
		all.Go(func() error { return p.serveDNS(l.dns) })
	}
	all.Go(func() error {
		if err := p.admin.Serve(l.admin); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serving the admin listener: %w", err)
		}
		return nil
	})
}

// close closes what is open.
func (l listeners) close() {
	for _, ln := range []net.Listener{l.proxy, l.tls, l.admin} {
		if ln != nil {
			_ = ln.Close()
		}
	}
	if l.dns != nil {
		l.dns.Close()
	}
}

// attrs says where the program listens, for the log and the first record.
func (l listeners) attrs() []slog.Attr {
	attrs := []slog.Attr{slog.String("proxy", l.proxy.Addr().String())}
	if l.tls != nil {
		attrs = append(attrs, slog.String("tls", l.tls.Addr().String()))
	}
	if l.dns != nil {
		attrs = append(attrs, slog.String("dns", l.dns.Addr().String()))
	}
	return append(attrs, slog.String("admin", l.admin.Addr().String()))
}

// String says the same in one line.
func (l listeners) String() (s string) {
	for i, a := range l.attrs() {
		if i > 0 {
			s += ", "
		}
		s += a.Key + " " + a.Value.String()
	}
	return s
}
