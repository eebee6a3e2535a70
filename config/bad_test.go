package config

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the expected errors of testdata/bad")

const (
	bom  = "\xef\xbb\xbf"
	want = "# want: "
)

// splitWant takes the expected errors off the head of a bad file.
func splitWant(data []byte) (mark string, wants []string, body []byte) {
	body, hasMark := bytes.CutPrefix(data, []byte(bom))
	if hasMark {
		mark = bom
	}
	for bytes.HasPrefix(body, []byte(want)) {
		line, rest, _ := bytes.Cut(body, []byte("\n"))
		wants, body = append(wants, string(line[len(want):])), rest
	}
	return mark, wants, body
}

// loadBad parses a file that is expected to be wrong and returns its problems
// as they are printed.
func loadBad(t *testing.T, name string, data []byte) []string {
	t.Helper()
	cfg, err := Parse(name, data, openIn(t, "testdata/bad"))
	var problems *Error
	if cfg != nil || !errors.As(err, &problems) || len(problems.Problems) == 0 {
		t.Fatalf("Parse(%s) = %v, %v; want an *Error with problems and no Config", name, cfg, err)
	}
	return strings.Split(err.Error(), "\n")
}

// Every file of testdata/bad is refused with exactly the errors on its head.
func TestBadFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no bad files")
	}
	for _, path := range files {
		name := filepath.Base(path)
		t.Run(strings.TrimSuffix(name, ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				data = updated(t, name, data)
				if err := os.WriteFile(path, data, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			_, wants, _ := splitWant(data)
			got := loadBad(t, name, data)
			if strings.Join(got, "\n") != strings.Join(wants, "\n") {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(wants, "\n"))
			}
			for _, line := range got {
				if !problemLine.MatchString(line) {
					t.Errorf("%q is not file:line: key: text", line)
				}
			}
		})
	}
}

// updated returns the file with the errors that it gives on its head. They
// shift the lines, so it tries until their number is stable.
func updated(t *testing.T, name string, data []byte) []byte {
	mark, _, body := splitWant(data)
	for lines := 1; ; {
		head := strings.Repeat(want+"\n", lines)
		got := loadBad(t, name, []byte(mark+head+string(body)))
		if len(got) == lines {
			return []byte(mark + want + strings.Join(got, "\n"+want) + "\n" + string(body))
		}
		lines = len(got)
	}
}

// A secret that stands where its hash belongs is in no message.
func TestNoMessageRepeatsASecret(t *testing.T) {
	for _, identify := range []string{
		"hunter2", "{tokens: hunter2}", "{tokens: [hunter2]}", "{tokens: [[hunter2]]}", "{tokens: [{a: hunter2}]}",
		"{tokens: ['sha256:hunter2']}", "{tokens: [!x hunter2]}", "{sources: hunter2}", "{certificates: hunter2}",
	} {
		data := "version: 1\nfunctions: {a: {identify: " + identify + ", allow: []}}\n"
		_, err := Parse("egress.yaml", []byte(data), nil)
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("identify: %s: %v", identify, err)
		}
	}
}

func TestFileOver64MiBIsRefused(t *testing.T) {
	data := append([]byte("version: 1\n"), bytes.Repeat([]byte("#\n"), maxFile/2)...)
	_, err := Parse("egress.yaml", data, nil)
	if got := err.Error(); got != "egress.yaml:1: file: it is larger than 64 MiB; move long lists to files of sets" {
		t.Errorf("error %q", got)
	}
}

func TestProblemsAreBounded(t *testing.T) {
	data := "version: 1\ndeny:\n" + strings.Repeat("  - a..b\n", 5000)
	_, err := Parse("egress.yaml", []byte(data), nil)
	var problems *Error
	if !errors.As(err, &problems) || len(problems.Problems) != maxProblems+1 {
		t.Fatalf("%d problems, want %d", len(problems.Problems), maxProblems+1)
	}
	if last := problems.Problems[maxProblems].Text; !strings.Contains(last, "more than 1000 problems") {
		t.Errorf("last problem %q", last)
	}
}

func TestLoadOfAMissingFileSaysSo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "egress.yaml")
	cfg, err := Load(path)
	if cfg != nil || !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("Load = %v, %v; want os.ErrNotExist with the path", cfg, err)
	}
}
