package jsonscan

import (
	"encoding/json"
	"testing"
)

// FuzzScanner proves that the scanner calls valid what encoding/json calls so,
// and that texts come out alike.
func FuzzScanner(f *testing.F) {
	for _, s := range []string{
		"", " ", "{}", "[]", `{"a":1}`, `{"a":}`, `{"a" 1}`, `{,}`, `[1,]`, `[,1]`, "01", "-", "-0", "1.", ".1", "1e", "1e+", "1E-7", "+1", "tru", "true ", "nul",
		`"`, `"a`, `"\"`, `"\u12"`, `"\u12g4"`, `"\ud834\udd1e"`, `"\ud834"`, `"\udd1e\ud834"`, `"\ud834\u0041"`, "\"\n\"", "\"\x7f\"", `{"a":1}}`, `1 2`, "\ufeff1", `"\/"`, `"\x"`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, want := Valid(b), json.Valid(b)
		if got != want && !tooDeep(b) {
			t.Fatalf("valid is %t for %q, want %t", got, b, want)
		}
		var text string
		if len(b) == 0 || b[0] != '"' || b[len(b)-1] != '"' || !got || json.Unmarshal(b, &text) != nil {
			return
		}
		if s := string([]rune(string(Unquote(b)))); s != text {
			t.Errorf("%q reads %q, want %q", b, s, text)
		}
	})
}

// tooDeep reports whether the value may be nested deeper than the scanner goes.
func tooDeep(b []byte) bool {
	n := 0
	for _, c := range b {
		if c == '{' || c == '[' {
			n++
		}
	}
	return n >= MaxDepth
}
