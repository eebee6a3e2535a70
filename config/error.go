package config

import (
	"fmt"
	"slices"
	"strings"
)

// maxProblems bounds what one file can make the program print.
const maxProblems = 1000

// Problem is one thing that is wrong with a file.
type Problem struct {
	File string // the configuration or a file it names, as a path that opens
	Line int    // from 1
	Key  string // functions.billing.allow[2]; "file" where it is about the whole file
	Text string // what is wrong; what would be right
}

// String returns the problem as one line: file:line: key: text.
func (p Problem) String() string {
	return fmt.Sprintf("%s:%d: %s: %s", p.File, p.Line, p.Key, p.Text)
}

// Error is every problem of a configuration, in the order of the file and then
// of the files that it names. It has at least one.
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

// fail notes a problem with a value of the configuration file.
func (r *reader) fail(v value, format string, args ...any) {
	r.failAt(0, v.line, v.at.String(), format, args...)
}

// failAt notes a problem in the file with that number in r.files.
func (r *reader) failAt(file, line int, key, format string, args ...any) {
	switch {
	case len(r.problems) < maxProblems:
		r.problems = append(r.problems, located{file, Problem{r.files[file], line, key, fmt.Sprintf(format, args...)}})
	case len(r.problems) == maxProblems:
		text := fmt.Sprintf("there are more than %d problems; the rest is not listed", maxProblems)
		r.problems = append(r.problems, located{file, Problem{r.files[file], line, key, text}})
	}
}

// located is a problem and the number of its file.
type located struct {
	file int
	Problem
}

// err returns the problems in file order, or nil where there are none.
func (r *reader) err() error {
	if len(r.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(r.problems, func(a, b located) int {
		if a.file != b.file {
			return a.file - b.file
		}
		return a.Line - b.Line
	})
	e := &Error{}
	for _, p := range r.problems {
		e.Problems = append(e.Problems, p.Problem)
	}
	return e
}

// quote quotes text of the file, capped, for a message of one line.
func quote(s string) string {
	const most = 80
	if len(s) > most {
		return fmt.Sprintf("%q…", s[:most])
	}
	return fmt.Sprintf("%q", s)
}
