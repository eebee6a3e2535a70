package evidence

import (
	"encoding/json"
	"fmt"
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
		got, want := valid(b), json.Valid(b)
		if got != want && !tooDeep(b) {
			t.Fatalf("valid is %t for %q, want %t", got, b, want)
		}
		var text string
		if len(b) == 0 || b[0] != '"' || b[len(b)-1] != '"' || !got || json.Unmarshal(b, &text) != nil {
			return
		}
		if s := string([]rune(string(unquote(b)))); s != text {
			t.Errorf("%q reads %q, want %q", b, s, text)
		}
	})
}

// Each record has the number after the next, so that nothing follows on anything.
func TestBreaksBeyondTheRoomAreNotWhole(t *testing.T) {
	v := NewVerifier()
	v.room = 2 * maxFindings
	for i := range 3 * maxFindings {
		line := fmt.Appendf(nil, `{"event":"refused","boot":"b1","seq":%d,"prev":"%064d"}`, 1+2*i, 0)
		v.Add(Line{File: "f", Number: 1 + i, Raw: line})
	}
	res := v.Result()
	if res.Whole || len(res.Findings) != 1 || res.Findings[0].Kind != KindDisorder || v.runs != v.room {
		t.Errorf("%d runs, %+v", v.runs, res.Findings)
	}
	if b := res.Boots[0]; len(b.Findings) != maxFindings || b.More != uint64(v.room)-maxFindings {
		t.Errorf("%d findings and %d more", len(b.Findings), b.More)
	}
}

// tooDeep reports whether the value may be nested deeper than the scanner goes.
func tooDeep(b []byte) bool {
	n := 0
	for _, c := range b {
		if c == '{' || c == '[' {
			n++
		}
	}
	return n >= maxDepth
}
