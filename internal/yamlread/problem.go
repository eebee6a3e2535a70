package yamlread

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// maxProblems bounds what one file can make the program print.
const maxProblems = 1000

// Problem is one thing that is wrong with a file.
type Problem struct {
	Position
	Key  string // functions.billing.allow[2]; "file" where it is about the whole file
	Text string // what is wrong; what would be right
}

// String returns the problem as one line: file:line: key: text.
func (p Problem) String() string {
	return fmt.Sprintf("%s:%d: %s: %s", p.File, p.Line, p.Key, p.Text)
}

// Error is every problem of a file and of the files that it names, in the order
// of their first use, and of the lines in each. It has at least one.
type Error struct {
	Problems []Problem
}

// Error returns the problems, one on each line.
func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Fail notes a problem with a value.
func (r *Reader) Fail(n Node, format string, args ...any) {
	r.FailAt(n.at, n.Path(), format, args...)
}

// FailAt notes a problem at a place that is not a Node. The key is printed as it is.
func (r *Reader) FailAt(at Position, key, format string, args ...any) {
	switch {
	case len(r.problems) < maxProblems:
		r.problems = append(r.problems, Problem{at, key, fmt.Sprintf(format, args...)})
	case len(r.problems) == maxProblems:
		text := fmt.Sprintf("there are more than %d problems; the rest is not listed", maxProblems)
		r.problems = append(r.problems, Problem{at, key, text})
	}
}

// Problems returns how many problems were noted up to now, so that a caller can
// see whether reading a value added one.
func (r *Reader) Problems() int { return len(r.problems) }

// Err returns the problems as an *Error, or nil where there are none.
func (r *Reader) Err() error {
	if len(r.problems) == 0 {
		return nil
	}
	problems := slices.Clone(r.problems)
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(slices.Index(r.files, a.File), slices.Index(r.files, b.File)), cmp.Compare(a.Line, b.Line))
	})
	return &Error{problems}
}

// OneLine keeps the text of an error on one line.
func OneLine(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return ' '
		}
		return c
	}, s)
}

// Quote quotes text of the file, capped, for a message of one line.
func Quote(s string) string {
	const most = 80
	if len(s) > most {
		return fmt.Sprintf("%q…", s[:most])
	}
	return fmt.Sprintf("%q", s)
}

// Suggest returns the hint of a misspelt word: the nearest of the known
// words, or all of them where none is near.
func Suggest(word string, known []string) string {
	best, least := "", 1+len(word)/3
	for _, w := range known {
		if d := distance(strings.ToLower(word), w, least+1); d <= least {
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
