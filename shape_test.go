package repo

import (
	"path"
	"strings"
	"testing"
)

// Limits of what a reader takes in at a time. Tests are exempt.
const (
	maxPackageLines = 1200
	// minComments is how many of a hundred lines hold a comment, over the tree; empty lines
	// do not count.
	minComments = 18
)

func TestPackagesAreSmall(t *testing.T) {
	t.Parallel()
	lines := map[string]int{}
	for _, s := range sources(t) {
		lines[path.Dir(s.name)] += s.line(s.file.FileEnd - 1)
	}
	for dir, n := range lines {
		if n > maxPackageLines {
			t.Errorf("%s has %d lines, over %d; split it by what it does", dir, n, maxPackageLines)
		}
	}
}

// A line with code and a comment counts once, as one that holds a comment.
func TestCodeIsCommented(t *testing.T) {
	t.Parallel()
	commented, all := 0, 0
	for _, s := range sources(t) {
		has := map[int]bool{}
		for _, group := range s.file.Comments {
			for _, c := range group.List {
				for n := s.line(c.Pos()); n <= s.line(c.End()); n++ {
					has[n] = true
				}
			}
		}
		commented += len(has)
		all += notEmpty(read(t, s.name))
	}
	if 100*commented < minComments*all {
		t.Errorf("%d of %d lines hold a comment, under %d in a hundred", commented, all, minComments)
	}
}

// notEmpty returns how many lines of a text hold something.
func notEmpty(text string) (n int) {
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) != "" {
			n++
		}
	}
	return n
}
