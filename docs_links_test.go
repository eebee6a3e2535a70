package repo

import (
	"fmt"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// maxREADME is how long the README may get, in bytes: what is longer is a page of
// docs/.
const maxREADME = 12_000

func TestREADMEIsShort(t *testing.T) {
	t.Parallel()
	if n := len(read(t, "README.md")); n > maxREADME {
		t.Errorf("README.md has %d bytes, over %d; move something to docs/", n, maxREADME)
	}
}

// prose returns a document line by line, with the lines of fenced blocks emptied:
// what stands in one is no heading and no link.
func prose(t *testing.T, name string) (lines []string) {
	t.Helper()
	inside := false
	for line := range strings.Lines(read(t, name)) {
		fence := strings.HasPrefix(strings.TrimSpace(line), "```")
		if inside = inside != fence; inside || fence {
			line = ""
		}
		lines = append(lines, strings.TrimRight(line, "\n"))
	}
	return lines
}

// anchors returns the fragments by which GitHub links to the headings of a
// document: lower case, spaces as hyphens, without other punctuation, and numbered
// where a heading repeats.
func anchors(t *testing.T, name string) (all []string) {
	t.Helper()
	for _, line := range prose(t, name) {
		m := regexp.MustCompile(`^#{1,6} +(.*)$`).FindStringSubmatch(line)
		if m == nil {
			continue
		}
		anchor := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, strings.TrimSpace(m[1]))
		for n, first := 1, anchor; slices.Contains(all, anchor); n++ {
			anchor = fmt.Sprintf("%s-%d", first, n)
		}
		all = append(all, anchor)
	}
	return all
}

func TestEveryLinkBetweenDocumentsLeadsToAFileAndAHeading(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	elsewhere := regexp.MustCompile(`^[a-z]+:`)
	checked := 0
	walk(t, func(name string) {
		if strings.Contains(name, "testdata/") {
			return
		}
		for i, line := range prose(t, name) {
			for _, m := range link.FindAllStringSubmatch(line, -1) {
				if elsewhere.MatchString(m[1]) {
					continue
				}
				checked++
				file, heading, _ := strings.Cut(m[1], "#")
				to := name
				if file != "" {
					to = path.Join(path.Dir(name), file)
				}
				if _, err := os.Stat(to); err != nil {
					t.Errorf("%s:%d links to %s: %v", name, i+1, m[1], err)
				} else if heading != "" && !slices.Contains(anchors(t, to), heading) {
					t.Errorf("%s:%d links to %s, and %s has no such heading", name, i+1, m[1], to)
				}
			}
		}
	}, ".md")
	if checked == 0 {
		t.Error("no document links to another; the check looks for the wrong thing")
	}
}

// A page says in its first sentence what it is for, leads back, and is led to.
func TestEveryPageOfDocsOpensAlikeAndIsLinkedFromTheREADME(t *testing.T) {
	t.Parallel()
	readme := read(t, "README.md")
	opening := regexp.MustCompile(`^# [^\n]+\n\nThis page [^\n]+\]\(\.\./README\.md#where-to-go-on\)\.\n\n`)
	for _, page := range pages(t)[1:] {
		if !opening.MatchString(read(t, page)) {
			t.Errorf("%s does not begin with a heading, a sentence that begins with %q, and a link back to the README", page, "This page")
		}
		if !strings.Contains(readme, "]("+page+")") {
			t.Errorf("README.md does not link to %s", page)
		}
	}
}
