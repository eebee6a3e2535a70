package hostname_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
)

func TestANameIsPutIntoItsCanonicalForm(t *testing.T) {
	for in, want := range map[string]string{
		"a": "a", "A.B.": "a.b", "_sip._tcp.example.org": "_sip._tcp.example.org", "1a": "1a", "0x7g": "0x7g", "1.a": "1.a",
		"XN--MNCHEN-3YA.DE": "xn--mnchen-3ya.de", "a--b.test": "a--b.test",
	} {
		if n, err := hostname.ParseName(in); err != nil || n.String() != want || n.IsZero() {
			t.Errorf("ParseName(%q) = %q, %v; want %q", in, n, err, want)
		}
	}
	for _, in := range []string{"", ".", "a..", "-", "a b", "1", "0x", "::1", "[::1]", "a:1", "*.a", "*"} {
		if n, err := hostname.ParseName(in); !errors.Is(err, hostname.ErrBadName) || !n.IsZero() {
			t.Errorf("ParseName(%q) = %q, %v; want an error", in, n, err)
		}
	}
}

func TestAPatternIsANameOrAStarAndAName(t *testing.T) {
	for in, want := range map[string]string{
		"api.stripe.com":       "api.stripe.com",
		"API.Stripe.com.":      "api.stripe.com",
		"*.Example.org":        "*.example.org",
		"*.a":                  "*.a",
		".Example.org.":        ".example.org",
		".a":                   ".a",
		".MÜNCHEN.de":          ".xn--mnchen-3ya.de",
		"münchen.de":           "xn--mnchen-3ya.de",
		"*.MÜNCHEN.de":         "*.xn--mnchen-3ya.de",
		"straße.de":            "xn--strae-oqa.de",
		"xn--mnchen-3ya.de":    "xn--mnchen-3ya.de",
		"пример.рф":            "xn--e1afmkfd.xn--p1ai",
		"_dmarc.example.org":   "_dmarc.example.org",
		"_dmarc.münchen.de":    "_dmarc.xn--mnchen-3ya.de",
		"*.r3---sn-4g5.a.test": "*.r3---sn-4g5.a.test",
	} {
		p, err := hostname.ParsePattern(in)
		if err != nil || p.String() != want || p.IsZero() || p.Wildcard() != (strings.Trim(want, "*.") != want) || p.Exact() == strings.HasPrefix(want, "*") {
			t.Errorf("ParsePattern(%q) = %q, %v; want %q", in, p, err, want)
		}
	}
}

func TestAPatternOfAnotherFormIsRefused(t *testing.T) {
	for _, in := range []string{
		"", "*", "*.", "**", "*.*", "a.*", "a.*.com", "*a.com", "a*.com", "**.a.com", "*.*.a.com", "..a.com", ".*.a.com", ".1.2.3.4", ".*", "*..a.com", "*..", ".", "..",
		"a.com/", "a.com:443", "https://a.com", "a b.com", "a.com ", "^a$", "[a-z].com", "(a|b).com", "a+.com", "a?.com", "a\\.com", "%61.com", "a%.com", "$.com", "{a,b}.com",
		"10.0.0.1", "*.10.0.0.1", "10.0.0.0/8", "::1", "[::1]", "0x7f.1", "*.1", "①②⑦.0.0.1", "１.２.３.４",
		"＊.com", "＊", "a.＊.com", "xn--a-.com", "*.xn--zzzzzz", "-a.com", "a_.com\x00", "a\u200d.com", "\xff.com", "ａ..com", "...com",
		strings.Repeat("a", 64) + ".com", strings.Repeat("ü", 64) + ".com", "*." + strings.Repeat("a.", 127) + "a",
	} {
		p, err := hostname.ParsePattern(in)
		if !errors.Is(err, hostname.ErrBadPattern) || p != (hostname.Pattern{}) {
			t.Errorf("ParsePattern(%q) = %q, %v; want an error", in, p, err)
		}
	}
}

func TestARefusedPatternSaysWhatWouldBeRight(t *testing.T) {
	for in, want := range map[string]string{
		"":             "write a hostname",
		"*":            "every host; write the hosts that are needed",
		"a.*.com":      `not the whole first label; write "*." and a name`,
		"*a.com":       `not the whole first label; write "*." and a name`,
		"..a.com":      `write ".a.com"`,
		".":            "every host",
		"a b.com":      "write a hostname such as api.example.com",
		"10.0.0.1":     "its last label is a number",
		"xn--zzzzzz.ü": "write the A-labels",
	} {
		if _, err := hostname.ParsePattern(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParsePattern(%q): %v; want %q in it", in, err, want)
		}
	}
}

// FuzzParsePattern checks whatever parses: it prints to what parses to itself,
// it is ASCII, and what it covers is a name that a request can have.
func FuzzParsePattern(f *testing.F) {
	for _, s := range []string{"a.com", "*.A.com.", "münchen.de", "*.пример.рф", "a.*.com", "＊.com", "①②⑦.0.0.1", "xn--allowed-.test"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		p, err := hostname.ParsePattern(in)
		if err != nil {
			if !p.IsZero() || !errors.Is(err, hostname.ErrBadPattern) {
				t.Fatalf("%q: %q, %v", in, p, err)
			}
			return
		}
		again, err := hostname.ParsePattern(p.String())
		if err != nil || again != p {
			t.Fatalf("%q prints as %q, which parses to %q, %v", in, p, again, err)
		}
		if n, err := hostname.ParseName(p.Name().String()); err != nil || n != p.Name() {
			t.Fatalf("%q: no request can have the name %q: %v", in, p.Name(), err)
		}
		if (strings.HasPrefix(in, "*.") || strings.HasPrefix(in, ".")) != p.Wildcard() || strings.HasPrefix(in, "*.") == p.Exact() {
			t.Fatalf("%q: wildcard = %t", in, p.Wildcard())
		}
	})
}
