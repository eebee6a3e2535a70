//go:build torture

package torture

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// fetcher is the file that has the times of the key fetcher.
const fetcher = "internal/attestkeys/attestkeys.go"

// shortTimes are the times of the key fetcher that the program under test has otherwise, by
// what the file has: an hour and a day are longer than any run. Nothing else of the program
// is changed.
func shortTimes() map[string]string {
	all := map[string]string{}
	for old, short := range map[string]time.Duration{
		"every = time.Hour": keysEvery, "apart = 30 * time.Second": keysApart, "lasts = 24 * time.Hour": keysLast, "within = 10 * time.Second": keysWithin,
	} {
		name, _, _ := strings.Cut(old, " ")
		all["\t"+old+"\n"] = fmt.Sprintf("\t%s = %d * time.Millisecond\n", name, short.Milliseconds())
	}
	return all
}

// substitutions are files of the program by their path, and what they are built as.
type substitutions map[string]string

// change replaces a text, which has to stand once in the file, by another.
func (s substitutions) change(name, old, changed string) error {
	path, err := filepath.Abs(filepath.Join("..", "..", name))
	if err != nil {
		return err
	}
	text, ok := s[path]
	if !ok {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		text = string(b)
	}
	if n := strings.Count(text, old); n != 1 {
		return fmt.Errorf("the old text stands in %s %d times, want once: %s", name, n, old)
	}
	s[path] = strings.Replace(text, old, changed, 1)
	return nil
}

// shorten gives the key fetcher its short times.
func (s substitutions) shorten() error {
	for old, short := range shortTimes() {
		if err := s.change(fetcher, old, short); err != nil {
			return err
		}
	}
	return nil
}

// read takes over what a file for `go build -overlay` replaces.
func (s substitutions) read(name string) error {
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	var overlay struct{ Replace map[string]string }
	if err := json.Unmarshal(b, &overlay); err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	for path, by := range overlay.Replace {
		text, err := os.ReadFile(by)
		if err != nil {
			return err
		}
		if path, err = filepath.Abs(path); err != nil {
			return err
		}
		s[path] = string(text)
	}
	return nil
}

// write writes the changed files and the map that `go build -overlay` reads.
func (s substitutions) write(dir string) (string, error) {
	replace := map[string]string{}
	for path, text := range s {
		replace[path] = filepath.Join(dir, fmt.Sprintf("%d.go", len(replace)))
		if err := os.WriteFile(replace[path], []byte(text), 0o600); err != nil {
			return "", err
		}
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, "overlay.json")
	return name, os.WriteFile(name, b, 0o600)
}

// overlay writes the overlay of a program with short times and with what a file for
// `go build -overlay` replaces; "": nothing.
func overlay(dir, also string) (string, error) {
	s := substitutions{}
	if also != "" {
		if err := s.read(also); err != nil {
			return "", err
		}
	}
	if err := s.shorten(); err != nil {
		return "", err
	}
	return s.write(dir)
}
