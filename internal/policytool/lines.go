package policytool

import (
	"bytes"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// add returns the text with one more token.
func (d *document) add(token string) ([]byte, error) {
	quoted := `"` + token + `"`
	switch {
	case d.tokens == nil:
		return d.addList("tokens: [" + quoted + "]")
	case d.tokens.Style&yaml.FlowStyle == 0:
		return d.addLine(quoted)
	case len(d.tokens.Content) == 0:
		at, ok := d.behind(d.tokens, "[")
		if !ok {
			return nil, d.unusual("its bracket is not where it is expected")
		}
		return d.insert(at, quoted), nil
	default:
		_, end, ok := d.item(d.tokens.Content[len(d.tokens.Content)-1])
		if !ok {
			return nil, d.unusual("its last item is not a plain or a quoted text")
		}
		return d.insert(end, ", "+quoted), nil
	}
}

// addList adds the key where identify has none: first, so that comments above
// the other keys stay with them.
func (d *document) addList(text string) ([]byte, error) {
	if d.identify.Style&yaml.FlowStyle != 0 {
		at, ok := d.behind(d.identify, "{")
		if !ok {
			return nil, d.unusual("the brace of identify is not where it is expected")
		}
		return d.insert(at, text+", "), nil
	}
	first := d.identify.Content[0]
	start, _ := d.line(first.Line)
	indent := d.data[start:d.offset(first)]
	if len(bytes.TrimLeft(indent, " ")) > 0 || d.key.Line == first.Line {
		return nil, d.unusual("identify has no line of its own for a key")
	}
	_, end := d.line(d.key.Line)
	return d.insert(end, string(indent)+text+d.lineEnd(end)), nil
}

// blockItem is what stands before an item of a list that has a line for each.
var blockItem = regexp.MustCompile(`^ *- +$`)

// addLine adds an item to a list that has a line for each: as the last one, with
// the indent of the one before.
func (d *document) addLine(quoted string) ([]byte, error) {
	last := d.tokens.Content[len(d.tokens.Content)-1]
	itemStart, _, ok := d.item(last)
	start, end := d.line(last.Line)
	if !ok || !blockItem.Match(d.data[start:itemStart]) {
		return nil, d.unusual("its last item has no line of its own")
	}
	text := string(d.data[start:itemStart]) + quoted
	if end == len(d.data) && !bytes.HasSuffix(d.data, []byte("\n")) {
		return d.insert(end, d.lineEnd(end)+text), nil
	}
	return d.insert(end, text+d.lineEnd(end)), nil
}

// retire returns the text without the first token, which is the given one, and
// which is not the only one.
func (d *document) retire(token string) ([]byte, error) {
	first := d.tokens.Content[0]
	start, end, ok := d.item(first)
	if !ok || !strings.EqualFold(first.Value, token) {
		return nil, d.unusual("its first item is not a plain or a quoted text")
	}
	lineStart, lineEnd := d.line(first.Line)
	before := d.data[lineStart:start]
	if d.tokens.Style&yaml.FlowStyle == 0 {
		if !blockItem.Match(before) {
			return nil, d.unusual("its first item has no line of its own")
		}
		return d.remove(lineStart, lineEnd), nil
	}
	for end < len(d.data) && strings.IndexByte(" \t\r\n", d.data[end]) >= 0 {
		end++
	}
	if end == len(d.data) || d.data[end] != ',' {
		return nil, d.unusual("no comma follows its first item")
	}
	end++
	rest, _, _ := bytes.Cut(d.data[min(end, lineEnd):lineEnd], []byte("#"))
	if end <= lineEnd && len(bytes.TrimSpace(before))+len(bytes.TrimSpace(rest)) == 0 {
		return d.remove(lineStart, lineEnd), nil // the line is this item's alone, with what is said of it
	}
	// A comment needs its space.
	if next := bytes.TrimLeft(d.data[end:], " "); !bytes.HasPrefix(next, []byte("#")) {
		end = len(d.data) - len(next)
	}
	return d.remove(start, end), nil
}

// insert returns the data with a text at an offset.
func (d *document) insert(at int, text string) []byte {
	return slices.Insert(slices.Clone(d.data), at, []byte(text)...)
}

// remove returns the data without what lies between two offsets.
func (d *document) remove(from, to int) []byte {
	return slices.Delete(slices.Clone(d.data), from, to)
}

// item returns where the text of a scalar is, with its quotes. False: it is not
// written as it reads.
func (d *document) item(n *yaml.Node) (start, end int, ok bool) {
	if n.Kind != yaml.ScalarNode {
		return 0, 0, false
	}
	start = d.offset(n)
	for _, quote := range []string{`"`, "'", ""} {
		if text := quote + n.Value + quote; bytes.HasPrefix(d.data[start:], []byte(text)) {
			return start, start + len(text), true
		}
	}
	return 0, 0, false
}

// behind returns the offset behind the bracket with which a node begins.
func (d *document) behind(n *yaml.Node, bracket string) (int, bool) {
	at := d.offset(n)
	return at + len(bracket), bytes.HasPrefix(d.data[at:], []byte(bracket))
}

// offset returns where a node begins. Columns count characters.
func (d *document) offset(n *yaml.Node) int {
	start, end := d.line(n.Line)
	column := 1
	for i := range string(d.data[start:end]) {
		if column == n.Column {
			return start + i
		}
		column++
	}
	return end
}

// line returns where a line begins, and where the next one does.
func (d *document) line(number int) (start, end int) {
	for ; number > 1; number-- {
		next := bytes.IndexByte(d.data[start:], '\n')
		if next < 0 {
			return len(d.data), len(d.data)
		}
		start += next + 1
	}
	if length := bytes.IndexByte(d.data[start:], '\n'); length >= 0 {
		return start, start + length + 1
	}
	return start, len(d.data)
}

// lineEnd returns how the line before an offset ends, or the first line where
// that one does not.
func (d *document) lineEnd(at int) string {
	if i := bytes.LastIndexByte(d.data[:at], '\n'); i > 0 && d.data[i-1] == '\r' {
		return "\r\n"
	}
	return "\n"
}
