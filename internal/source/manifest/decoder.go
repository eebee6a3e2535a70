package manifest

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// decoder reads JSON more strictly than encoding/json, which takes members of any case and
// the last of two.
type decoder struct{ *json.Decoder }

// delimiter reads one of { } [ ].
func (d decoder) delimiter(want json.Delim) error {
	t, err := d.Token()
	if err == nil && t != want {
		err = fmt.Errorf("there is %v where %v should be", t, want)
	}
	return atEnd(err)
}

// object reads an object with exactly these members, each once, in any order. A func reads
// the value of its member.
func (d decoder) object(members map[string]func() error) error {
	if err := d.delimiter('{'); err != nil {
		return err
	}
	left := maps.Clone(members)
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return atEnd(err)
		}
		name, _ := t.(string) // between braces nothing else is JSON
		value, known := left[name]
		switch _, twice := members[name]; {
		case twice && !known:
			return fmt.Errorf("%q is there twice; keep one of the two", name)
		case !known:
			return fmt.Errorf("%.40q is not known; the members are %s", name, strings.Join(slices.Sorted(maps.Keys(members)), ", "))
		}
		delete(left, name)
		if err := value(); err != nil {
			return fmt.Errorf("%s: %w", name, atEnd(err))
		}
	}
	if err := d.delimiter('}'); err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("it lacks %s", strings.Join(slices.Sorted(maps.Keys(left)), ", "))
	}
	return nil
}

// list reads a list, of which element reads one at a time.
func (d decoder) list(element func() error) error {
	if err := d.delimiter('['); err != nil {
		return err
	}
	for d.More() {
		if err := element(); err != nil {
			return err
		}
	}
	return d.delimiter(']')
}

// file reads what the manifest says of one file.
func (d decoder) file() (f File, err error) {
	var sum string
	if err := d.object(map[string]func() error{
		"path":   func() error { return d.Decode(&f.Path) },
		"sha256": func() error { return d.Decode(&sum) },
		"size":   func() error { return d.Decode(&f.Size) },
	}); err != nil {
		return File{}, err
	}
	if f.SHA256, err = hash(sum); err != nil {
		return File{}, fmt.Errorf("sha256: %w", err)
	}
	return f, nil
}

// behind reports whether anything but space follows.
func (d decoder) behind() bool {
	_, err := d.Token()
	return err != io.EOF
}

// atEnd says in words that the text ends too early.
func atEnd(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
