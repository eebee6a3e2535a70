package yamlread

import (
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/suggest"
)

// Node is one value of the document and its place. The zero Node is none, of which
// only IsZero, Position, Line and Path may be asked.
type Node struct {
	yaml *yaml.Node // an alias has been followed
	at   Position   // of its key, or of itself in a list
	path *path
}

// IsZero reports whether there is no value.
func (n Node) IsZero() bool { return n.yaml == nil }

// Position returns where the value's key stands, or in a list where it does.
func (n Node) Position() Position { return n.at }

// Line returns the line of Position.
func (n Node) Line() int { return n.at.Line }

// Path returns the keys that lead to the value, as problems show them:
// functions.billing.allow[2], or "file" for the top.
func (n Node) Path() string { return n.path.String() }

// IsMapping reports whether the value is keys and values.
func (n Node) IsMapping() bool { return n.yaml.Kind == yaml.MappingNode }

// IsTagged reports whether a YAML tag stands before the value. All reading
// refuses those.
func (n Node) IsTagged() bool { return n.yaml.Style&yaml.TaggedStyle != 0 }

// Tag returns the tag that the value has by itself or by what was written before
// it, such as !!map.
func (n Node) Tag() string { return n.yaml.Tag }

// Len returns how many items a list has, or keys a mapping.
func (n Node) Len() int {
	if n.IsMapping() {
		return len(n.yaml.Content) / 2
	}
	return len(n.yaml.Content)
}

// IsEmptyText reports whether the value is a text without a character.
func (n Node) IsEmptyText() bool {
	return n.IsText() && n.Text() == ""
}

// IsText reports whether the value is a text, and not a number or another kind.
func (n Node) IsText() bool { return n.yaml.Kind == yaml.ScalarNode && n.yaml.Tag == "!!str" }

// Text returns the value as the file has it, without quotes; "" of a list or of keys.
func (n Node) Text() string { return n.yaml.Value }

// path is the way from the top of the file to a value; nil is the top. Its
// text is made only where it is printed.
type path struct {
	parent *path
	key    string // "" in a list
	index  int
}

// String returns the path as it is printed.
func (p *path) String() string {
	if p == nil {
		return wholeFile
	}
	var b strings.Builder
	p.write(&b)
	return b.String()
}

// write writes the path behind those of its parents.
func (p *path) write(b *strings.Builder) {
	if p.parent != nil {
		p.parent.write(b)
	}
	if p.key == "" {
		b.WriteString("[" + strconv.Itoa(p.index) + "]")
		return
	}
	if p.parent != nil {
		b.WriteByte('.')
	}
	if len(p.key) > maxQuoted || strings.ContainsFunc(p.key, func(c rune) bool { return c <= ' ' || c == ':' || c > '~' }) {
		b.WriteString(Quote(p.key))
		return
	}
	b.WriteString(p.key)
}

// resolveAlias returns the node that an alias stands for.
func resolveAlias(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// Field is one key that an object may have, and what reads its value.
type Field struct {
	key  string
	read func(Node)
}

// Key returns the field of that key.
func Key(key string, read func(Node)) Field { return Field{key, read} }

// Object reads the fields of n in the order in which they are given. A key
// that is not a field, or is there twice, is a problem. It returns the keys that
// are there.
func (r *Reader) Object(n Node, fields ...Field) map[string]Node {
	found := make(map[string]Node, len(fields))
	r.Members(n, func(key string, member Node) {
		for _, f := range fields {
			if f.key == key {
				found[key] = member
				return
			}
		}
		keys := make([]string, len(fields))
		for i, f := range fields {
			keys[i] = f.key
		}
		r.Fail(member, "no such key; %s", suggest.For(key, keys))
	})
	for _, f := range fields {
		if member, ok := found[f.key]; ok {
			f.read(member)
		}
	}
	return found
}

// Require notes the keys that n lacks.
func (r *Reader) Require(n Node, found map[string]Node, why string, keys ...string) {
	if n.yaml.Kind != yaml.MappingNode {
		return // said before
	}
	for _, key := range keys {
		if _, ok := found[key]; !ok {
			r.Fail(n, "the key %q is missing; %s", key, why)
		}
	}
}

// Members calls yield for each key of the mapping n, in file order, until there are
// more problems than are listed. It
// reports whether n is one.
func (r *Reader) Members(n Node, yield func(key string, member Node)) bool {
	if !r.isKind(n, yaml.MappingNode, "keys and values") {
		return false
	}
	lines := make(map[string]int, len(n.yaml.Content)/2)
	for i := 0; i+1 < len(n.yaml.Content) && !r.full(); i += 2 {
		key, child := n.yaml.Content[i], n.yaml.Content[i+1]
		member := Node{resolveAlias(child), Position{n.at.File, key.Line}, &path{parent: n.path, key: key.Value}}
		first, again := lines[key.Value]
		switch {
		case key.Kind != yaml.ScalarNode || key.Value == "":
			r.FailAt(Position{n.at.File, key.Line}, n.Path(), "a key is not a plain word; write one")
		case key.Tag == "!!merge":
			r.Fail(member, "merge keys are not read; write the keys out")
		case again:
			r.Fail(member, "it is already there on line %d; keep one of the two", first)
		default:
			lines[key.Value] = key.Line
			yield(key.Value, member)
		}
	}
	return true
}

// List calls yield for each item of the list n, until there are more problems than
// are listed. It reports whether n is one.
func (r *Reader) List(n Node, yield func(item Node)) bool {
	if !r.isKind(n, yaml.SequenceNode, "a list") {
		return false
	}
	for i, item := range n.yaml.Content {
		if r.full() {
			break
		}
		yield(Node{resolveAlias(item), Position{n.at.File, item.Line}, &path{parent: n.path, index: i}})
	}
	return true
}

// Scalar returns the text of a value that is neither a list nor keys.
func (r *Reader) Scalar(n Node, want string) (string, bool) {
	if !r.isKind(n, yaml.ScalarNode, want) {
		return "", false
	}
	return n.yaml.Value, true
}

// isKind checks the kind of a value; want says what to write instead.
func (r *Reader) isKind(n Node, kind yaml.Kind, want string) bool {
	is := ""
	switch {
	case n.yaml.Style&yaml.TaggedStyle != 0:
		is = "it has a YAML tag"
	case isNull(n.yaml):
		is = "it has no value"
	case n.yaml.Kind == kind:
		return true
	case n.yaml.Kind == yaml.MappingNode:
		is = "it holds keys and values"
	case n.yaml.Kind == yaml.SequenceNode:
		is = "it is a list"
	default:
		is = "it is a single value" // not quoted: it may be a secret
	}
	r.Fail(n, "%s; write %s", is, want)
	return false
}
