package hello_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hello"
)

// parse reads a hello that is there in full and has to be one.
func parse(t testing.TB, b []byte) hello.Hello {
	t.Helper()
	var p hello.Parser
	h, err := p.Parse(b)
	if err != nil {
		t.Fatalf("Parse: %v", err)
	}
	return h
}

func TestServerNameIsComparedWithHost(t *testing.T) {
	long := strings.Repeat("a.", 126) + "a" // 253 bytes, the longest host name
	for _, tt := range []struct {
		sent string
		host string
		want error
	}{
		{"api.example.com", host, nil},
		{"API.Example.COM", host, nil},
		{"api.example.com.", host, nil},
		{"xn--mnchen-3ya.example", "xn--mnchen-3ya.example", nil},
		{"_dmarc.example.com", "_dmarc.example.com", nil},
		{"localhost", "localhost", nil},
		{"1.2.3.4.example", "1.2.3.4.example", nil},
		{"x.0xg", "x.0xg", nil},
		{long, long, nil},
		{long + ".", long, nil},
		{strings.Repeat("a", 255), strings.Repeat("a", 255), nil}, // the most that is kept, and all of it

		{"evil.test", host, hello.ErrMismatch},
		{"other.example.com", host, hello.ErrMismatch},
		{"example.com", host, hello.ErrMismatch},
		{"x.api.example.com", host, hello.ErrMismatch},
		{"api.example.co", host, hello.ErrMismatch},
		{"api.example.comm", host, hello.ErrMismatch},
		{"apixexample.com", host, hello.ErrMismatch},
		{"api.example.com", "", hello.ErrMismatch},
		// Unicode folds these two to k and s; names are ASCII.
		{"\u212a.example.com", "k.example.com", hello.ErrBadName},
		{"\u017f.example.com", "s.example.com", hello.ErrBadName},

		// What is not a host name is refused even if the host is spelt the same.
		{"192.0.2.1", "192.0.2.1", hello.ErrBadName},
		{"192.0.2.1.", "192.0.2.1", hello.ErrBadName},
		{"3221225985", "3221225985", hello.ErrBadName},
		{"0xC0000201", "0xc0000201", hello.ErrBadName},
		{"192.0.2.0x", "192.0.2.0x", hello.ErrBadName},
		{"2001:db8::1", "2001:db8::1", hello.ErrBadName},
		{"[2001:db8::1]", "[2001:db8::1]", hello.ErrBadName},
		{"api.example.com\x00", host, hello.ErrBadName},
		{"api.example.com\x00.evil.test", "api.example.com\x00.evil.test", hello.ErrBadName},
		{"api.example.com:443", "api.example.com:443", hello.ErrBadName},
		{"*.example.com", "*.example.com", hello.ErrBadName},
		{"api.example.com..", "api.example.com.", hello.ErrBadName},
		{"api..example.com", "api..example.com", hello.ErrBadName},
		{".example.com", ".example.com", hello.ErrBadName},
		{".", "", hello.ErrBadName},
		{" api.example.com", " api.example.com", hello.ErrBadName},
		{strings.Repeat("a", 256), strings.Repeat("a", 255), hello.ErrBadName},
		{strings.Repeat("a.", 2000) + "a", host, hello.ErrBadName},
	} {
		h := parse(t, wire(sni(tt.sent)))
		if err := h.Check(tt.host); !errors.Is(err, tt.want) {
			t.Errorf("Check(%q) of %q = %v, want %v", tt.host, tt.sent, err, tt.want)
		}
		if tt.want != nil && !errors.Is(h.Check(tt.host), hello.ErrMismatch) {
			t.Errorf("Check(%q) of %q is not a mismatch", tt.host, tt.sent)
		}
		if got := h.Matches(tt.host); got != (tt.want == nil) {
			t.Errorf("Matches(%q) of %q = %t", tt.host, tt.sent, got)
		}
		if got, want := h.ServerName(), tt.sent[:min(255, len(tt.sent))]; got != want || !h.HasSNI {
			t.Errorf("ServerName() = %q, HasSNI %t, want %q as it was sent", got, h.HasSNI, want)
		}
	}
}

func TestHelloThatNamesNoHostOrSeveralIsRefused(t *testing.T) {
	for _, tt := range []struct {
		name string
		exts []extension
		sni  bool
		want error
	}{
		{"no extensions at all", nil, false, hello.ErrMissing},
		{"no server_name", []extension{{16, []byte("\x00\x03\x02h2")}}, false, hello.ErrMissing},
		{"empty extension", []extension{{0, nil}}, true, hello.ErrMissing},
		{"empty list", []extension{list()}, true, hello.ErrMissing},
		{"empty name", []extension{sni("")}, true, hello.ErrMissing},
		{"two names", []extension{list(entry(0, host), entry(0, "evil.test"))}, true, hello.ErrBadName},
		{"the same name twice", []extension{list(entry(0, host), entry(0, host))}, true, hello.ErrBadName},
		{"an empty name first", []extension{list(entry(0, ""), entry(0, host))}, true, hello.ErrBadName},
		{"a name and another kind", []extension{list(entry(0, host), entry(1, "evil.test"))}, true, hello.ErrBadName},
		{"another kind and a name", []extension{list(entry(1, "evil.test"), entry(0, host))}, true, hello.ErrBadName},
		{"another kind alone", []extension{list(entry(1, host))}, true, hello.ErrBadName},
	} {
		h := parse(t, wire(tt.exts...))
		if err := h.Check(host); !errors.Is(err, tt.want) || h.Matches(host) {
			t.Errorf("%s: Check = %v, want %v", tt.name, err, tt.want)
		}
		if h.HasSNI != tt.sni {
			t.Errorf("%s: HasSNI = %t", tt.name, h.HasSNI)
		}
	}
}

func TestZeroHelloMatchesNothing(t *testing.T) {
	for _, h := range []string{host, "", "."} {
		if (hello.Hello{}).Matches(h) {
			t.Errorf("zero Hello matches %q", h)
		}
	}
}

func TestOuterNameOfEncryptedHelloCounts(t *testing.T) {
	inner := extension{0xfe0d, []byte{1}}
	for _, tt := range []struct {
		name string
		exts []extension
		ech  bool
		want error
	}{
		{"no ECH", []extension{sni(host)}, false, nil},
		{"GREASE with the right name", []extension{greaseECH(), sni(host)}, true, nil},
		{"GREASE with another name", []extension{sni("public.example"), greaseECH()}, true, hello.ErrMismatch},
		{"GREASE without a name", []extension{greaseECH()}, true, hello.ErrMissing},
		{"the inner kind is not outer", []extension{sni(host), inner}, false, nil},
		{"an extension without a kind", []extension{sni(host), {0xfe0d, nil}}, false, nil},
	} {
		h := parse(t, wire(tt.exts...))
		if err := h.Check(host); h.ECH != tt.ech || !errors.Is(err, tt.want) {
			t.Errorf("%s: ECH %t, Check %v; want %t, %v", tt.name, h.ECH, err, tt.ech, tt.want)
		}
	}
}

func TestErrorsFallIntoThreeClasses(t *testing.T) {
	classes := []error{hello.ErrNotTLS, hello.ErrMissing, hello.ErrMismatch}
	for _, tt := range []struct {
		err   error
		class error
	}{
		{hello.ErrTooLarge, hello.ErrNotTLS},
		{hello.ErrMalformed, hello.ErrNotTLS},
		{hello.ErrBadName, hello.ErrMismatch},
		{hello.ErrIncomplete, nil},
	} {
		for _, class := range classes {
			if got := errors.Is(tt.err, class); got != (class == tt.class) {
				t.Errorf("errors.Is(%q, %q) = %t", tt.err, class, got)
			}
		}
	}
}
