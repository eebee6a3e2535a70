package config

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/netip"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/yamlread"
)

// Listen says where the program listens. Port 0 lets the kernel pick one.
type Listen struct {
	Proxy netip.AddrPort // HTTP CONNECT and plain HTTP; default 127.0.0.1:3128
	DNS   netip.AddrPort // DNS filter, UDP and TCP; zero: none
	Admin netip.AddrPort // health and metrics; default 127.0.0.1:9090
	// ProxyProtocolFrom holds the load balancers: from them a PROXY header is
	// required, from anyone else one is refused. Empty: it is from everyone.
	ProxyProtocolFrom []netip.Prefix
	TLS               *TLS // a second listener, where the client speaks TLS; nil: none
}

// TLS is the listener where the client speaks TLS to the proxy.
type TLS struct {
	Address     netip.AddrPort
	Certificate tls.Certificate
	ClientCA    *x509.CertPool // verifies client certificates; nil: none is asked for
}

// Leaf returns the certificate itself; nil where there is no such listener.
func (t *TLS) Leaf() *x509.Certificate {
	if t == nil {
		return nil
	}
	return t.Certificate.Leaf
}

// Where the program listens unless the file says otherwise: on loopback alone.
var (
	defaultProxy = netip.MustParseAddrPort("127.0.0.1:3128")
	defaultAdmin = netip.MustParseAddrPort("127.0.0.1:9090")
)

// bound is an address that is listened on, and where the file says so.
type bound struct {
	name string
	addr netip.AddrPort
	n    yamlread.Node
}

// listen reads where the program listens.
func (r *reader) listen(n yamlread.Node) {
	l := &r.config.Listen
	var proxy, dns, admin, tls yamlread.Node
	address := func(dst *netip.AddrPort, at *yamlread.Node) func(yamlread.Node) {
		return func(n yamlread.Node) {
			if a, ok := r.AddrPort(n); ok {
				*dst, *at = a, n
			}
		}
	}
	r.Object(n,
		yamlread.Key("proxy", address(&l.Proxy, &proxy)),
		yamlread.Key("dns", func(n yamlread.Node) {
			if !n.IsEmptyText() {
				address(&l.DNS, &dns)(n)
			}
		}),
		yamlread.Key("admin", address(&l.Admin, &admin)),
		yamlread.Key("proxy_protocol_from", func(n yamlread.Node) { l.ProxyProtocolFrom = r.Prefixes(n) }),
		yamlread.Key("tls", func(n yamlread.Node) { l.TLS, tls = r.tls(n) }),
	)
	all := []bound{{"listen.proxy", l.Proxy, proxy}, {"listen.dns", l.DNS, dns}, {"listen.admin", l.Admin, admin}}
	if l.TLS != nil {
		all = append(all, bound{"listen.tls.address", l.TLS.Address, tls})
	}
	r.collisions(all)
}

// collisions notes addresses that cannot be listened on at once, at the later
// of the two in the file. One of them is there: the defaults have ports of their own.
func (r *reader) collisions(all []bound) {
	for i, b := range all {
		for _, a := range all[:i] {
			if !overlap(a.addr, b.addr) {
				continue
			}
			first, second := a, b
			if second.n.IsZero() || first.n.Line() > second.n.Line() { // a default has line 0
				first, second = b, a
			}
			r.Fail(second.n, "%s is taken by %s (%s); write another port", second.addr, first.name, first.addr)
		}
	}
}

// overlap reports whether two addresses cannot be listened on at once. The
// unspecified address of either family takes the port on all of them. What is not
// listened on has port 0, as what the kernel picks a port for.
func overlap(a, b netip.AddrPort) bool {
	if a.Port() != b.Port() || a.Port() == 0 {
		return false
	}
	return a.Addr() == b.Addr() || a.Addr().IsUnspecified() || b.Addr().IsUnspecified()
}

// tls reads the TLS listener and returns it with the place of its address.
func (r *reader) tls(n yamlread.Node) (*TLS, yamlread.Node) {
	var t TLS
	var address yamlread.Node
	var certificate, key []byte
	found := r.Object(n,
		yamlread.Key("address", func(n yamlread.Node) {
			address = n
			t.Address, _ = r.AddrPort(n)
		}),
		yamlread.Key("certificate", func(n yamlread.Node) { certificate, _, _ = r.File(n, maxFile) }),
		yamlread.Key("key", func(n yamlread.Node) { key, _, _ = r.File(n, maxFile) }),
		yamlread.Key("client_ca", func(n yamlread.Node) { r.asksCertificates, t.ClientCA = true, r.clientCA(n) }),
	)
	r.Require(n, found, "write all of address, certificate and key", "address", "certificate", "key")
	if certificate == nil || key == nil {
		return &t, address // said before
	}
	var err error
	if t.Certificate, err = tls.X509KeyPair(certificate, key); err != nil {
		// The cause may describe the key: it is not repeated.
		r.Fail(found["certificate"], "it and listen.tls.key are not a PEM certificate and its key; write the files of one pair")
	}
	return &t, address
}

// clientCA reads the certificates that client certificates are verified by.
// Every block of the file must be one: x509.CertPool alone would skip what it
// does not understand.
func (r *reader) clientCA(n yamlread.Node) *x509.CertPool {
	data, _, ok := r.File(n, maxFile)
	if !ok {
		return nil
	}
	pool, count := x509.NewCertPool(), 0
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil || block.Type != "CERTIFICATE" {
			r.Fail(n, "block %d of the file is no certificate; write a file of PEM certificates alone", count+1)
			return nil
		}
		pool.AddCert(cert)
		count++
	}
	if count == 0 {
		r.Fail(n, "the file has no PEM certificate; write one that has")
		return nil
	}
	return pool
}
