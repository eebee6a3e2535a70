package jsonscan

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// agree compares Valid with encoding/json.
func agree(t *testing.T, text string) {
	t.Helper()
	if got, want := Valid([]byte(text)), json.Valid([]byte(text)); got != want {
		t.Errorf("valid is %t for %q, want %t", got, text, want)
	}
}

// All texts of up to four of what JSON is made of.
func TestShortTextsAreValidWhereEncodingJSONSaysSo(t *testing.T) {
	t.Parallel()
	parts := []string{"{", "}", "[", "]", ",", ":", `"`, `"a"`, "0", "9", "-", ".", "e", "E", "+", "true", "nul", " ", "\\", "\\u12", "\n"}
	var all func(text string, left int)
	all = func(text string, left int) {
		agree(t, text)
		if left > 0 {
			for _, p := range parts {
				all(text+p, left-1)
			}
		}
	}
	all("", 3)
	for _, p := range []string{`{"a":`, `{"a":1`, `["a"`, `["a",`, `-1.5e+0`, `"\u12`} {
		all(p, 2)
	}
}

func TestWordsSpacesAndEndsAreThoseOfJSON(t *testing.T) {
	t.Parallel()
	for _, word := range []string{"true", "false", "null"} {
		for n := range len(word) + 1 {
			for _, behind := range []string{"", "x", " ", "]", "eeee"} {
				agree(t, word[:n]+behind)
				agree(t, "["+word[:n]+behind)
				agree(t, "["+word[:n]+"]"+behind)
			}
		}
	}
	for c := range 256 {
		space := string([]byte{byte(c)})
		for _, text := range []string{"~1~", "~{~}~", `~{~"a"~:~1~,~"b"~:~2~}~`, "~[~]~", "~[~1~,~2~]~", "1~", "-~", "1.~", "1e~", `"\~"`} {
			agree(t, strings.ReplaceAll(text, "~", space))
		}
	}
}

// The scanner looks at eight bytes at a time.
func TestEveryByteOfATextIsLookedAt(t *testing.T) {
	t.Parallel()
	for long := range 26 {
		for c := range 256 {
			for at := range long {
				text := []byte(`"` + strings.Repeat("a", long) + `"`)
				text[1+at] = byte(c)
				agree(t, string(text))
				agree(t, string(text[:len(text)-1]))
			}
		}
	}
}

func TestEscapesReadAsEncodingJSONReadsThem(t *testing.T) {
	t.Parallel()
	for c := range 256 {
		for _, text := range []string{`"\~"`, `"\u~000"`, `"\u0~00"`, `"\u00~0"`, `"\u000~"`, `"\u00~`, `"\~`, `"\`, `"\ud83~\udd1e"`, `"\ud834\udd~e!"`, `"\ud834x\n~"`} {
			b := []byte(strings.ReplaceAll(text, "~", string([]byte{byte(c)})))
			agree(t, string(b))
			var want string
			if json.Unmarshal(b, &want) != nil {
				continue
			}
			if got := string([]rune(string(Unquote(b)))); got != want { // each byte that is not UTF-8 is U+FFFD
				t.Errorf("%q reads %q, want %q", b, got, want)
			}
			if got := string([]rune(string(AppendUnquoted([]byte("x"), b)))); got != "x"+want {
				t.Errorf("%q behind x reads %q", b, got)
			}
		}
	}
}

func TestTextIsOneStringAndNothingElse(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		`""`: true, `"a"`: true, `"\""`: true, `"a" `: false, ` "a"`: false, `"a""`: false, `"a`: false, `a"`: false, `"`: false, "": false, "1": false, `["a"]`: false,
	} {
		if got := IsText([]byte(text)); got != want {
			t.Errorf("%q is a text: %t", text, got)
		}
	}
}

func TestMembersAreGivenInOrderWithTheirKeysAndValues(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct {
		members string
		ok      bool
	}{
		`{"a":1,"b\u0063" : [1, {"x":2}] ,"":"\u0063","a":{}}`: {`a=1 bc=[1, {"x":2}] ="\u0063" a={} `, true},
		` {} `:          {"", true},
		`{"a":1} x`:     {"a=1 ", false},
		`{"a":1,}`:      {"a=1 ", false},
		`{"a":1 "b":2}`: {"a=1 ", false},
		`{"a":1`:        {"a=1 ", false},
		`{"a":tru}`:     {"", false},
		`{"a"}`:         {"", false},
		`[1]`:           {"", false},
		``:              {"", false},
	} {
		got := ""
		ok := Members([]byte(text), func(key, value []byte) { got += string(key) + "=" + string(value) + " " })
		if got != want.members || ok != want.ok {
			t.Errorf("%s: %t, %s", text, ok, got)
		}
	}
}

func TestElementsAreGivenInOrder(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct {
		elements []string
		ok       bool
	}{
		`[1, "a" ,{"b":[2]} ]`: {[]string{"1", `"a"`, `{"b":[2]}`}, true},
		`[]`:                   {nil, true},
		`[ ]`:                  {nil, true},
		`[1,]`:                 {[]string{"1"}, false},
		`[1`:                   {[]string{"1"}, false},
		`{}`:                   {nil, false},
	} {
		var got []string
		ok := Elements([]byte(text), func(value []byte) { got = append(got, string(value)) })
		if !slices.Equal(got, want.elements) || ok != want.ok {
			t.Errorf("%s: %t, %q", text, ok, got)
		}
	}
}

func TestValuesAreNestedUpToADepth(t *testing.T) {
	t.Parallel()
	for _, pair := range [][2]string{{"[", "]"}, {`{"a":`, "}"}} {
		for depth, want := range map[int]bool{1: true, MaxDepth - 1: true, MaxDepth: false, MaxDepth + 1: false, 1000: false} {
			if got := Valid([]byte(strings.Repeat(pair[0], depth) + "1" + strings.Repeat(pair[1], depth))); got != want {
				t.Errorf("%d times %s: %t", depth, pair[0], got)
			}
		}
	}
}
