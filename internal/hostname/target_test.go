package hostname_test

import (
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
)

func TestATargetIsPutIntoItsCanonicalForm(t *testing.T) {
	long := strings.Repeat("a.", 126) + "a" // 253 bytes, 127 labels
	label := strings.Repeat("a", 63)
	for in, want := range map[string]string{
		"allowed.test:443":                 "allowed.test:443",
		"ALLOWED.test:443":                 "allowed.test:443",
		"aLLowed.TEST:1":                   "allowed.test:1",
		"allowed.test.:443":                "allowed.test:443",
		"localhost:65535":                  "localhost:65535",
		"_dmarc.allowed_.test:80":          "_dmarc.allowed_.test:80",
		"r3---sn-4g5.video.test:443":       "r3---sn-4g5.video.test:443",
		"1.2.3.4.test:443":                 "1.2.3.4.test:443",
		"0x7f.0x7f.test:443":               "0x7f.0x7f.test:443",
		"a.0x7g:443":                       "a.0x7g:443",
		"a.1e3:443":                        "a.1e3:443",
		"xn--mnchen-3ya.test:443":          "xn--mnchen-3ya.test:443",
		"XN--Mnchen-3YA.test:443":          "xn--mnchen-3ya.test:443",
		"xn--strae-oqa.test:443":           "xn--strae-oqa.test:443",
		"example.xn--p1ai:443":             "example.xn--p1ai:443",
		long + ":443":                      long + ":443",
		long + ".:443":                     long + ":443",
		label + ".test:443":                label + ".test:443",
		"203.0.113.7:443":                  "203.0.113.7:443",
		"255.255.255.255:443":              "255.255.255.255:443",
		"0.0.0.0:443":                      "0.0.0.0:443",
		"[2001:DB8::0:1]:443":              "[2001:db8::1]:443",
		"[::]:443":                         "[::]:443",
		"[::ffff:a9fe:a9fe]:80":            "169.254.169.254:80",
		"[::ffff:169.254.169.254]:80":      "169.254.169.254:80",
		"[0:0:0:0:0:FFFF:169.254.1.1]:443": "169.254.1.1:443",
	} {
		got, err := hostname.ParseTarget(in)
		if err != nil || got.String() != want {
			t.Errorf("ParseTarget(%q) = %s, %v; want %s", in, got, err, want)
		}
	}
}

func TestATargetOfAnotherFormIsRefused(t *testing.T) {
	bad := []string{
		// No port, no host, or neither.
		"", "/", "*", ":", ":443", ":80", "allowed.test", "[::1]", "203.0.113.7", "[]:443", "[", "]", "[]", "[:443",
		// A port that some parser reads in its own way.
		"allowed.test:", "allowed.test:0", "allowed.test:00", "allowed.test:65536", "allowed.test:99999999999999999999", "allowed.test:4294967739",
		"allowed.test:-1", "allowed.test:+443", "allowed.test: 443", "allowed.test:443 ", "allowed.test:0443", "allowed.test:https", "allowed.test:443x",
		"allowed.test:443:443", "allowed.test:0x1bb", "allowed.test:4_43", "allowed.test:٤٤٣", "[::1]:", "[::1]:0", "[::1]:443:443",
		// More than an authority.
		"http://allowed.test:443", "//allowed.test:443", "allowed.test:443/path", "allowed.test:443?q", "allowed.test:443#f", "allowed.test/:443", "allowed.test?q:443",
		// Userinfo.
		"user@allowed.test:443", "allowed.test:443@evil.test:443", "evil.test:443@allowed.test:443", "user:pass@allowed.test:443",
		"allowed.test%40evil.test:443", `evil.test\@allowed.test:443`, "@allowed.test:443",
		// Dots.
		"allowed.test..:443", ".allowed.test:443", "a..b:443", ".:443", "..:443",
		// Brackets.
		"[allowed.test]:443", "[[allowed.test]]:443", "[1.2.3.4]:443", "a[::1]:443", "[::1, ::1]:443", "[::1]x:443", "[::1]443", "[::1]]:443", "[[::1]]:443", "::1:443", "[::1:443",
		"[fe80::1%25eth0]:443", "[fe80::1%eth0]:443", "[::1%25.allowed.com]:443", "[::ffff:1.2.3.4%25a]:443", "[::ffff:1.2.3.4%a]:443", "[::1%]:443", "[v1.a]:443", "[::1 ]:443", "[ ::1]:443",
		// White space and percent-encoding.
		"allowed.test :443", "allowed.test\t:443", "allowed.test\v:443", " allowed.test:443", "allowed.test%20:443", "allowed%E3%80%82test:443", "%61llowed.test:443",
		"%2561llowed.test:443", "allowed.test:%34%34%33", "allowed.test\r\n:443", "allowed.test:443\r\n", "allowed.test:443\x00", "allowed.test\x00:443", "allowed.test\x7f:443", "allowed\x00.evil.test:443",
		// U-labels and what maps to ASCII.
		"allowed。test:443", "allowed．test:443", "allowed｡test:443", "ａｌｌｏｗｅｄ.test:443", "allow\u00aded.test:443", "allow\u200ded.test:443", "allow\u200ced.test:443", "straße.test:443",
		"münchen.test:443", "allowed.tesT\u0130:443", "\u212a.test:443", "\xff.test:443", "\x80.test:443", "①②⑦.0.0.1:443",
		// A-labels that are none, or not the only spelling.
		"xn--allowed-.test:443", "xn--allowed.test:443", "xn--.test:443", "xn--zzzzzz.test:443", "xn--a.test:443", "XN--ALLOWED-.test:443", "xn---.test:443", "xn--MNCHEN.test:443",
		"a.xn--b-.test:443", "xn--xn--a-gua.pt:443", "allowed.xn--test-:443",
		// What some parser takes for an IPv4 address.
		"2130706433:443", "0x7f000001:443", "0177.0.0.1:443", "127.1:443", "0:443", "1.2.3.4.5:443", "256.1.1.1:443", "1.2.3.4.:443", "0x7f.1:443", "0X7F.1:443",
		"1.2.3.0x4:443", "1.2.3.0x:443", "a.0x:443", "a.1:443", "a.08:443", "allowed.test.1:443", "1.2.3.04:443", "01.2.3.4:443", "127.0.0.1.:443", "0xdeadbeef:443", "0x:443", "0.0.0B0:443", "0b1111111.1:443", "127.0.0.0b1:443", "0o177.0.0.0o1:443", "allowed.0XFF:443", "4294967296:443",
		// Lengths and hyphens.
		strings.Repeat("a", 64) + ".test:443", strings.Repeat("a.", 127) + "a:443", strings.Repeat("a", 254) + ":443",
		strings.Repeat("a.", 126) + "aa:443", "---.test:443", "-a.test:443", "a-.test:443", "a.-:443", "allowed.test-:443",
		strings.Repeat("a", 8<<10) + ":443", strings.Repeat("a.", 32<<10) + "a:443", "a.test:" + strings.Repeat("4", 64<<10),
		// Characters of other grammars.
		"a*b.test:443", "*.test:443", "a,b.test:443", "a;b.test:443", "a!b.test:443", "a$b.test:443", "a'b.test:443", "a(b).test:443", "a+b.test:443", "a=b.test:443", "a~b.test:443", "a|b.test:443", "a\\b.test:443", "a/b.test:443",
	}
	for c := range 256 {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.", rune(c)) {
			bad = append(bad, "a"+string([]byte{byte(c)})+"b.test:443")
		}
	}
	for _, in := range bad {
		got, err := hostname.ParseTarget(in)
		switch {
		case err == nil:
			t.Errorf("ParseTarget(%.80q) = %s, want an error", in, got)
		case !errors.Is(err, hostname.ErrBadTarget):
			t.Errorf("ParseTarget(%.80q): %v does not wrap ErrBadTarget", in, err)
		case got != hostname.Target{}:
			t.Errorf("ParseTarget(%.80q): an error and the target %s", in, got)
		}
	}
}

func TestAnErrorQuotesNothingOfTheTarget(t *testing.T) {
	for _, in := range []string{
		"sekrit@allowed.test:443", "allowed.test:sekrit", "sekrit\x00.test:443", "xn--sekrit-.test:443", "[sekrit]:443", "[::1]sekrit:443",
		"sekrit..test:443", "-sekrit.test:443", "sekrit.1:443", "sekrit", strings.Repeat("sekrit.", 60) + ":443", "[fe80::1%25sekrit]:443",
	} {
		if _, err := hostname.ParseTarget(in); err == nil || strings.Contains(err.Error(), "sekrit") {
			t.Errorf("ParseTarget(%q): %v", in, err)
		}
	}
}

func TestTheDefaultPortStandsInForAnAbsentOneAlone(t *testing.T) {
	for in, want := range map[string]string{
		"allowed.test":      "allowed.test:80",
		"allowed.test:8080": "allowed.test:8080",
		"203.0.113.7":       "203.0.113.7:80",
		"[2001:db8::1]":     "[2001:db8::1]:80",
		"[::ffff:10.0.0.1]": "10.0.0.1:80",
		"allowed.test:":     "", "allowed.test:0": "", "[::1]:": "", "[::1]x": "", "": "", ":80": "", "a b": "", "2130706433": "", "127.1": "",
	} {
		got, err := hostname.ParseAuthority(in, 80)
		if want == "" && err == nil || want != "" && (err != nil || got.String() != want) {
			t.Errorf("ParseAuthority(%q, 80) = %s, %v; want %q", in, got, err, want)
		}
	}
}

func TestAHostIsANameOrAnAddressNeverBoth(t *testing.T) {
	for _, in := range []string{"allowed.test:1", "203.0.113.7:1", "[2001:db8::1]:1", "[::ffff:10.0.0.1]:1"} {
		got, err := hostname.ParseTarget(in)
		if err != nil {
			t.Fatal(err)
		}
		h := got.Host
		if h.IsZero() || h.Name().IsZero() == !h.Addr().IsValid() || h.Addr().Is4In6() || strings.Contains(h.String(), "[") {
			t.Errorf("%s: name %q, address %s", in, h.Name(), h.Addr())
		}
	}
	if h := hostname.AddrHost(netip.MustParseAddr("fe80::1%eth0")); !h.IsZero() {
		t.Errorf("an address with a zone is the host %s", h)
	}
	if h := hostname.AddrHost(netip.MustParseAddr("::ffff:8.8.8.8").WithZone("eth0")); !h.IsZero() {
		t.Errorf("a mapped address with a zone is the host %s", h)
	}
}

// looksNumeric is inet_aton at its most liberal: one to four parts, each a
// number with any prefix that strconv knows, the last of which fills what is left.
func looksNumeric(host string) bool {
	parts := strings.Split(strings.TrimSuffix(host, "."), ".")
	if len(parts) > 4 {
		return false
	}
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 0, 64) // 0x…, 0…, 0o…, 0b…, decimal
		if err != nil || strings.ContainsAny(part, "_+-") {
			return false
		}
		if last := i == len(parts)-1; last && n >= 1<<(8*(5-len(parts))) || !last && n > 255 {
			return false
		}
	}
	return true
}

// FuzzParseTarget checks whatever parses: it prints to what parses to itself,
// it agrees with net/netip about addresses, and no name in it is an address to
// any other parser.
func FuzzParseTarget(f *testing.F) {
	for _, s := range []string{
		"allowed.test:443", "ALLOWED.test.:443", "203.0.113.7:443", "[2001:db8::1]:443", "[::ffff:10.0.0.1]:1", "xn--mnchen-3ya.test:443",
		"0x7f.1:443", "1.2.3.4.:443", "[fe80::1%25eth0]:443", "user@a:443", "a:0443", "xn--allowed-.test:443", "0.0.0B0:1",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		got, err := hostname.ParseTarget(in)
		if err != nil {
			if got != (hostname.Target{}) || !errors.Is(err, hostname.ErrBadTarget) {
				t.Fatalf("%q: %s, %v", in, got, err)
			}
			return
		}
		again, err := hostname.ParseTarget(got.String())
		if err != nil || again != got {
			t.Fatalf("%q prints as %q, which parses to %q, %v", in, got, again, err)
		}
		host, port, err := net.SplitHostPort(in)
		if err != nil || port != strconv.Itoa(int(got.Port)) {
			t.Fatalf("%q: port %d, net says %q, %v", in, got.Port, port, err)
		}
		addr, err := netip.ParseAddr(host)
		if got.Host.Addr().IsValid() {
			if err != nil || addr.Unmap() != got.Host.Addr() {
				t.Fatalf("%q: address %s, netip says %s, %v", in, got.Host.Addr(), addr, err)
			}
			return
		}
		for _, name := range []string{host, got.Host.String()} {
			if _, err := netip.ParseAddr(name); err == nil || net.ParseIP(name) != nil || looksNumeric(name) {
				t.Fatalf("%q: the name %q is an address to another parser", in, name)
			}
		}
		if n, err := hostname.ParseName(got.Host.String()); err != nil || n != got.Host.Name() || len(n.String()) > 253 {
			t.Fatalf("%q: the name %q is not canonical: %v", in, got.Host, err)
		}
	})
}
