package format

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool"
)

// Text is a file of a policy, as it is and in its canonical layout. Its JSON is what
// "proxy fmt" prints of the file.
type Text struct {
	File      string `json:"file"`
	Changed   bool   `json:"changed"`
	Canonical string `json:"text,omitempty"`

	target string // the file itself, behind links
	was    []byte
}

// New returns a text that was in a file of that name, and its canonical layout.
func New(file string, was, canonical []byte) *Text {
	return &Text{File: file, Changed: !bytes.Equal(was, canonical), Canonical: string(canonical), was: was}
}

// File lays out the policy at a path, and writes nothing. A policy that does not load is an
// error as Source has it.
func File(path string) (*Text, error) {
	target, data, err := policytool.ReadFile(path)
	if err != nil {
		return nil, err
	}
	canonical, err := Source(path, data, config.ReadFile)
	if err != nil {
		return nil, err
	}
	t := New(path, data, canonical)
	t.target = target
	return t, nil
}

// Included lays out files that the policy at main includes, and that policy itself where it
// is among them; one that is there twice once. It writes nothing. The policy has to load before and with all of them: a
// file that is included is none by itself, for its main file says what it may do.
func Included(main string, paths ...string) (all []*Text, err error) {
	c, err := config.Load(main)
	if err != nil {
		return nil, err
	}
	_, data, err := policytool.ReadFile(main)
	if err != nil {
		return nil, err
	}
	edited := map[string][]byte{}
	for _, path := range paths {
		name, err := partOf(main, c, path)
		if err != nil {
			return nil, err
		}
		if _, again := edited[name]; again {
			continue
		}
		target, was, err := policytool.ReadFile(path)
		if err != nil {
			return nil, err
		}
		canonical, err := Layout(path, was)
		if err != nil {
			return nil, err
		}
		if edited[name] = canonical; name == main {
			data = canonical
		}
		t := New(path, was, canonical)
		t.target = target
		all = append(all, t)
	}
	if _, err := config.Parse(main, data, policytool.Instead(edited)); err != nil {
		return nil, fmt.Errorf("the policy would not load with these files in their layout: %w", err)
	}
	return all, nil
}

// partOf returns by which path the policy leads to a file, which is the policy itself or
// one that it includes: each of those has a function.
func partOf(main string, c *config.Config, path string) (string, error) {
	is, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("opening the policy: %w", err)
	}
	names, last := []string{main}, ""
	for _, f := range c.Functions {
		if f.File != last {
			last = f.File
			names = append(names, filepath.Join(filepath.Dir(main), f.File))
		}
	}
	for _, name := range names {
		if other, err := os.Stat(name); err == nil && os.SameFile(is, other) {
			return name, nil
		}
	}
	return "", fmt.Errorf("%s does not include %s", main, path)
}

// Write puts the layout in the place of the file, in one step and only where it is another.
func (t *Text) Write() error {
	if !t.Changed {
		return nil
	}
	return policytool.Replace(t.target, t.was, []byte(t.Canonical))
}
