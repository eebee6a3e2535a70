package format

import (
	"fmt"
	"strings"

	"gopkg.in/yaml.v3"
)

// document is a text as a tree, and where its comments, values and empty lines are.
type document struct {
	root     *yaml.Node
	comments []comment
	values   []*yaml.Node  // scalars and aliases, in the order of the text
	below    map[int]bool  // the lines that stand below an empty one
	things   map[int]thing // what a line begins with
	lines    map[thing]int // where that is
}

// comment is one comment: all of a line, or its end.
type comment struct {
	text   string // with its "#"
	line   int
	values int  // how many values begin before it
	own    bool // nothing else is on its line
}

// scan reads a text. yaml.v3 has comments too, by the node that it holds them to be about;
// it knows not all of them, so they are looked for in the text itself.
func scan(text string) (*document, error) {
	d := &document{root: &yaml.Node{}, below: map[int]bool{}}
	if err := yaml.Unmarshal([]byte(text), d.root); err != nil {
		return nil, fmt.Errorf("reading the policy: %w", err)
	}
	collect(d.root, &d.values)
	s := scanner{d: d}
	for line := range strings.Lines(text) {
		s.number++
		s.line(strings.TrimRight(line, "\n"))
	}
	d.index()
	return d, nil
}

// collect appends the values of a tree in the order of the text.
func collect(n *yaml.Node, to *[]*yaml.Node) {
	if n.Kind == yaml.ScalarNode || n.Kind == yaml.AliasNode {
		*to = append(*to, n)
	}
	for _, child := range n.Content {
		collect(child, to)
	}
}

// scanner finds the comments of a text: "#" at the begin of a line or behind a space, where
// it is not within quotes or a block of text. The nodes say where those begin.
type scanner struct {
	d      *document
	number int  // of the line
	next   int  // of the values: the first that has not begun yet
	quote  rune // within quotes: which; 0: not
	block  bool // within a block of text
	indent int  // of block; 0: its first line is to come
	empty  bool // the line before is
}

// line reads one line.
func (s *scanner) line(line string) {
	trimmed := strings.TrimLeft(line, " \t")
	if s.quote == 0 && trimmed == "" {
		s.empty = true
		return
	}
	if s.empty && s.number > 1 && !s.block {
		s.d.below[s.number] = true
	}
	s.empty = false
	if !s.inBlock(len(line) - len(trimmed)) {
		s.runes([]rune(line))
	}
}

// runes reads a line by its characters.
func (s *scanner) runes(line []rune) {
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case s.quote != 0:
			i += s.within(line[i:])
		case s.begins(i + 1):
			i += s.open(line[i:])
		case c == '#' && (i == 0 || line[i-1] == ' ' || line[i-1] == '\t'):
			own := strings.TrimSpace(string(line[:i])) == ""
			s.d.comments = append(s.d.comments, comment{strings.TrimRight(string(line[i:]), " \t"), s.number, s.next, own})
			return
		}
	}
}

// inBlock reports whether a line is of the block of text that is open.
func (s *scanner) inBlock(indent int) bool {
	if !s.block {
		return false
	}
	if s.indent == 0 {
		s.indent = indent
	}
	s.block = indent >= s.indent
	return s.block
}

// begins reports whether the next value begins at a column of the line.
func (s *scanner) begins(column int) bool {
	if s.next == len(s.d.values) {
		return false
	}
	n := s.d.values[s.next]
	return n.Line == s.number && n.Column == column
}

// open reads the begin of a value, and returns how many characters to go on by.
func (s *scanner) open(rest []rune) (skip int) {
	n := s.d.values[s.next]
	s.next++
	if n.Kind == yaml.ScalarNode && n.Anchor != "" { // the anchor stands before the value
		for skip < len(rest) && rest[skip] != ' ' && rest[skip] != '\t' {
			skip++
		}
		for skip+1 < len(rest) && (rest[skip] == ' ' || rest[skip] == '\t') {
			skip++
		}
	}
	switch {
	case n.Style&yaml.DoubleQuotedStyle != 0:
		s.quote = '"'
	case n.Style&yaml.SingleQuotedStyle != 0:
		s.quote = '\''
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		s.block, s.indent = true, 0
	}
	return skip
}

// within reads one character within quotes, and returns how many more to go on by.
func (s *scanner) within(rest []rune) (skip int) {
	switch {
	case s.quote == '"' && rest[0] == '\\':
		return 1
	case rest[0] == s.quote && s.quote == '\'' && len(rest) > 1 && rest[1] == '\'':
		return 1
	case rest[0] == s.quote:
		s.quote = 0
	}
	return 0
}

// thing is what a line begins with: the comment or the value of that number; -1: neither.
type thing struct{ comment, value int }

// index says what each line begins with. A line that only closes a bracket begins with
// nothing.
func (d *document) index() {
	d.things, d.lines = map[int]thing{}, map[thing]int{}
	first := func(line int, t thing) {
		if _, taken := d.things[line]; !taken {
			d.things[line], d.lines[t] = t, line
		}
	}
	for i, c := range d.comments {
		if c.own {
			first(c.line, thing{i, -1})
		}
	}
	for i, n := range d.values {
		first(n.Line, thing{-1, i})
	}
}
