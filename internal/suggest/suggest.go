// Package suggest says what a misspelt word was meant to be.
//
// What it does: it compares by the edit distance of Levenshtein, so one letter
// too many, too few or wrong is one.
//
// What it does not do: it does not know the words; whoever knows them gives them.
//
//	fmt.Errorf("unknown command %q; %s", word, suggest.For(word, commands))
package suggest

import (
	"fmt"
	"strings"
)

// MaxWords is how many words For compares: where it is given more, it names none.
const MaxWords = 256

// maxWord is how long a word is that For compares. Whoever wrote the words must not be
// able to make this take long.
const maxWord = 256

// For returns the hint for a word that is none of those known: the nearest of them
// whatever their case, or all of them where none is near.
func For(word string, known []string) string {
	best, least := "", 1+len(word)/3
	compared := known
	if len(known) > MaxWords || len(word) > maxWord {
		compared = nil
	}
	for _, w := range compared {
		if len(w) > maxWord {
			continue
		}
		if d := distance(strings.ToLower(word), strings.ToLower(w), least+1); d <= least {
			best, least = w, d-1
		}
	}
	switch {
	case best != "":
		return fmt.Sprintf("did you mean %q?", best)
	case len(known) > 20:
		return "write one that is defined"
	default:
		return "write one of " + strings.Join(known, ", ")
	}
}

// distance returns the Levenshtein distance of two words, or a number of at
// least most where it is not less than most.
func distance(a, b string, most int) int {
	if len(a)-len(b) >= most || len(b)-len(a) >= most {
		return most
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := corner
			if a[i] != b[j] {
				change++
			}
			corner = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
