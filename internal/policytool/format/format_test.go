package format

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
)

// noFile is for policies that name no other file.
func noFile(string) ([]byte, error) { return nil, fs.ErrNotExist }

// formatted returns the canonical form of a text, which must be its own.
func formatted(t *testing.T, text string) string {
	t.Helper()
	out, err := Source("egress.yaml", []byte(text), noFile)
	if err != nil {
		t.Fatalf("%v of\n%s", err, text)
	}
	again, err := Source("egress.yaml", out, noFile)
	if err != nil || !bytes.Equal(again, out) {
		t.Fatalf("formatted once:\n%s\ntwice (%v):\n%s", out, err, again)
	}
	return string(out)
}

// head is what the policies of this file begin with.
const head = "version: 1\nfunctions:\n  a:\n    identify: {sources: [10.0.1.0/24]}\n"

func TestCanonicalForm(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"indentation and spaces", "version:   1\nfunctions:\n     a:\n        identify: {sources: [ 10.0.1.0/24 ]}\n        allow:\n        -   x.example\n        - {host: y.example,ports: [80,443]}\n",
			head + "    allow:\n      - x.example\n      - {host: y.example, ports: [80, 443]}\n"},
		{"quotes", head + "    allow: ['*.x.example', \"y.example\", z.example]\n", head + "    allow: [\"*.x.example\", \"y.example\", z.example]\n"},
		{"brackets over several lines", head + "    allow: [x.example, # one\n      y.example,\n      {host: z.example,\n       ports: [80]}]\n",
			head + "    allow:\n      - x.example # one\n      - y.example\n      - host: z.example\n        ports: [80]\n"},
		{"empty lines", "\n\nversion: 1\n\n\n\nfunctions:\n\n  a:\n    identify: {sources: [10.0.1.0/24]}\n    # one\n\n    # two\n\n    allow: []\n\n\n",
			"version: 1\n\nfunctions:\n\n  a:\n    identify: {sources: [10.0.1.0/24]}\n    # one\n\n    # two\n\n    allow: []\n"},
		{"CRLF", strings.ReplaceAll(head+"    # c\n    allow: [x.example]   # d\n", "\n", "\r\n"), head + "    # c\n    allow: [x.example] # d\n"},
		{"tabs between", head + "    allow:\t[x.example]\t# tab\n", head + "    allow: [x.example] # tab\n"},
		{"no end of the last line", head + "    allow: []", head + "    allow: []\n"},
		{"a block of text", head + "    owner: >-\n      the team\n      # of a\n    # comment\n    allow: []\n", head + "    owner: \"the team # of a\"\n    # comment\n    allow: []\n"},
		{"a number sign in a text", head + "    owner: 'it''s # 1'\n    allow: [x.example] # \"c\n", head + "    owner: \"it's # 1\"\n    allow: [x.example] # \"c\n"},
		{"a comment below brackets", head + "    allow:\n    - {host: x.example, ports: [80]}\n    # end\n", head + "    allow:\n      - {host: x.example, ports: [80]}\n      # end\n"},
		{"anchors", head + "    allow: &all\n    - x.example   # one\n    - &y 'y.example'\n  b:\n    identify: {sources: [10.0.2.0/24]}\n    allow: *all\n",
			head + "    allow: &all\n      - x.example # one\n      - &y \"y.example\"\n  b:\n    identify: {sources: [10.0.2.0/24]}\n    allow: *all\n"},
	} {
		if got := formatted(t, c.in); got != c.want {
			t.Errorf("%s: got\n%s\nwant\n%s", c.name, got, c.want)
		}
	}
}

// write lays a file out where it is, and reports whether it has changed.
func write(path string) (changed bool, err error) {
	text, err := File(path)
	if err != nil {
		return false, err
	}
	return text.Changed, text.Write()
}

// What does not load is not written, whatever else it is.
func TestFileWithErrorsIsNotWritten(t *testing.T) {
	for name, text := range map[string]string{
		"an unknown key":     head + "    allow:   []\n    alow: []\n",
		"a merge key":        head + "    <<: {owner: x}\n    allow:   []\n",
		"a tab as indent":    head + "\tallow:   []\n",
		"half a file":        head + "    allow: [",
		"two documents":      head + "    allow:   []\n---\nversion: 1\n",
		"a tag":              head + "    allow:   !!seq []\n",
		"an unknown set":     head + "    allow:   [{set: gone}]\n",
		"an unreadable list": head + "    allow:   []\nsets: {x: {file: gone.txt}}\n",
		"nothing":            "",
		"a byte order mark":  "\ufeff" + head + "    allow:   []\n",
	} {
		path := filepath.Join(t.TempDir(), "egress.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		changed, err := write(path)
		is, readErr := os.ReadFile(path)
		if err == nil || changed || readErr != nil || string(is) != text {
			t.Errorf("%s: changed %t, %v; the file is\n%s", name, changed, err, is)
		}
	}
}

func TestFileIsReplacedOnlyWhereItChanges(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "egress.yaml"), filepath.Join(dir, "link.yaml")
	if err := errors.Join(os.WriteFile(path, []byte(head+"    allow:   []\n"), 0o640), os.Symlink("egress.yaml", link)); err != nil {
		t.Fatal(err)
	}
	if changed, err := write(link); err != nil || !changed {
		t.Fatalf("changed %t, %v", changed, err)
	}
	first, err := os.Stat(path)
	if err != nil || first.Mode().Perm() != 0o640 {
		t.Fatalf("%v, %v", first.Mode(), err)
	}
	if changed, err := write(link); err != nil || changed {
		t.Fatalf("changed again: %t, %v", changed, err)
	}
	if second, err := os.Stat(path); err != nil || !os.SameFile(first, second) {
		t.Errorf("what was canonical has been replaced: %v", err)
	}
	if to, err := os.Readlink(link); err != nil || to != "egress.yaml" {
		t.Errorf("the link is %q, %v", to, err)
	}
}

// A comment is put at every place of a file, one at a time.
func TestCommentIsKeptAtEveryPlace(t *testing.T) {
	data, err := os.ReadFile("../../../config/quickstart.yaml")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(data), "\n")
	tried := 0
	for i, line := range lines {
		indent := line[:len(line)-len(strings.TrimLeft(line, " "))]
		for _, at := range []string{"", indent, indent + "    "} {
			for _, gap := range []string{"", "\n"} {
				variant := strings.Join(lines[:i], "") + at + "# here\n" + gap + strings.Join(lines[i:], "")
				keeps(t, variant, i)
				tried++
			}
		}
		if code := strings.TrimSpace(line); code != "" && code[0] != '#' {
			keeps(t, strings.Join(lines[:i], "")+strings.TrimRight(line, "\n")+" # here\n"+strings.Join(lines[i+1:], ""), i)
			tried++
		}
	}
	if tried < 300 {
		t.Errorf("%d places were tried", tried)
	}
}

// The same where anchors, aliases, tests and long sets are, and where lines end as on Windows.
func TestCommentIsKeptBesideAnchorsAndLineEndsOfWindows(t *testing.T) {
	lines := strings.SplitAfter(`version: 1
sets:
  s: {hosts: [a.example, b.example], ports: [443, 8000-8010]}
functions:
  a:
    identify: &who {sources: [10.0.1.0/24]}
    allow: &all
      - x.example
      - &y "y.example"
      - {set: s}
  b:
    identify: {sources: [10.0.2.0/24]}
    allow: *all
  c:
    identify: {sources: [10.0.3.0/24]}
    allow: [*y]
tests:
  - {function: a, allow: ["x.example:443"]}
  - function: b
    refuse:
      - z.example:443
`, "\n")
	for i, line := range lines[:len(lines)-1] {
		indent := line[:len(line)-len(strings.TrimLeft(line, " "))]
		own := strings.Join(lines[:i], "") + indent + "# here\n" + strings.Join(lines[i:], "")
		behind := strings.Join(lines[:i], "") + strings.TrimRight(line, "\n") + "\t# here\n" + strings.Join(lines[i+1:], "")
		for _, text := range []string{own, behind, strings.ReplaceAll(own, "\n", "\r\n"), strings.ReplaceAll(behind, "\n", "\r\n")} {
			// Behind the anchor of a list of lines yaml.v3 would lose it: that is an error, and no loss.
			if strings.Contains(text, "&all\t# here") {
				if out, err := Source("egress.yaml", []byte(text), noFile); err == nil || out != nil || !strings.Contains(err.Error(), "line 7: the comment would be moved or lost; put it on a line of its own") {
					t.Errorf("%v, %s", err, out)
				}
				continue
			}
			keeps(t, text, i)
		}
	}
}

// keeps formats a text that has the comment "# here", which must stay between the same words.
func keeps(t *testing.T, text string, line int) {
	t.Helper()
	words := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	if got := formatted(t, text); words(got) != words(text) {
		t.Errorf("line %d: of\n%s\ncame\n%s", line, text, got)
	}
}

// stripped returns a configuration without what only says where things stand.
func stripped(t *testing.T, text string) *config.Config {
	t.Helper()
	c, err := config.Parse("egress.yaml", []byte(text), noFile)
	if err != nil {
		t.Fatalf("%v of\n%s", err, text)
	}
	for i := range c.Deny {
		c.Deny[i].Line = 0
	}
	for i := range c.Sets {
		c.Sets[i].Line = 0
	}
	for i := range c.Functions {
		c.Functions[i].Line = 0
		for j := range c.Functions[i].Allow {
			c.Functions[i].Allow[j].Line = 0
		}
	}
	return c
}

// sameMeaning compares two texts by all that is read of them, but for hashes and lines.
func sameMeaning(t *testing.T, was, is string) {
	t.Helper()
	a, b := stripped(t, was), stripped(t, is)
	sa, sb := a.Spec(), b.Spec()
	sa.Hash, sb.Hash = "", ""
	if !reflect.DeepEqual(sa, sb) || !reflect.DeepEqual(a.Functions, b.Functions) || !reflect.DeepEqual(a.Listen, b.Listen) ||
		!reflect.DeepEqual(a.DNS, b.DNS) || !reflect.DeepEqual(a.Limits, b.Limits) || !reflect.DeepEqual(a.Audit, b.Audit) {
		t.Fatalf("another policy: of\n%s\ncame\n%s", was, is)
	}
}

func TestRandomPoliciesDecideAsBefore(t *testing.T) {
	names := []string{"a.example", "b.example", "x.a.example", "y.x.a.example", "c.example", "z.c.example"}
	for seed := range uint64(60) {
		w := writer{rand.New(rand.NewPCG(seed, 1))}
		text := w.policy()
		got := formatted(t, text)
		sameMeaning(t, text, got)
		before, _, err1 := stripped(t, text).Compile()
		after, _, err2 := stripped(t, got).Compile()
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
		for _, f := range before.Functions() {
			for _, name := range names {
				for _, port := range []int{80, 443, 8443} {
					target, err := hostname.ParseTarget(fmt.Sprintf("%s:%d", name, port))
					if err != nil {
						t.Fatal(err)
					}
					x, y := before.Decide(before.Function(f), target, now), after.Decide(after.Function(f), target, now)
					if x.Verdict != y.Verdict || x.Reason != y.Reason || x.Rule.String() != y.Rule.String() {
						t.Fatalf("%s to %s: %v by %q, and then %v by %q", f, target, x.Reason, x.Rule, y.Reason, y.Rule)
					}
				}
			}
		}
	}
}

// writer writes policies at random, each thing in one of the ways to write it.
type writer struct{ *rand.Rand }

func (w writer) one(of ...string) string { return of[w.IntN(len(of))] }

// end ends a line: with spaces, a comment, empty lines.
func (w writer) end() string {
	return w.one("", "", "  ", " # c", "   #c", "\t# c: [d]") + w.one("\n", "\n", "\r\n", "\n\n", "\n\n\n", "\n  # own\n", "\n\n# own\n\n")
}

func (w writer) host() string {
	return w.one("a.example", "'a.example'", "\"*.a.example\"", "b.example", "'*.c.example'", "x.a.example", "\"y.x.a.example\"")
}

func (w writer) rule() string {
	return w.one("", "  ", " ") + w.one(
		w.host(),
		"{host: "+w.host()+", ports: ["+w.one("80", "443", "80,8443", "8443 ")+"]}",
		"{ host: "+w.host()+",   tls: any }",
		"{host: "+w.host()+", expires: 2029-12-31, ticket: '#"+w.one("1", "it''s")+"'}",
		"{set: s}",
	)
}

func (w writer) policy() string {
	var b strings.Builder
	b.WriteString("version: 1" + w.end() + "deny:" + w.end() + "  - d.example" + w.end() + "sets:" + w.end() + "   s: [ " + w.host() + " ]" + w.end() + "functions:" + w.end())
	for i := range 1 + w.IntN(3) {
		fmt.Fprintf(&b, "    f%d:%s", i, w.end())
		fmt.Fprintf(&b, "      identify: {sources: [10.0.%d.0/24]}%s      allow:%s", i, w.end(), w.end())
		for range 1 + w.IntN(4) {
			b.WriteString("      - " + w.rule() + w.end())
		}
	}
	return b.String()
}

func FuzzSource(f *testing.F) {
	for _, pattern := range []string{"../../../config/testdata/*/*.yaml", "../../../config/quickstart.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			f.Fatal(files, err)
		}
		for _, path := range files {
			data, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(data))
		}
	}
	for seed := range uint64(20) {
		f.Add(writer{rand.New(rand.NewPCG(seed, 2))}.policy())
	}
	f.Fuzz(func(t *testing.T, text string) {
		out, err := Source("egress.yaml", []byte(text), noFile)
		if err != nil {
			return
		}
		again, err := Source("egress.yaml", out, noFile)
		if err != nil || !bytes.Equal(again, out) {
			t.Fatalf("formatted once:\n%s\ntwice (%v):\n%s", out, err, again)
		}
		sameMeaning(t, text, string(out))
		if was, is := strings.Count(text, "#"), strings.Count(string(out), "#"); is < was {
			t.Fatalf("%d number signs were there, %d are left of\n%s", was, is, text)
		}
	})
}
