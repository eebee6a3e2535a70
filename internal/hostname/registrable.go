package hostname

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"golang.org/x/net/idna"
)

// What lookup converts (UTS 46) is wider than what a registry may have (RFC 5892): curly
// quotes, dashes and bullets, pasted from a document, become A-labels that nobody owns. A
// pattern with one covers nothing, without a word.

// checkRegistrable checks the U-labels of a name that was written so and converted to
// ascii, by what RFC 5892 derives for each character. Labels that were written as A-labels
// are not asked about: some registries have what they should not, and nobody writes xn--
// by accident. The error says what would be right.
func checkRegistrable(written, ascii string) error {
	written = strings.ToLower(written)
	for label := range strings.SplitSeq(ascii, ".") {
		if !strings.HasPrefix(label, "xn--") || strings.Contains(written, label) {
			continue
		}
		u, err := idna.Punycode.ToUnicode(label)
		if err != nil {
			return errors.New("its U-labels do not convert; write the A-labels (xn--…)")
		}
		text := []rune(u)
		for i, r := range text {
			if !isRegistrable(text, i) {
				return fmt.Errorf("its character U+%04X is in no name that a registry may have (RFC 5892); %s", r, cure(r))
			}
		}
	}
	return nil
}

// isRegistrable reports whether the ith character of a label is PVALID, or CONTEXTO where
// its context is right (RFC 5892, sections 2 and 3, appendix A). Joiners (CONTEXTJ) and
// characters that their own mapping changes are the conversion's.
func isRegistrable(label []rune, i int) bool {
	r := label[i]
	if ok, has := inContext(label, i); has {
		return ok
	}
	switch {
	case unicode.Is(exceptionsAllowed, r), r == '-', r == '_': // LDH, and the underscore of RFC 8552
		return true
	case r == 0x200C, r == 0x200D:
		return true
	case unicode.Is(exceptionsRefused, r), unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r), unicode.Is(unicode.Variation_Selector, r):
		return false
	default:
		return unicode.In(r, unicode.Ll, unicode.Lo, unicode.Lm, unicode.Mn, unicode.Mc, unicode.Nd)
	}
}

// The exceptions of RFC 5892, section 2.6, and what sections 2.5 and 2.9 take out: blocks
// of marks for symbols and music, and the parts of Hangul syllables.
var (
	exceptionsAllowed = &unicode.RangeTable{R16: []unicode.Range16{
		{Lo: 0x00DF, Hi: 0x00DF, Stride: 1}, {Lo: 0x03C2, Hi: 0x03C2, Stride: 1}, {Lo: 0x06FD, Hi: 0x06FE, Stride: 1},
		{Lo: 0x0F0B, Hi: 0x0F0B, Stride: 1}, {Lo: 0x3007, Hi: 0x3007, Stride: 1},
	}}
	exceptionsRefused = &unicode.RangeTable{
		R16: []unicode.Range16{
			{Lo: 0x0640, Hi: 0x0640, Stride: 1}, {Lo: 0x07FA, Hi: 0x07FA, Stride: 1}, {Lo: 0x1100, Hi: 0x11FF, Stride: 1},
			{Lo: 0x20D0, Hi: 0x20FF, Stride: 1}, {Lo: 0x302E, Hi: 0x302F, Stride: 1}, {Lo: 0x3031, Hi: 0x3035, Stride: 1},
			{Lo: 0x303B, Hi: 0x303B, Stride: 1}, {Lo: 0xA960, Hi: 0xA97F, Stride: 1}, {Lo: 0xD7B0, Hi: 0xD7FF, Stride: 1},
		},
		R32: []unicode.Range32{{Lo: 0x1D100, Hi: 0x1D24F, Stride: 1}},
	}
)

// inContext reports whether a character is one that only its context allows, and whether
// it does (RFC 5892, appendices A.3 to A.9).
func inContext(label []rune, i int) (allowed, has bool) {
	before, after := runeAt(label, i-1), runeAt(label, i+1)
	switch r := label[i]; {
	case r == 0x00B7: // a middle dot stands between two l, as in Catalan
		return before == 'l' && after == 'l', true
	case r == 0x0375: // the Greek lower numeral sign, before Greek
		return unicode.Is(unicode.Greek, after), true
	case r == 0x05F3, r == 0x05F4: // geresh and gershayim, behind Hebrew
		return unicode.Is(unicode.Hebrew, before), true
	case r == 0x30FB: // the Katakana middle dot, in a label of Japanese
		return hasAny(label, func(r rune) bool { return unicode.In(r, unicode.Hiragana, unicode.Katakana, unicode.Han) }), true
	case isArabicIndic(r): // not beside the extended ones
		return !hasAny(label, isExtendedArabicIndic), true
	case isExtendedArabicIndic(r):
		return !hasAny(label, isArabicIndic), true
	}
	return false, false
}

// isArabicIndic and isExtendedArabicIndic are the two sorts of digits that look alike.
func isArabicIndic(r rune) bool { return 0x0660 <= r && r <= 0x0669 }

func isExtendedArabicIndic(r rune) bool { return 0x06F0 <= r && r <= 0x06F9 }

// runeAt returns a character of a label, -1 outside of it.
func runeAt(label []rune, i int) rune {
	if i < 0 || i >= len(label) {
		return -1
	}
	return label[i]
}

// hasAny reports whether a character of a label is one of some.
func hasAny(label []rune, of func(rune) bool) bool {
	for _, r := range label {
		if of(r) {
			return true
		}
	}
	return false
}

// cure says what to write in place of a character that no name has.
func cure(r rune) string {
	switch {
	case unicode.Is(unicode.Pd, r), r == 0x2010, r == 0x2212, r == 0x2043:
		return `write a hyphen, "-"`
	case unicode.In(r, unicode.Pi, unicode.Pf, unicode.Ps, unicode.Pe), r == 0x2032, r == 0x2033:
		return "write the name without it, as plain text has it"
	default:
		return "write the name without it, or the A-label (xn--…) where a registry has such a name nonetheless"
	}
}
