package doc

import (
	"strings"
	"testing"
)

func TestLongTextIsCutWhateverItIsOf(t *testing.T) {
	t.Parallel()
	for _, c := range []string{"a", "界", "`"} {
		if got, want := Visible(strings.Repeat(c, maxShown+1)), strings.Repeat(c, maxShown)+"…"; got != want {
			t.Errorf("%d times %q is shown as %q", maxShown+1, c, got)
		}
	}
}

func TestLongTextIsCut(t *testing.T) {
	t.Parallel()
	if got := Visible(strings.Repeat("界", 5_000)); len([]rune(got)) != maxShown+1 || !strings.HasSuffix(got, "…") {
		t.Errorf("%d characters are shown", len([]rune(got)))
	}
}

func TestTextThatLooksAlikeIsToldApart(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, s := range []string{"a\x1b", `a\u{1b}`, `a\\u{1b}`, "a\xff", `a\xff`, "a\u202e", `a\u{202e}`} {
		got := Visible(s)
		if other, ok := seen[got]; ok {
			t.Errorf("%q and %q are both shown as %s", s, other, got)
		}
		seen[got] = s
	}
}
