package printable_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
	"unicode"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/printable"
)

func TestWhatDoesNotPrintIsEscaped(t *testing.T) {
	for text, want := range map[string]string{
		`{"a":"b ü 日"}` + "\n":   `{"a":"b ü 日"}` + "\n",
		"\"\x7f\"":               `"\u007f"`,
		"\"\u0085\u009b2J\"":     `"\u0085\u009b2J"`,
		"\"\u202eevil\u2066\"":   `"\u202eevil\u2066"`,
		"\"\u00a0\u200b\ufeff\"": `"\u00a0\u200b\ufeff"`,
		"\"\U000e0041\"":         `"\udb40\udc41"`,
		"\"\xff\xc3\"":           `"\ufffd\ufffd"`,
		"":                       "",
	} {
		if got := string(printable.AppendJSON(nil, []byte(text))); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}

func TestWriterWritesAllOrSaysWhyNot(t *testing.T) {
	var b bytes.Buffer
	if n, err := (printable.Writer{W: &b}).Write([]byte("\"\u202e\"")); n != 5 || err != nil || b.String() != `"\u202e"` {
		t.Errorf("%d, %v, %q", n, err, b.String())
	}
	if n, err := (printable.Writer{W: full{}}).Write([]byte("x")); n != 0 || err == nil {
		t.Errorf("%d, %v", n, err)
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("full") }

// FuzzAppendJSON holds that JSON stands for the same afterwards, and that all of it prints.
func FuzzAppendJSON(f *testing.F) {
	for _, seed := range []string{"", "a\u202e\x7f", "\u009b2J", "\xff", "\U000e0041<>&\u2028"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		encoded, err := json.Marshal(map[string]string{text: text})
		if err != nil {
			t.Fatal(err)
		}
		escaped := printable.AppendJSON(nil, encoded)
		var before, after map[string]string
		if json.Unmarshal(encoded, &before) != nil || json.Unmarshal(escaped, &after) != nil || len(after) != 1 {
			t.Fatalf("%q became %q", encoded, escaped)
		}
		for k, v := range before {
			if w, ok := after[k]; !ok || v != w {
				t.Errorf("%q became %q", encoded, escaped)
			}
		}
		for _, r := range string(escaped) {
			if !unicode.IsPrint(r) {
				t.Errorf("%q does not print", escaped)
			}
		}
	})
}
