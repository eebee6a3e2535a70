package config

import (
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/suggest"
)

// value is one value of the configuration file and its place.
type value struct {
	node *yaml.Node // an alias has been followed
	line int        // of its key, or of itself in a list
	at   *place
}

// place is the way from the top of the file to a value; nil is the top. Its
// text is made only where it is printed.
type place struct {
	parent *place
	key    string // "" in a list
	index  int
}

// String returns the place as it is printed: functions.billing.allow[2].
func (p *place) String() string {
	if p == nil {
		return "file"
	}
	var b strings.Builder
	p.write(&b)
	return b.String()
}

// write writes the place behind those of its parents.
func (p *place) write(b *strings.Builder) {
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
	if strings.ContainsFunc(p.key, func(c rune) bool { return c <= ' ' || c == ':' || c > '~' }) {
		b.WriteString(quote(p.key))
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

// field is one key that an object may have, and what reads its value.
type field struct {
	key  string
	read func(value)
}

// object reads the fields of v in the order in which they are given. A key
// that is not a field, or is there twice, is a problem. It returns the keys that
// are there.
func (r *reader) object(v value, fields []field) map[string]value {
	found := make(map[string]value, len(fields))
	r.members(v, func(key string, member value) {
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
		r.fail(member, "no such key; %s", suggest.For(key, keys))
	})
	for _, f := range fields {
		if member, ok := found[f.key]; ok {
			f.read(member)
		}
	}
	return found
}

// require notes the keys that v lacks.
func (r *reader) require(v value, found map[string]value, why string, keys ...string) {
	if v.node.Kind != yaml.MappingNode {
		return // said before
	}
	for _, key := range keys {
		if _, ok := found[key]; !ok {
			r.fail(v, "the key %q is missing; %s", key, why)
		}
	}
}

// members calls yield for each key of the mapping v, in file order. It tells
// whether v is one.
func (r *reader) members(v value, yield func(key string, member value)) bool {
	if !r.isKind(v, yaml.MappingNode, "keys and values") {
		return false
	}
	lines := make(map[string]int, len(v.node.Content)/2)
	for i := 0; i+1 < len(v.node.Content); i += 2 {
		key, node := v.node.Content[i], v.node.Content[i+1]
		member := value{resolveAlias(node), key.Line, &place{parent: v.at, key: key.Value}}
		first, again := lines[key.Value]
		switch {
		case key.Kind != yaml.ScalarNode || key.Value == "":
			r.failAt(0, key.Line, v.at.String(), "a key is not a plain word; write one")
		case key.Tag == "!!merge":
			r.fail(member, "merge keys are not read; write the keys out")
		case again:
			r.fail(member, "it is already there on line %d; keep one of the two", first)
		default:
			lines[key.Value] = key.Line
			yield(key.Value, member)
		}
	}
	return true
}

// list calls yield for each item of the list v. It reports whether v is one.
func (r *reader) list(v value, yield func(item value)) bool {
	if !r.isKind(v, yaml.SequenceNode, "a list") {
		return false
	}
	for i, node := range v.node.Content {
		yield(value{resolveAlias(node), node.Line, &place{parent: v.at, index: i}})
	}
	return true
}

// scalar returns the text of a value that is neither a list nor keys.
func (r *reader) scalar(v value, want string) (string, bool) {
	if !r.isKind(v, yaml.ScalarNode, want) {
		return "", false
	}
	return v.node.Value, true
}

// isKind checks the kind of a value; want says what to write instead.
func (r *reader) isKind(v value, kind yaml.Kind, want string) bool {
	is := ""
	switch {
	case v.node.Style&yaml.TaggedStyle != 0:
		is = "it has a YAML tag"
	case isNull(v.node):
		is = "it has no value"
	case v.node.Kind == kind:
		return true
	case v.node.Kind == yaml.MappingNode:
		is = "it holds keys and values"
	case v.node.Kind == yaml.SequenceNode:
		is = "it is a list"
	default:
		is = "it is a single value" // not quoted: it may be a token
	}
	r.fail(v, "%s; write %s", is, want)
	return false
}
