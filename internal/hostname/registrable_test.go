package hostname_test

import (
	"errors"
	"strings"
	"testing"
	"unicode"

	"golang.org/x/net/idna"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
)

// What comes with a name that is pasted from a document, each with its cure. A deny entry
// with one would deny nothing, an allow would be dead.
func TestAPatternThatNoRegistryMayHaveIsRefusedWithItsCure(t *testing.T) {
	const hyphen, plain, other = `write a hyphen, "-"`, "as plain text has it", "the A-label"
	for in, want := range map[string]string{
		"“api.vendor.example”": plain, "„api.vendor.example“": plain, "‘api.vendor.example’": plain, "«api.vendor.example»": plain,
		"api.vendor.example’s": plain, "api′.vendor.example": plain, "「api」.vendor.example": plain,
		"api–v2.vendor.example": hyphen, "api—v2.vendor.example": hyphen, "api‑v2.vendor.example": hyphen, "api‐v2.vendor.example": hyphen,
		"api−v2.vendor.example": hyphen, "api⁃v2.vendor.example": hyphen, "api―v2.vendor.example": hyphen,
		"•api.vendor.example": other, "→api.vendor.example": other, "✓api.vendor.example": other, "☃.example": other, "😀.example": other,
		"a·b.example": other, "×.example": other, "a⁄b.example": other, "a¢.example": other, "№…x.example": "",
		"ـa.example": "", "\u1100.example": other, "a\u20d0.example": other, "ab͵.example": other, "a׳.example": other, "・a.example": other,
		"ا٠۰.example": "", "*.“vendor”.example": plain, "münchen.“de”": plain,
	} {
		p, err := hostname.ParsePattern(in)
		if !errors.Is(err, hostname.ErrBadPattern) || !p.IsZero() || !strings.Contains(err.Error(), want) {
			t.Errorf("ParsePattern(%q) = %q, %v; want an error with %q", in, p, err, want)
		}
		if err != nil && strings.ContainsFunc(err.Error(), func(r rune) bool { return r != '…' && r > unicode.MaxASCII }) {
			t.Errorf("ParsePattern(%q): the error quotes it: %v", in, err)
		}
	}
}

// What a registry may have: the letters, marks and digits of all scripts, the exceptions,
// and what only its context allows. What lookup maps to such is mapped.
func TestAPatternThatARegistryMayHaveIsTaken(t *testing.T) {
	for in, want := range map[string]string{
		"bücher.example": "xn--bcher-kva.example", "BÜCHER.Example": "xn--bcher-kva.example", "*.例え.example": "*.xn--r8jz45g.example",
		"straße.de": "xn--strae-oqa.de", "ς.gr": "xn--3xa.gr", "пример.рф": "xn--e1afmkfd.xn--p1ai", "नहीं.example": "xn--i1b9e4b2a.example",
		"l·l.cat": "xn--ll-0ea.cat", "ファ・ン.jp": "xn--bck9etd5a.jp", "〇.example": "xn--w6j.example", "한국.kr": "xn--3e0b707e.kr",
		"ａｐｉ.example": "api.example", "a。example": "a.example", "a\u00adpi.example": "api.example", "ⅷ.example": "viii.example",
		"xn--ls8h.la": "xn--ls8h.la", "xn--ls8h.münchen.de": "xn--ls8h.xn--mnchen-3ya.de", "XN--ls8h.münchen.de": "xn--ls8h.xn--mnchen-3ya.de",
		"_x.münchen.de": "_x.xn--mnchen-3ya.de", "שלום׳.example": "", "ا٠١.example": "", "क्\u200dष.example": "xn--11b2ezcw70k.example",
	} {
		p, err := hostname.ParsePattern(in)
		if err != nil || want != "" && p.String() != want {
			t.Errorf("ParsePattern(%q) = %q, %v; want %q", in, p, err, want)
		}
	}
}

// Of every character: what a pattern takes is a letter, a mark or a digit of some script
// once it is mapped, and what is one is taken but for what lookup refuses as well.
func TestEveryCharacterOfAPatternIsALetterAMarkOrADigit(t *testing.T) {
	profile := idna.New(idna.MapForLookup(), idna.BidiRule(), idna.StrictDomainName(false))
	taken := 0
	for r := rune(0x80); r <= 0xE01FF; r++ {
		if r == 0x33480 { // nothing is assigned up to the tags
			r = 0xE0000
		}
		name := "b" + string(r) + "b.example"
		ascii, refused := profile.ToASCII(name)
		p, err := hostname.ParsePattern(name)
		if err != nil {
			continue
		}
		taken++
		if refused != nil || p.String() != ascii {
			t.Fatalf("U+%04X: %q, and by lookup %q, %v", r, p, ascii, refused)
		}
		u, _ := idna.Punycode.ToUnicode(ascii)
		for _, m := range u {
			if m > unicode.MaxASCII && !unicode.In(m, unicode.Ll, unicode.Lo, unicode.Lm, unicode.Mn, unicode.Mc, unicode.Nd) && m != 0x06FD && m != 0x06FE && m != 0x0F0B && m != 0x3007 {
				t.Errorf("U+%04X is taken as %q", r, u)
			}
		}
	}
	if taken < 90_000 {
		t.Errorf("%d characters are taken", taken)
	}
}
