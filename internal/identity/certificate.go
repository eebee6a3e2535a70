package identity

import (
	"crypto/x509"
	"strings"
)

// CertificateNames returns the names by which a verified client certificate
// can identify a function: its DNS names in lower case and its URIs, or its
// common name where it has neither. It is nil for a nil certificate alone; a
// certificate without a usable name gives an empty list.
//
// A DNS name or common name with a colon or a slash in it is left out: it
// could be read as the URI that it is not.
func CertificateNames(cert *x509.Certificate) []string {
	if cert == nil {
		return nil
	}
	names := []string{}
	hosts := cert.DNSNames
	if len(hosts)+len(cert.URIs) == 0 {
		hosts = []string{cert.Subject.CommonName}
	}
	for _, host := range hosts {
		if host != "" && !strings.ContainsAny(host, ":/") {
			names = append(names, canonicalName(host))
		}
	}
	for _, uri := range cert.URIs {
		names = append(names, uri.String())
	}
	return names
}

// canonicalName lowers the case of a DNS name or common name; a URI, which has
// a colon, stays as it is (RFC 3986: its path distinguishes case).
func canonicalName(name string) string {
	if strings.Contains(name, ":") {
		return name
	}
	return strings.ToLower(name)
}
