package config

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/netip"
)

// Where the program listens unless the file says otherwise: on loopback alone.
var (
	defaultProxy = netip.MustParseAddrPort("127.0.0.1:3128")
	defaultAdmin = netip.MustParseAddrPort("127.0.0.1:9090")
)

// bound is an address that is listened on, and where the file says so.
type bound struct {
	name string
	addr netip.AddrPort
	v    value
}

// listen reads where the program listens.
func (r *reader) listen(v value) {
	l := &r.config.Listen
	var proxy, dns, admin, door value
	address := func(dst *netip.AddrPort, at *value) func(value) {
		return func(v value) {
			if a, ok := r.addrPort(v); ok {
				*dst, *at = a, v
			}
		}
	}
	r.object(v, []field{
		{"proxy", address(&l.Proxy, &proxy)},
		{"dns", func(v value) {
			if v.node.Tag != "!!str" || v.node.Value != "" {
				address(&l.DNS, &dns)(v)
			}
		}},
		{"admin", address(&l.Admin, &admin)},
		{"proxy_protocol_from", func(v value) { l.ProxyProtocolFrom = r.prefixes(v) }},
		{"tls", func(v value) { l.TLS, door = r.tls(v) }},
	})
	all := []bound{{"listen.proxy", l.Proxy, proxy}, {"listen.dns", l.DNS, dns}, {"listen.admin", l.Admin, admin}}
	if l.TLS != nil {
		all = append(all, bound{"listen.tls.address", l.TLS.Address, door})
	}
	r.collisions(all, v)
}

// collisions notes addresses that cannot be listened on at once, at the later
// of the two in the file; listen is where a default stands.
func (r *reader) collisions(all []bound, listen value) {
	for i, b := range all {
		for _, a := range all[:i] {
			if !overlap(a.addr, b.addr) {
				continue
			}
			first, second := a, b
			if second.v.node == nil || first.v.node != nil && first.v.line > second.v.line {
				first, second = b, a
			}
			at := second.v
			if at.node == nil {
				at = listen
			}
			r.fail(at, "%s is taken by %s (%s); write another port", second.addr, first.name, first.addr)
		}
	}
}

// overlap reports whether two addresses cannot be listened on at once. The
// unspecified address of either family takes the port on all of them.
func overlap(a, b netip.AddrPort) bool {
	if !a.IsValid() || !b.IsValid() || a.Port() != b.Port() || a.Port() == 0 {
		return false
	}
	return a.Addr() == b.Addr() || a.Addr().IsUnspecified() || b.Addr().IsUnspecified()
}

// tls reads the second door and returns it with the place of its address.
func (r *reader) tls(v value) (*TLS, value) {
	var t TLS
	var address value
	var certificate, key []byte
	found := r.object(v, []field{
		{"address", func(v value) {
			address = v
			t.Address, _ = r.addrPort(v)
		}},
		{"certificate", func(v value) { certificate, _, _ = r.file(v, maxFile) }},
		{"key", func(v value) { key, _, _ = r.file(v, maxFile) }},
		{"client_ca", func(v value) { r.asksCertificates, t.ClientCA = true, r.clientCA(v) }},
	})
	r.require(v, found, "write all of address, certificate and key", "address", "certificate", "key")
	if certificate == nil || key == nil {
		return &t, address // said before
	}
	var err error
	if t.Certificate, err = tls.X509KeyPair(certificate, key); err != nil {
		// The cause may describe the key: it is not repeated.
		r.fail(found["certificate"], "it and listen.tls.key are not a PEM certificate and its key; write the files of one pair")
	}
	return &t, address
}

// clientCA reads the certificates that client certificates are verified by.
// Every block of the file must be one: x509.CertPool alone would skip what it
// does not understand.
func (r *reader) clientCA(v value) *x509.CertPool {
	data, _, ok := r.file(v, maxFile)
	if !ok {
		return nil
	}
	pool, count := x509.NewCertPool(), 0
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil || block.Type != "CERTIFICATE" {
			r.fail(v, "block %d of the file is no certificate; write a file of PEM certificates alone", count+1)
			return nil
		}
		pool.AddCert(cert)
		count++
	}
	if count == 0 {
		r.fail(v, "the file has no PEM certificate; write one that has")
		return nil
	}
	return pool
}
