// Package policytool edits policy files as a careful person would: the lines that
// are meant change, and every other byte stays.
//
// What it does: it adds and retires the hashes of tokens of one function. The
// file is read by package config before and after, so that what is written is a
// file that loads and in which every other function is identified as before. It
// replaces the file in one step; whoever reads it meanwhile sees the old one or
// the new one.
//
// What it does not do: it does not format, makes no tokens, and edits nothing
// that it does not find in one of the usual ways to write it: an alias or an
// escaped text is an error, and the file stays as it is.
//
//	left, err := policytool.AddToken("egress.yaml", "billing", sha256.Sum256(token))
package policytool

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"gopkg.in/yaml.v3"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/suggest"
)

// AddToken puts the hash of a token behind those that the function has, and
// returns the function as it is now in the file.
func AddToken(path, function string, token identity.Token) (config.Function, error) {
	return edit(path, function, func(d *document, f *config.Function) ([]byte, error) {
		f.Identify.Tokens = append(slices.Clone(f.Identify.Tokens), token)
		return d.add("sha256:" + hex.EncodeToString(token[:]))
	})
}

// RetireToken takes the first hash of a token away, which is the oldest where
// they were put there by AddToken. It returns the hash, and the function as it
// is now in the file. The last one stays: without it nobody could be the
// function, or everybody at its sources.
func RetireToken(path, function string) (retired identity.Token, f config.Function, err error) {
	f, err = edit(path, function, func(d *document, f *config.Function) ([]byte, error) {
		switch len(f.Identify.Tokens) {
		case 0:
			return nil, fmt.Errorf("functions.%s has no token; add one", function)
		case 1:
			return nil, fmt.Errorf("functions.%s has one token alone; add the next one, let the function use it, and then retire this one", function)
		}
		retired = f.Identify.Tokens[0]
		f.Identify.Tokens = f.Identify.Tokens[1:]
		return d.retire("sha256:" + hex.EncodeToString(retired[:]))
	})
	return retired, f, err
}

// edit changes the file by change, which gets the document and the function, and
// changes that to what is to be expected of the new file.
func edit(path, function string, change func(*document, *config.Function) ([]byte, error)) (config.Function, error) {
	target, data, err := ReadFile(path)
	if err != nil {
		return config.Function{}, err
	}
	before, err := parse(path, data, config.ReadFile)
	if err != nil {
		return config.Function{}, err
	}
	i, err := Find(path, before, function)
	if err != nil {
		return config.Function{}, err
	}
	reparse := func(edited []byte) (*config.Config, error) { return parse(path, edited, config.ReadFile) }
	if file := before.Functions[i].File; file != "" {
		main := data
		file = filepath.Join(filepath.Dir(path), file)
		if target, data, err = ReadFile(file); err != nil {
			return config.Function{}, err
		}
		reparse = func(edited []byte) (*config.Config, error) {
			return parse(path, main, Instead(map[string][]byte{file: edited}))
		}
	}
	d, err := open(data, function)
	if err != nil {
		return config.Function{}, err
	}
	expected := before.Functions[i]
	edited, err := change(d, &expected)
	if err != nil {
		return config.Function{}, err
	}
	after, err := reparse(edited)
	if err != nil {
		return config.Function{}, fmt.Errorf("the edited file would not load, and the old one stays: %w", err)
	}
	if !sameCallers(before, after, i, &expected) {
		return config.Function{}, errors.New("the edit would change more than the tokens of this function, and the old file stays; edit it by hand")
	}
	return after.Functions[i], Replace(target, data, edited)
}

// Find returns the index of a function in c, which was read from path.
func Find(path string, c *config.Config, function string) (int, error) {
	names := make([]string, len(c.Functions))
	for i := range c.Functions {
		if names[i] = c.Functions[i].Name; names[i] == function {
			return i, nil
		}
	}
	return 0, fmt.Errorf("%s has no function %q; %s", path, function, suggest.For(function, names))
}

// parse reads data as the policy at path, as strictly as whatever loads it.
func parse(path string, data []byte, open func(string) ([]byte, error)) (*config.Config, error) {
	c, err := config.Parse(path, data, open)
	if err != nil {
		return nil, err
	}
	_, _, err = c.Compile()
	return c, err
}

// ReadFile reads a file of a policy for Replace. The target is the file that a link leads
// to: that one is replaced, not the link.
func ReadFile(path string) (target string, data []byte, err error) {
	if target, err = filepath.EvalSymlinks(path); err != nil {
		return "", nil, fmt.Errorf("opening the policy: %w", err)
	}
	if data, err = config.ReadFile(target); err != nil {
		return "", nil, fmt.Errorf("reading the policy: %w", err)
	}
	return target, data, nil
}

// Instead returns what reads the files that a policy names, for config.Parse, those of the
// map with their text there. They are by their paths as the policy leads to them: its folder
// and what it says.
func Instead(texts map[string][]byte) func(path string) ([]byte, error) {
	return func(path string) ([]byte, error) {
		if text, ok := texts[path]; ok {
			return text, nil
		}
		return config.ReadFile(path)
	}
}

// sameCallers reports whether all functions are identified as before, but for
// the one at i, which must be as expected.
func sameCallers(before, after *config.Config, i int, expected *config.Function) bool {
	return slices.EqualFunc(before.Functions, after.Functions, func(b, a config.Function) bool {
		if b.Name == before.Functions[i].Name {
			b = *expected
		}
		return b.Name == a.Name && reflect.DeepEqual(b.Identify, a.Identify)
	})
}

// Replace puts a file in the place of one that must still be as it was read. The
// new one has the mode and the owner of the old one.
func Replace(path string, was, is []byte) (err error) {
	old, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("replacing the policy: %w", err)
	}
	next, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("replacing the policy: %w", err)
	}
	defer func() {
		if err != nil {
			_ = next.Close() // it may be closed already
			_ = os.Remove(next.Name())
			err = fmt.Errorf("replacing the policy, which stays as it is: %w", err)
		}
	}()
	if _, err := next.Write(is); err != nil {
		return err
	}
	if err := keepOwner(next, old); err != nil {
		return err
	}
	if err := errors.Join(next.Chmod(old.Mode().Perm()), next.Sync(), next.Close()); err != nil {
		return err
	}
	if now, err := config.ReadFile(path); err != nil || !bytes.Equal(now, was) {
		return errors.Join(errors.New("it was changed meanwhile; try again"), err)
	}
	return os.Rename(next.Name(), path)
}

// document is a policy as text and as a tree, with the places that lead to the
// tokens of one function.
type document struct {
	data     []byte
	function string
	key      *yaml.Node // "identify", and what is behind it
	identify *yaml.Node
	tokens   *yaml.Node // nil: there is no such key
}

// open finds the tokens of a function in a policy that loads.
func open(data []byte, function string) (*document, error) {
	var root yaml.Node
	if err := yaml.Unmarshal(data, &root); err != nil {
		return nil, fmt.Errorf("reading the policy: %w", err)
	}
	d := &document{data: data, function: function}
	node := root.Content[0]
	for _, key := range []string{"functions", function, "identify"} {
		if d.key, node = member(node, key); node == nil || node.Kind != yaml.MappingNode {
			return nil, d.unusual("it is written by an alias, or within one")
		}
	}
	d.identify = node
	if _, d.tokens = member(node, "tokens"); d.tokens != nil && d.tokens.Kind != yaml.SequenceNode {
		return nil, d.unusual("it is written by an alias")
	}
	return d, nil
}

// member returns a key of a mapping and the node behind it; nil: it has none, or is an
// alias.
func member(mapping *yaml.Node, name string) (key, node *yaml.Node) {
	if mapping == nil || mapping.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == name {
			return mapping.Content[i], mapping.Content[i+1]
		}
	}
	return nil, nil
}

// unusual is the error of a list that is not edited.
func (d *document) unusual(why string) error {
	return fmt.Errorf("functions.%s.identify.tokens cannot be edited: %s; edit the file by hand", d.function, why)
}
