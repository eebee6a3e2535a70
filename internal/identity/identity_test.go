package identity

import (
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// token is the hash of a secret.
func token(secret string) Token { return sha256.Sum256([]byte(secret)) }

// ranges parses prefixes.
func ranges(list ...string) (all []netip.Prefix) {
	for _, s := range list {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

// house is a table with one function of every kind.
func house(tb testing.TB) *Table {
	tb.Helper()
	t, err := New([]Entry{
		{Function: "token", Tokens: []Token{token("old"), token("new")}},
		{Function: "bound", Tokens: []Token{token("bound")}, Certificates: []string{"bound.internal"}, Sources: ranges("10.1.0.0/16", "fd12::/16")},
		{Function: "cert", Certificates: []string{"Cert.Internal", "spiffe://corp/Cert"}},
		{Function: "both", Tokens: []Token{token("both")}, Certificates: []string{"both.internal"}},
		{Function: "wide", Sources: ranges("10.0.0.0/8", "2001:db8::/32")},
		{Function: "narrow", Sources: ranges("10.0.12.0/24", "10.0.13.7/32", "2001:db8:1::/48")},
	})
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

func TestIdentify(t *testing.T) {
	table := house(t)
	none := Credential{}
	for _, tt := range []struct {
		sentence string
		cred     Credential
		names    []string
		source   string
		want     Identity
		err      error
	}{
		{"a token names its function", shown(t, "token:old"), nil, "192.0.2.1", Identity{"token", MethodToken}, nil},
		{"while it is rotated both hold", shown(t, "token:new"), nil, "192.0.2.1", Identity{"token", MethodToken}, nil},
		{"a wrong token is rejected", shown(t, "token:wrong"), nil, "192.0.2.1", Identity{}, ErrRejected},
		{"an unknown function is rejected", shown(t, "nobody:old"), nil, "192.0.2.1", Identity{}, ErrRejected},
		{"names of functions distinguish case", shown(t, "Token:old"), nil, "192.0.2.1", Identity{}, ErrRejected},
		{"another function's token is rejected", shown(t, "both:old"), nil, "192.0.2.1", Identity{}, ErrRejected},
		{"a function without tokens has no token", shown(t, "cert:old"), nil, "192.0.2.1", Identity{}, ErrRejected},
		{"a wrong token never falls back to the source", shown(t, "token:wrong"), nil, "10.0.12.1", Identity{}, ErrRejected},

		{"a token holds from the function's sources", shown(t, "bound:bound"), nil, "10.1.2.3", Identity{"bound", MethodToken}, nil},
		{"a token from elsewhere is rejected", shown(t, "bound:bound"), nil, "10.2.2.3", Identity{}, ErrRejected},
		{"a token from nowhere is rejected", shown(t, "bound:bound"), nil, "", Identity{}, ErrRejected},
		{"a mapped source is unwrapped", shown(t, "bound:bound"), nil, "::ffff:10.1.2.3", Identity{"bound", MethodToken}, nil},
		{"a zone changes no range", shown(t, "bound:bound"), nil, "fd12::1%eth0", Identity{"bound", MethodToken}, nil},
		{"a certificate from elsewhere is rejected", none, []string{"bound.internal"}, "10.2.2.3", Identity{}, ErrRejected},

		{"a DNS name names its function", none, []string{"cert.internal"}, "", Identity{"cert", MethodCertificate}, nil},
		{"a URI names its function", none, []string{"spiffe://corp/Cert"}, "", Identity{"cert", MethodCertificate}, nil},
		{"a URI distinguishes case", none, []string{"spiffe://corp/cert"}, "", Identity{}, ErrRejected},
		{"one known name among others suffices", none, []string{"x.internal", "cert.internal"}, "", Identity{"cert", MethodCertificate}, nil},
		{"two names of one function are one", none, []string{"spiffe://corp/Cert", "cert.internal"}, "", Identity{"cert", MethodCertificate}, nil},
		{"a certificate of two functions is rejected", none, []string{"cert.internal", "both.internal"}, "", Identity{}, ErrRejected},
		{"an unknown certificate never falls back to the source", none, []string{"x.internal"}, "10.0.12.1", Identity{}, ErrRejected},
		{"a certificate without a name never falls back to the source", none, []string{}, "10.0.12.1", Identity{}, ErrRejected},

		{"the certificate goes before the token", shown(t, "both:both"), []string{"both.internal"}, "", Identity{"both", MethodCertificate}, nil},
		{"certificate and token of two functions are rejected", shown(t, "token:old"), []string{"both.internal"}, "", Identity{}, ErrRejected},
		{"a good certificate does not cover a wrong token", shown(t, "both:wrong"), []string{"both.internal"}, "", Identity{}, ErrRejected},
		{"a good token does not cover an unknown certificate", shown(t, "both:both"), []string{"x.internal"}, "", Identity{}, ErrRejected},

		{"a source names its function", none, nil, "10.9.9.9", Identity{"wide", MethodSource}, nil},
		{"the longest prefix wins", none, nil, "10.0.12.255", Identity{"narrow", MethodSource}, nil},
		{"one address is a range", none, nil, "10.0.13.7", Identity{"narrow", MethodSource}, nil},
		{"beside it the wider range has it", none, nil, "10.0.13.8", Identity{"wide", MethodSource}, nil},
		{"a mapped source is its IPv4 address", none, nil, "::ffff:10.0.12.1", Identity{"narrow", MethodSource}, nil},
		{"IPv6 has its own lengths", none, nil, "2001:db8:1::1", Identity{"narrow", MethodSource}, nil},
		{"IPv6 falls to the wider range", none, nil, "2001:db8:2::1", Identity{"wide", MethodSource}, nil},
		{"the sources of a function with credentials name nobody", none, nil, "fd12::1", Identity{}, ErrRequired},
		{"an unknown source must show something", none, nil, "192.0.2.1", Identity{}, ErrRequired},
		{"no source must show something", none, nil, "", Identity{}, ErrRequired},
	} {
		var source netip.Addr
		if tt.source != "" {
			source = netip.MustParseAddr(tt.source)
		}
		got, err := table.Identify(Caller{Credential: tt.cred, Certificate: tt.names, Source: source})
		if got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%s: Identify = %+v, %v; want %+v, %v", tt.sentence, got, err, tt.want, tt.err)
		}
	}
}

func TestBadCredentialIsRejectedWhateverElseIsShown(t *testing.T) {
	c := Caller{
		Credential:    shown(t, "both:both"),
		BadCredential: true,
		Certificate:   []string{"both.internal"},
		Source:        netip.MustParseAddr("10.0.12.1"),
	}
	if id, err := house(t).Identify(c); id != (Identity{}) || !errors.Is(err, ErrRejected) {
		t.Errorf("Identify = %+v, %v; want nobody, ErrRejected", id, err)
	}
}

func TestZeroValuesIdentifyNobody(t *testing.T) {
	empty, err := New(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, table := range map[string]*Table{"nil": nil, "empty": empty} {
		if id, err := table.Identify(Caller{}); id != (Identity{}) || !errors.Is(err, ErrRequired) {
			t.Errorf("%s table, zero caller: %+v, %v; want nobody, ErrRequired", name, id, err)
		}
		for _, c := range []Caller{
			{Credential: shown(t, "a:b")},
			{Certificate: []string{"a"}},
			{Certificate: []string{}},
			{BadCredential: true},
		} {
			if id, err := table.Identify(c); id != (Identity{}) || !errors.Is(err, ErrRejected) {
				t.Errorf("%s table, %+v: %+v, %v; want nobody, ErrRejected", name, c, id, err)
			}
		}
	}
	if MethodNone != Method(0) || MethodNone.String() != "" || Method(99).String() != "" {
		t.Error("the zero Method is not nobody")
	}
}

// An unknown function, a function without tokens, a wrong and a right token
// all cost as many compares as the function with the most tokens has.
func TestEveryCredentialCostsTheSameCompares(t *testing.T) {
	table := house(t)
	for _, plain := range []string{"token:old", "token:new", "token:wrong", "both:both", "both:wrong", "cert:x", "nobody:x"} {
		c := shown(t, plain)
		if _, compares := table.byToken(&c); compares != 2 {
			t.Errorf("%s: %d compares, want 2", plain, compares)
		}
	}
}

// The compares that make up the number are against the zero hash: a caller
// who could show it must still be nobody.
func TestPaddingMatchesNobody(t *testing.T) {
	table := house(t)
	for _, plain := range []string{"both:x", "cert:x", "nobody:x"} {
		c := shown(t, plain)
		c.token = Token{}
		if f, _ := table.byToken(&c); f != nil {
			t.Errorf("%s: the padding identified %s", plain, f.name)
		}
	}
}

func TestNewNamesBothFunctionsOfAConflict(t *testing.T) {
	_, err := New([]Entry{
		{Function: "a", Tokens: []Token{token("x"), token("y")}, Certificates: []string{"one.internal"}},
		{Function: "b", Sources: ranges("10.0.0.0/8", "::ffff:192.168.0.0/112")},
		{Function: "c", Tokens: []Token{token("z"), token("y")}, Certificates: []string{"ONE.internal"}, Sources: ranges("10.0.0.0/8")},
		{Function: "d", Sources: ranges("10.0.0.0/9", "192.168.0.0/16")},
		{Function: "a", Sources: ranges("10.0.0.0/10")},
	})
	var conflict *ConflictError
	if !errors.As(err, &conflict) {
		t.Fatalf("New: %v, want a *ConflictError", err)
	}
	y := token("y")
	want := []Conflict{
		{MethodToken, "a", "c", 1, fmt.Sprintf("sha256:%x…", y[:4])},
		{MethodCertificate, "a", "c", 0, "ONE.internal"},
		{MethodSource, "b", "d", 1, "192.168.0.0/16"},
		{MethodNone, "a", "a", 0, "a"},
	}
	if !slices.Equal(conflict.Conflicts, want) {
		t.Errorf("conflicts\n got %+v\nwant %+v", conflict.Conflicts, want)
	}
	if text := err.Error(); !strings.Contains(text, "the certificate ONE.internal identifies both a and c") || !strings.Contains(text, "the function a is there twice") {
		t.Errorf("error text %q does not name both", text)
	}
}

func TestNewRefusesASourceThatIsNoRange(t *testing.T) {
	if table, err := New([]Entry{{Function: "a", Sources: []netip.Prefix{{}}}}); err == nil || table != nil {
		t.Errorf("New = %v, %v; want an error", table, err)
	}
}

func TestOneFunctionMayListAThingTwice(t *testing.T) {
	if _, err := New([]Entry{{Function: "a", Tokens: []Token{token("x"), token("x")}}}); err != nil {
		t.Errorf("New: %v", err)
	}
}

func TestCertificateNames(t *testing.T) {
	uri, err := url.Parse("spiffe://corp/Billing")
	if err != nil {
		t.Fatal(err)
	}
	named := pkix.Name{CommonName: "Common"}
	for _, tt := range []struct {
		sentence string
		cert     *x509.Certificate
		want     []string
	}{
		{"DNS names come in lower case", &x509.Certificate{DNSNames: []string{"A.internal"}, Subject: named}, []string{"a.internal"}},
		{"URIs come as they are", &x509.Certificate{URIs: []*url.URL{uri}, Subject: named}, []string{"spiffe://corp/Billing"}},
		{"DNS names and URIs come both", &x509.Certificate{DNSNames: []string{"A.internal"}, URIs: []*url.URL{uri}, Subject: named}, []string{"a.internal", "spiffe://corp/Billing"}},
		{"the common name is the last resort", &x509.Certificate{Subject: named}, []string{"common"}},
		{"a DNS name that looks like a URI is none", &x509.Certificate{DNSNames: []string{"spiffe://corp/Billing"}, Subject: named}, []string{}},
		{"a common name that looks like a URI is none", &x509.Certificate{Subject: pkix.Name{CommonName: "spiffe://corp/Billing"}}, []string{}},
		{"no name at all", &x509.Certificate{}, []string{}},
	} {
		if got := CertificateNames(tt.cert); got == nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.sentence, got, tt.want)
		}
	}
	if got := CertificateNames(nil); got != nil {
		t.Errorf("no certificate: %q, want nil", got)
	}
}

// A mapped range is the IPv4 one that it stands for, and no other becomes wider.
func TestRangeOfSourcesIsCanonical(t *testing.T) {
	for in, want := range map[string]string{
		"10.1.2.3/8": "10.0.0.0/8", "::ffff:10.0.0.0/104": "10.0.0.0/8", "::ffff:10.1.2.3/128": "10.1.2.3/32", "::ffff:0.0.0.0/96": "0.0.0.0/0",
		"::ffff:10.0.0.0/95": "::fffe:0:0/95", "::ffff:10.0.0.0/64": "::/64", "2001:db8::1/128": "2001:db8::1/128", "2001:db8::1/96": "2001:db8::/96", "2001:db8::1/32": "2001:db8::/32",
	} {
		if got := canonicalPrefix(netip.MustParsePrefix(in)).String(); got != want {
			t.Errorf("%s is taken as %s, want %s", in, got, want)
		}
	}
}

func TestNilTableKnowsNobody(t *testing.T) {
	var none *Table
	for _, source := range []netip.Addr{{}, netip.MustParseAddr("10.0.12.7"), netip.MustParseAddr("2001:db8::1")} {
		if id, err := none.Identify(Caller{Source: source}); !errors.Is(err, ErrRequired) || id != (Identity{}) {
			t.Errorf("from %v: %v, %v", source, id, err)
		}
	}
}

func TestIdentifyDoesNotAllocate(t *testing.T) {
	table := house(t)
	for name, c := range map[string]Caller{
		"token":       {Credential: shown(t, "bound:bound"), Source: netip.MustParseAddr("10.1.0.1")},
		"wrong token": {Credential: shown(t, "token:wrong")},
		"nobody":      {Credential: shown(t, "nobody:wrong")},
		"certificate": {Certificate: []string{"cert.internal"}},
		"source":      {Source: netip.MustParseAddr("::ffff:10.9.0.1")},
		"unknown":     {Source: netip.MustParseAddr("192.0.2.1")},
	} {
		if n := testing.AllocsPerRun(100, func() { _, _ = table.Identify(c) }); n != 0 {
			t.Errorf("%s: Identify allocates %v times", name, n)
		}
	}
}

// BenchmarkIdentify measures one Identify among 1,000 functions, one lookup
// for each kind of caller. It leaves out parsing and hashing the header.
func BenchmarkIdentify(b *testing.B) {
	var entries []Entry
	for i := range 1000 {
		name := fmt.Sprintf("function-%d", i)
		entries = append(entries,
			Entry{Function: name, Tokens: []Token{token(name), token(name + "'")}, Certificates: []string{name + ".internal"}},
			Entry{Function: "s-" + name, Sources: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24)}})
	}
	table, err := New(entries)
	if err != nil {
		b.Fatal(err)
	}
	for _, bb := range []struct {
		name string
		c    Caller
		err  error
	}{
		{"via=token", Caller{Credential: shown(b, "function-500:function-500")}, nil},
		{"via=wrong-token", Caller{Credential: shown(b, "function-500:wrong")}, ErrRejected},
		{"via=unknown-function", Caller{Credential: shown(b, "nobody-5000:wrong")}, ErrRejected},
		{"via=certificate", Caller{Certificate: []string{"function-500.internal"}}, nil},
		{"via=source", Caller{Source: netip.MustParseAddr("10.1.244.9")}, nil},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := table.Identify(bb.c); !errors.Is(err, bb.err) {
					b.Fatal(err)
				}
			}
		})
	}
}
