// Package yamlread reads a YAML file strictly, and knows of everything that it
// reads the file and the line.
//
// What it does: it parses one document into Nodes, reads mappings, lists and
// scalars out of them by the kind that is expected, and gathers all that is
// wrong, so that one run shows it all, one line each:
//
//	egress.yaml:14: functions.billing.allow[2]: what is wrong; what would be right
//
// An unknown key (with the key that was meant), a key that is there twice, a
// second document, a YAML tag, a merge key, a value of another kind, a number
// in one of YAML's odder spellings, text that is not what it looks like in an
// editor: all are problems. Aliases are followed, as far as they stay small.
//
// What it does not do: it knows nothing of policies or of what a key means, has
// no defaults, opens no files (whoever makes a Reader gives it a func that
// does), and gives no warnings: a file is valid or it is not.
//
//	r := yamlread.New("egress.yaml", open)
//	if root, ok := r.Document(data); ok {
//		r.Object(root,
//			yamlread.Key("owner", func(n yamlread.Node) { owner = r.Text(n, 256) }),
//			yamlread.Key("ports", readPorts),
//		)
//	}
//	if err := r.Err(); err != nil { … one line for each problem … }
package yamlread

import (
	"errors"
	"io/fs"
	"path/filepath"
)

// Position is a line of a file.
type Position struct {
	File string // as a path that opens
	Line int    // from 1
}

// Reader reads one file, and the files that it names, and gathers what is wrong
// with them. Make one with New. It is not safe for concurrent use.
type Reader struct {
	files    []string // [0] is the document; in the order of their first use
	open     func(path string) ([]byte, error)
	contents map[string][]byte // what open returned
	problems []Problem
}

// New returns a Reader of the file called name. It calls open for each file
// that the document names, with a path that is relative to the same folder as
// name; nil: no other file can be read.
func New(name string, open func(path string) ([]byte, error)) *Reader {
	return &Reader{files: []string{name}, open: open, contents: map[string][]byte{}}
}

// Path returns the path of a file that the document names: a relative one
// begins at the folder of the document.
func (r *Reader) Path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(r.files[0]), name)
}

// File reads the file that n names, of at most that many bytes, and returns its
// path too; a relative one begins at the folder of the file that n stands in. Each file is opened once. What cannot be read is a problem: nothing
// is ever loaded without a part of it.
func (r *Reader) File(n Node, most int) (data []byte, path string, ok bool) {
	name, ok := r.Scalar(n, "the path of a file")
	if !ok {
		return nil, "", false
	}
	if path = name; !filepath.IsAbs(name) {
		path = filepath.Join(filepath.Dir(n.at.File), name)
	}
	data, again := r.contents[path]
	if !again {
		var err error
		if data, err = r.openFile(path); err != nil {
			r.Fail(n, "%s cannot be read (%v); write the path of a file that can", Quote(name), reason(err))
			return nil, "", false
		}
		r.contents[path] = data
		if path != r.files[0] { // the others were opened before they were put there
			r.files = append(r.files, path)
		}
	}
	if len(data) > most {
		r.FailAt(Position{path, 1}, n.Path(), "it is larger than %d MiB; split it", most>>20)
		return nil, "", false
	}
	return data, path, true
}

// openFile reads a file by the caller's function.
func (r *Reader) openFile(path string) ([]byte, error) {
	if r.open == nil {
		return nil, errors.New("this configuration stands alone")
	}
	return r.open(path)
}

// reason takes the path out of an error of the file system, on one line.
func reason(err error) string {
	if pathErr := (*fs.PathError)(nil); errors.As(err, &pathErr) {
		err = pathErr.Err
	}
	return OneLine(err.Error())
}
