package yamlread

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// maxProblems bounds what one file can make the program print.
const maxProblems = 1000

// maxQuoted bounds what a message repeats of one text of the file.
const maxQuoted = 80

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

// full reports whether there are more problems than are listed. Nothing that is read
// then is of use: the file is refused.
func (r *Reader) full() bool { return len(r.problems) > maxProblems }

// Problems returns how many problems were noted up to now, so that a caller can
// see whether reading a value added one.
func (r *Reader) Problems() int { return len(r.problems) }

// Err returns the problems as an *Error, or nil where there are none.
func (r *Reader) Err() error {
	if len(r.problems) == 0 {
		return nil
	}
	problems := slices.Clone(r.problems)
	order := make(map[string]int, len(r.files))
	for i, file := range r.files {
		order[file] = i
	}
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(order[a.File], order[b.File]), cmp.Compare(a.Line, b.Line))
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
	if len(s) > maxQuoted {
		return fmt.Sprintf("%q…", s[:maxQuoted])
	}
	return fmt.Sprintf("%q", s)
}
