// Package manifest is the file that says which objects of a folder are one policy.
//
// What it does: it reads and writes manifest.json, whose shape docs/operations.md has, and
// says whether what was read of an object is what the manifest names. What is not named is
// an error, as is what differs by a byte: a folder that is being written, or whose
// writer gave up, is never taken for a policy. The zero Manifest names nothing.
//
// What it does not do: it reads no object, and does not say who wrote a manifest. Whoever
// may write it may write the policy.
//
//	m, err := manifest.Parse(data)
//	f, err := m.File(m.Main)
//	err = f.Check(content)
package manifest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
)

// Name is what the manifest of a folder is called.
const Name = "manifest.json"

// Version is the one version of the format.
const Version = 1

const (
	// MaxBytes is how large a manifest may be.
	MaxBytes = 4 << 20
	// MaxFiles is how many files it may name.
	MaxFiles = 5000
	// MaxFile is how large each may be, in bytes.
	MaxFile = 64 << 20
	// MaxTotal is how large they may be together, in bytes.
	MaxTotal = 1 << 30
	// maxPath bounds a path, in bytes: a key of S3 has 1,024, the prefix included.
	maxPath = 512
)

// The errors of a file that the manifest does not vouch for. Each says what to do.
var (
	// ErrNotNamed says that the manifest does not name a file.
	ErrNotNamed = errors.New(Name + " does not name it; write it anew with `proxy manifest`, and upload it last")
	// ErrDiffers says that a file is not the one that the manifest names.
	ErrDiffers = errors.New("it is not the file that " + Name + " names: an upload is half done, or was not followed by its manifest; upload all files, and " + Name + " last")
)

// Manifest says which files are one policy. Make one with Parse, or fill Main and call Add.
type Manifest struct {
	Main  string          // the path of the policy itself
	order []File          // as they were added
	files map[string]File // the same by path
	total int             // bytes of all
}

// File is a file as the manifest names it.
type File struct {
	Path   string // below the folder of the manifest, with slashes
	SHA256 [sha256.Size]byte
	Size   int // in bytes
}

// Of returns what a manifest says of a file that holds data.
func Of(path string, data []byte) File {
	return File{Path: path, SHA256: sha256.Sum256(data), Size: len(data)}
}

// Check returns nil where data is what the file holds, else an error that is ErrDiffers and
// names the path.
func (f File) Check(data []byte) error {
	if is := Of(f.Path, data); is != f {
		return fmt.Errorf("%s has SHA-256 %x… and %d bytes, not %x… and %d: %w", f.Path, is.SHA256[:4], is.Size, f.SHA256[:4], f.Size, ErrDiffers)
	}
	return nil
}

// File returns a file that the manifest names. The error is ErrNotNamed, with the path.
func (m *Manifest) File(path string) (File, error) {
	f, ok := m.files[path]
	if !ok {
		return File{}, fmt.Errorf("%s: %w", path, ErrNotNamed)
	}
	return f, nil
}

// Behind returns the files that stand behind one, in the order of the manifest; none where
// it is not named.
func (m *Manifest) Behind(path string) iter.Seq[File] {
	at := slices.IndexFunc(m.order, func(f File) bool { return f.Path == path })
	if at < 0 {
		at = len(m.order) - 1
	}
	return slices.Values(m.order[at+1:])
}

// Len returns how many files the manifest names.
func (m *Manifest) Len() int { return len(m.order) }

// Add names one more file. The error says what of it cannot be in a manifest.
func (m *Manifest) Add(f File) error {
	if err := checkPath(f.Path); err != nil {
		return err
	}
	_, again := m.files[f.Path]
	switch {
	case again:
		return fmt.Errorf("%q is named twice; keep one of the two", f.Path)
	case len(m.order) == MaxFiles:
		return fmt.Errorf("it names more than %d files; have fewer", MaxFiles)
	case f.Size < 0 || f.Size > MaxFile:
		return fmt.Errorf("%q has %d bytes; a file has %d MiB at most", f.Path, f.Size, MaxFile>>20)
	case m.total+f.Size > MaxTotal:
		return fmt.Errorf("the files have more than %d MiB together; have fewer", MaxTotal>>20)
	}
	if m.files == nil {
		m.files = map[string]File{}
	}
	m.files[f.Path] = f
	m.order = append(m.order, f)
	m.total += f.Size
	return nil
}

// checkPath sees to it that a path leads to one place, which is below the folder.
func checkPath(s string) error {
	switch {
	case s == "" || len(s) > maxPath:
		return fmt.Errorf("a path has 1 to %d bytes; %.40q has %d", maxPath, s, len(s))
	case strings.ContainsAny(s, "\\:") || strings.ContainsFunc(s, unicode.IsControl) || !filepath.IsLocal(filepath.FromSlash(s)) || path.Clean(s) != s || s == ".":
		return fmt.Errorf("%q is no path below the folder of the manifest; write one such as teams/payments.yaml", s)
	case s == Name:
		return fmt.Errorf("%q is the manifest itself; leave it out", s)
	default:
		return nil
	}
}

// Parse reads a manifest strictly: a member that is not known, twice or missing is an error.
func Parse(data []byte) (*Manifest, error) {
	if len(data) > MaxBytes {
		return nil, fmt.Errorf("it is larger than %d MiB; have fewer files", MaxBytes>>20)
	}
	d := decoder{json.NewDecoder(bytes.NewReader(data))}
	m := &Manifest{}
	version := 0
	err := d.object(map[string]func() error{
		"version": func() error { return d.Decode(&version) },
		"main":    func() error { return d.Decode(&m.Main) },
		"files": func() error {
			return d.list(func() error {
				f, err := d.file()
				if err != nil {
					return err
				}
				return m.Add(f)
			})
		},
	})
	switch {
	case err != nil:
		return nil, err
	case d.behind():
		return nil, errors.New("something stands behind its end")
	case version != Version:
		return nil, fmt.Errorf("version %d is not known; this program reads version %d", version, Version)
	}
	if _, err := m.File(m.Main); err != nil {
		return nil, fmt.Errorf("its main file: %w", err)
	}
	return m, nil
}

// Encode returns the manifest as Parse reads it, a line for each file.
func (m *Manifest) Encode() ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "{\n  \"version\": %d,\n  \"main\": %s,\n  \"files\": [", Version, quoted(m.Main))
	for i, f := range m.order {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "\n    {\"path\": %s, \"sha256\": \"%x\", \"size\": %d}", quoted(f.Path), f.SHA256, f.Size)
	}
	b.WriteString("\n  ]\n}\n")
	_, err := Parse(b.Bytes()) // what nobody can read is not written
	return b.Bytes(), err
}

// quoted returns a text as JSON.
func quoted(s string) []byte {
	data, err := json.Marshal(s)
	if err != nil {
		panic("manifest: " + err.Error()) // a text can always be written
	}
	return data
}

// hash reads a SHA-256 of 64 lower-case digits.
func hash(s string) (sum [sha256.Size]byte, err error) {
	data, err := hex.DecodeString(s)
	if err != nil || len(data) != len(sum) || hex.EncodeToString(data) != s {
		return sum, fmt.Errorf("%.80q is no SHA-256; write 64 digits of 0-9 a-f", s)
	}
	return [sha256.Size]byte(data), nil
}
