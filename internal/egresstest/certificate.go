package egresstest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"
)

// Authority is a certificate authority that lives as long as the process.
type Authority struct {
	t      testing.TB
	own    tls.Certificate
	issued int64
}

// NewAuthority makes an authority.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	a := &Authority{t: t}
	template := a.template()
	template.Subject = pkix.Name{CommonName: "test authority"}
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	a.own = sign(t, template, nil)
	return a
}

// Issue returns a certificate for names, for servers and for clients. It must not be
// called by several goroutines at once.
func (a *Authority) Issue(names ...string) tls.Certificate {
	a.t.Helper()
	template := a.template()
	template.DNSNames, template.KeyUsage = names, x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	if len(names) > 0 {
		template.Subject = pkix.Name{CommonName: names[0]}
	}
	return sign(a.t, template, &a.own)
}

// Pool returns the pool of those who trust the authority alone.
func (a *Authority) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.own.Leaf)
	return p
}

// PEM returns the authority's certificate as a file has it.
func (a *Authority) PEM() []byte {
	certificate, _ := PEM(a.t, a.own)
	return certificate
}

// template returns what all certificates have; each gets a number of its own.
func (a *Authority) template() *x509.Certificate {
	a.issued++
	return &x509.Certificate{
		SerialNumber: big.NewInt(a.issued),
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
}

// SelfSigned returns a certificate for names that nobody else has signed.
func SelfSigned(t testing.TB, names ...string) tls.Certificate {
	t.Helper()
	return sign(t, &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: names, NotAfter: time.Now().Add(24 * time.Hour)}, nil)
}

// Expired returns a certificate for names that was good until an hour ago, signed by nobody else.
func Expired(t testing.TB, names ...string) tls.Certificate {
	t.Helper()
	return sign(t, &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: names, NotAfter: time.Now().Add(-time.Hour)}, nil)
}

// sign signs a template by a certificate; nil: by itself.
func sign(t testing.TB, template *x509.Certificate, by *tls.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if by == nil {
		by = &tls.Certificate{Leaf: template, PrivateKey: key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.Leaf, key.Public(), by.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// PEM returns a certificate and its key as files have them.
func PEM(t testing.TB, c tls.Certificate) (certificate, key []byte) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}
