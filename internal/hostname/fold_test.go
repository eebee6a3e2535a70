package hostname_test

import (
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
)

// Three parsers of names stand side by side, each as strict as what it is for.
// Every row is a text on which they differ, or the plain case that they share.
func TestNamesOfRulesAliasesAndHellosDifferWhereTheyAreMeantTo(t *testing.T) {
	long := strings.Repeat("a", 64)
	deep := strings.Repeat("a.", 127) + "a"
	for _, c := range []struct {
		in     string
		name   string // of ParseName; "": refused
		folded string // of Fold
		hello  bool   // of IsServerName
	}{
		{"api.example.com", "api.example.com", "api.example.com", true},
		{"API.Example.COM.", "api.example.com", "api.example.com", true},
		{"_sip._tcp.example.com", "_sip._tcp.example.com", "_sip._tcp.example.com", true},
		{"xn--mnchen-3ya.de", "xn--mnchen-3ya.de", "xn--mnchen-3ya.de", true},
		// Nothing at all.
		{"", "", "", false}, {".", "", "", false}, {"a..", "", "a.", false}, {"a..b", "", "a..b", false}, {".a", "", ".a", false},
		// Hyphens, lengths and A-labels: a ClientHello is compared with a Name, which has none of these.
		{"-a.test", "", "-a.test", true}, {"a-.test", "", "a-.test", true}, {long + ".test", "", long + ".test", true}, {deep, "", deep, true},
		{"xn--zzzzzz.test", "", "xn--zzzzzz.test", true},
		// Numbers.
		{"10.0.0.1", "", "10.0.0.1", false}, {"a.1", "", "a.1", false}, {"a.0x7F", "", "a.0x7f", false}, {"a.0x", "", "a.0x", false},
		{"a.0b1", "", "a.0b1", true}, {"a.0o7", "", "a.0o7", true},
		// What an alias may be and a host may not.
		{"*.a.test", "", "*.a.test", false}, {"A B.test", "", "a b.test", false}, {`A\.b.test.`, "", `a\.b.test`, false}, {`\195\188.test`, "", `\195\188.test`, false},
		{"a:1", "", "a:1", false}, {"::1", "", "::1", false},
		// Unicode: of a file alone, where case is lowered; the Kelvin sign is a k there and nowhere else.
		{"\u212a.test", "", "k.test", false}, {"M\u00dcNCHEN.de", "", "m\u00fcnchen.de", false},
	} {
		n, err := hostname.ParseName(c.in)
		if n.String() != c.name || (err == nil) != (c.name != "") {
			t.Errorf("ParseName(%q) = %q, %v; want %q", c.in, n, err, c.name)
		}
		if got := hostname.Fold(c.in); got != c.folded {
			t.Errorf("Fold(%q) = %q, want %q", c.in, got, c.folded)
		}
		if got := hostname.IsServerName([]byte(c.in)); got != c.hello {
			t.Errorf("IsServerName(%q) = %t, want %t", c.in, got, c.hello)
		}
		if c.name != "" && (!hostname.EqualServerName([]byte(c.in), c.name) || c.folded != c.name) {
			t.Errorf("%q is the name %q, and not to a ClientHello or an answer", c.in, c.name)
		}
	}
}

func TestAServerNameIsComparedByItsASCIICaseAlone(t *testing.T) {
	for _, c := range []struct {
		name, host string
		want       bool
	}{
		{"A.test", "a.test", true}, {"a.test.", "a.test", true}, {"a.test..", "a.test", false}, {"a.test", "a.test.", false},
		{"\u212a.test", "k.test", false}, {"b.test", "a.test", false}, {"", "", true}, {"a", "", false}, {"a[.test", "a{.test", false},
	} {
		if got := hostname.EqualServerName([]byte(c.name), c.host); got != c.want {
			t.Errorf("EqualServerName(%q, %q) = %t, want %t", c.name, c.host, got, c.want)
		}
	}
}

func TestServerNamesAreComparedWithoutAllocating(t *testing.T) {
	name := []byte("API.Example.COM.")
	if n := testing.AllocsPerRun(100, func() {
		if !hostname.IsServerName(name) || !hostname.EqualServerName(name, "api.example.com") {
			t.Error("it does not match")
		}
	}); n != 0 {
		t.Errorf("it allocates %g times", n)
	}
}
