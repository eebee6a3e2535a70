// Package release writes the manifest by which a folder is loaded from S3 as one policy.
//
// What it does: it loads the policy as `proxy check` does, and names every file that was
// read for it, with the content that was read: what is in the manifest is what was checked.
// Other files of the folder are not in it. Files that the policy names by an absolute path
// are those of the machine it runs on, and are not in it either.
//
// What it does not do: it uploads nothing.
//
//	m, err := release.Write("policy", "egress.yaml")
package release

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/source/manifest"
)

// Write writes the manifest of a folder, in one step, and returns how many files it names;
// main is the path of the policy below the folder. Of a policy that is not good nothing is
// written, and the error is that of loading it.
func Write(folder, main string) (files int, err error) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return 0, fmt.Errorf("opening the folder: %w", err)
	}
	defer func() { _ = root.Close() }() // what was written has been closed
	m := &manifest.Manifest{Main: filepath.ToSlash(main)}
	data, err := read(root, m, main)
	if err != nil {
		return 0, fmt.Errorf("reading the policy: %w", err)
	}
	if _, err := config.Parse(filepath.Clean(main), data, func(path string) ([]byte, error) { return read(root, m, path) }); err != nil {
		return 0, err
	}
	text, err := m.Encode()
	if err != nil {
		return 0, fmt.Errorf("making the manifest: %w", err)
	}
	return m.Len(), replace(root, text)
}

// read reads a file of the policy, and names it where it is one of the folder. A link out of
// the folder is an error.
func read(root *os.Root, m *manifest.Manifest, path string) ([]byte, error) {
	if filepath.IsAbs(path) {
		return config.ReadFile(path)
	}
	if _, err := root.Stat(path); err != nil {
		return nil, err
	}
	data, err := config.ReadFile(filepath.Join(root.Name(), path))
	if err != nil {
		return nil, err
	}
	f := manifest.Of(filepath.ToSlash(path), data)
	switch had, err := m.File(f.Path); {
	case err == nil && had != f:
		return nil, errors.New("it was changed meanwhile; try again")
	case err == nil:
		return data, nil
	}
	return data, m.Add(f)
}

// replace writes the manifest in the place of the one before.
func replace(root *os.Root, text []byte) (err error) {
	if was, err := root.ReadFile(manifest.Name); err == nil && bytes.Equal(was, text) {
		return nil
	}
	next := "." + manifest.Name + ".next"
	defer func() {
		if err != nil {
			_ = root.Remove(next) // it may not be there
			err = fmt.Errorf("writing the manifest: %w", err)
		}
	}()
	if err := root.WriteFile(next, text, 0o644); err != nil {
		return err
	}
	return root.Rename(next, manifest.Name)
}
