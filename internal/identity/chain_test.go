package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"slices"
	"testing"
	"time"
)

// noon is when TLS has verified the chains of these tests.
var noon = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// signer is a certificate with its key.
type signer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// mint makes a certificate for so many hours around noon, signed by another (nil: by
// itself), with the key of `again` where there is one.
func mint(t *testing.T, name string, from, to int, by, again *signer) *signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if again != nil {
		key = again.key
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: noon.Add(time.Duration(from) * time.Hour), NotAfter: noon.Add(time.Duration(to) * time.Hour),
		IsCA: by == nil || name == "between", BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	if !template.IsCA {
		template.DNSNames, template.ExtKeyUsage = []string{name}, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}
	if by == nil {
		by = &signer{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, key.Public(), by.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &signer{cert, key}
}

// trusting returns a table of no function that trusts the authorities.
func trusting(t *testing.T, authorities ...*signer) *Table {
	t.Helper()
	pool := x509.NewCertPool()
	for _, a := range authorities {
		pool.AddCert(a.cert)
	}
	table, err := NewTrusting(pool, nil)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// verifiedAs is what TLS says of a client that has shown the chain but for its root.
func verifiedAs(chain ...*signer) *Chain {
	var all []*x509.Certificate
	for _, s := range chain {
		all = append(all, s.cert)
	}
	return NewChain(tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{all}, PeerCertificates: all[:len(all)-1]}, noon)
}

func TestChainHoldsWithinItsTimeAndWhileItsAuthorityIsTrusted(t *testing.T) {
	root, other := mint(t, "root", -1000, 1000, nil, nil), mint(t, "root", -1000, 1000, nil, nil)
	renewed := mint(t, "root", 24, 2000, nil, root) // the same key, from tomorrow on
	between := mint(t, "between", -100, 4, root, nil)
	direct, indirect := mint(t, "a.internal", -1, 6, root, nil), mint(t, "b.internal", -1, 6, between, nil)
	none, err := New(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		why            string
		chain          []*signer
		table          *Table
		hours          int // behind noon
		holds, trusted bool
	}{
		{"the same authority", []*signer{direct, root}, trusting(t, root), 1, true, true},
		{"the same among others", []*signer{direct, root}, trusting(t, other, root), 1, true, true},
		{"through another certificate", []*signer{indirect, between, root}, trusting(t, root), 1, true, true},
		{"another authority of the same name", []*signer{direct, root}, trusting(t, other), 1, false, false},
		{"another, through another certificate", []*signer{indirect, between, root}, trusting(t, other), 1, false, false},
		{"no authority", []*signer{direct, root}, trusting(t), 1, false, false},
		{"its time over", []*signer{direct, root}, trusting(t, root), 7, false, true},
		{"its time over, and another authority", []*signer{direct, root}, trusting(t, other), 7, false, false},
		{"the time over of what vouches for it", []*signer{indirect, between, root}, trusting(t, root), 5, false, true},
		{"its authority's time over", []*signer{direct, root}, trusting(t, root), 1001, false, true},
		{"its authority renewed, and its own time over", []*signer{direct, root}, trusting(t, renewed), 30, false, false},
		{"nobody is asked again", []*signer{direct, root}, none, 1, true, true},
		{"nobody is asked again, and its time over", []*signer{direct, root}, none, 7, false, true},
		{"no table", []*signer{direct, root}, nil, 1, false, false},
	} {
		now := noon.Add(time.Duration(row.hours) * time.Hour)
		c := verifiedAs(row.chain...)
		for _, order := range []string{"first", "again"} {
			if got := c.Trusted(row.table, now); got != row.trusted {
				t.Errorf("%s, asked %s: trusted %v", row.why, order, got)
			}
			if got := c.Valid(row.table, now); got != row.holds {
				t.Errorf("%s, asked %s: holds %v", row.why, order, got)
			}
		}
	}
}

// Each table is asked, whatever another has said, and time goes on.
func TestChainIsAskedAnewOfEachTableAndTime(t *testing.T) {
	root, other := mint(t, "root", -10, 10, nil, nil), mint(t, "root", -10, 10, nil, nil)
	c := verifiedAs(mint(t, "a.internal", -1, 2, root, nil), root)
	first, second := trusting(t, root), trusting(t, other)
	for range 2 {
		if !c.Valid(first, noon) || !c.Trusted(first, noon) {
			t.Error("the first table's authority vouches for it")
		}
		if c.Valid(second, noon) || c.Trusted(second, noon) {
			t.Error("the second table's does not")
		}
	}
	if c.Valid(first, noon.Add(3*time.Hour)) || !c.Trusted(first, noon.Add(3*time.Hour)) {
		t.Error("its time is over")
	}
}

func TestNamesOfAChainAreThoseOfItsCertificateAlone(t *testing.T) {
	root := mint(t, "root", -10, 10, nil, nil)
	between := mint(t, "between", -10, 10, root, nil)
	if got := verifiedAs(mint(t, "a.internal", -1, 2, between, nil), between, root).Names(); !slices.Equal(got, []string{"a.internal"}) {
		t.Errorf("names %q", got)
	}
}

func TestNoChainClaimsNothing(t *testing.T) {
	c := NewChain(tls.ConnectionState{PeerCertificates: []*x509.Certificate{{}}}, noon)
	if c != nil || c.Names() != nil || !c.Valid(nil, noon) || !c.Trusted(nil, noon) {
		t.Errorf("%v of a certificate that was not verified", c)
	}
}
