package suggest

import (
	"fmt"
	"testing"
)

func TestTheNearestWordIsSuggestedOrAllAreNamed(t *testing.T) {
	words := []string{"allow", "identify", "mode", "Nightly"}
	for word, want := range map[string]string{
		"alow":     `did you mean "allow"?`,
		"Allow":    `did you mean "allow"?`,
		"identfiy": `did you mean "identify"?`,
		"mod":      `did you mean "mode"?`,
		"nightly":  `did you mean "Nightly"?`,
		"zzz":      "write one of allow, identify, mode, Nightly",
		"":         "write one of allow, identify, mode, Nightly",
	} {
		if got := For(word, words); got != want {
			t.Errorf("For(%q) = %q, want %q", word, got, want)
		}
	}
	many := make([]string, 21)
	for i := range many {
		many[i] = fmt.Sprintf("function-%d", i)
	}
	if got, want := For("zzz", many), "write one that is defined"; got != want {
		t.Errorf("of 21 words: %q, want %q", got, want)
	}
}
