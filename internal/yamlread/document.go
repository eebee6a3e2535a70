package yamlread

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// maxExpanded bounds the values that aliases add to a file: without it a
// kilobyte of nested anchors is billions of them.
const maxExpanded = 2_000_000

// maxDirectives bounds the lines that begin with "%", of which the parser compares each
// with all before it. No policy needs one.
const maxDirectives = 16

// maxText bounds what is repeated of the parser's own words, in which a file has a say.
const maxText = 200

// wholeFile is the key of a problem that is about no key.
const wholeFile = "file"

// Hints say what would be right where a whole file is wrong, which only whoever
// knows its keys can say.
type Hints struct {
	Empty   string // "write …", for a file without any value
	Anchors string // "write …", for a file whose anchors repeat too much
}

// Document parses data, which is the one YAML document of the file. It notes
// what is wrong, and returns false where there is nothing to read.
func (r *Reader) Document(data []byte, hints Hints) (Node, bool) {
	return r.DocumentIn(r.files[0], data, hints)
}

// DocumentIn is Document for a file that the document names, whose path and data are
// those that File has returned.
func (r *Reader) DocumentIn(name string, data []byte, hints Hints) (Node, bool) {
	if !r.PlainText(name, wholeFile, data) || !r.fewDirectives(name, data) {
		return Node{}, false
	}
	root, err := decodeFirst(data)
	switch {
	case errors.Is(err, io.EOF) || err == nil && isNull(root):
		r.FailAt(Position{name, 1}, wholeFile, "it is empty; %s", hints.Empty)
		return Node{}, false
	case err != nil:
		line, text := syntax(data, err)
		r.FailAt(Position{name, line}, wholeFile, "%s", text)
		return Node{}, false
	}
	sizes := expansion{sizes: map[*yaml.Node]int{}}
	if sizes.of(root); sizes.tooLarge != nil {
		r.FailAt(Position{name, sizes.tooLarge.Line}, wholeFile,
			"its anchors expand to more than %d values; %s", maxExpanded, hints.Anchors)
		return Node{}, false
	}
	return Node{yaml: root, at: Position{name, max(root.Line, 1)}}, true
}

// fewDirectives checks that not too many lines begin with "%".
func (r *Reader) fewDirectives(name string, data []byte) bool {
	line, found := 0, 0
	for text := range bytes.Lines(data) {
		line++
		if text[0] == '%' {
			found++
		}
		if found > maxDirectives {
			r.FailAt(Position{name, line}, wholeFile, `more than %d lines begin with "%%", which makes them directives; leave them out`, maxDirectives)
			return false
		}
	}
	return true
}

// PlainText checks that a file is what it looks like in an editor: UTF-8
// without a byte order mark, and without characters that end a line only for
// some readers or turn the direction of text. The key is where a problem
// is noted.
func (r *Reader) PlainText(file, key string, data []byte) bool {
	if bytes.HasPrefix(data, []byte("\xef\xbb\xbf")) {
		r.FailAt(Position{file, 1}, key, "it begins with a byte order mark; save it as UTF-8 without one")
		return false
	}
	for i := 0; i < len(data); {
		c, size := rune(data[i]), 1
		if ' ' <= c && c <= '~' {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			c, size = utf8.DecodeRune(data[i:])
		}
		what := invalidRune(c, size, data[i+size:])
		if what != "" {
			r.FailAt(Position{file, 1 + bytes.Count(data[:i], []byte("\n"))}, key, "it has %s; save it as plain UTF-8 text", what)
			return false
		}
		i += size
	}
	return true
}

// invalidRune says what is wrong with a character that a file must not have, or "".
func invalidRune(c rune, size int, rest []byte) string {
	switch {
	case c == utf8.RuneError && size == 1:
		return "bytes that are not UTF-8"
	case c == '\r' && (len(rest) == 0 || rest[0] != '\n'):
		return "a carriage return within a line"
	case unicode.IsControl(c) && !strings.ContainsRune("\r\n\t", c):
		return fmt.Sprintf("the control character U+%04X", c)
	case c == 0xfeff, unicode.In(c, unicode.Bidi_Control, unicode.Zl, unicode.Zp):
		return fmt.Sprintf("the invisible character U+%04X", c)
	default:
		return ""
	}
}

// decodeFirst parses the first document and sees to it that there is no
// second one. It returns io.EOF where there is none at all.
func decodeFirst(data []byte) (root *yaml.Node, err error) {
	lines := &lineReader{rest: data}
	dec := yaml.NewDecoder(lines)
	doc, err := decodeNext(dec)
	if err != nil {
		return nil, err
	}
	if len(doc.Content) == 0 {
		return nil, io.EOF
	}
	if second, err := decodeNext(dec); !errors.Is(err, io.EOF) {
		if second.Line == 0 {
			second.Line = lines.count // it is not a document either
		}
		return nil, &secondDocumentError{line: second.Line}
	}
	return doc.Content[0], nil
}

// decodeNext parses the next document. The parser panics on what it believes cannot
// happen; a reload must not end the process for it.
func decodeNext(dec *yaml.Decoder) (doc yaml.Node, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("yaml: %v", p)
		}
	}()
	err = dec.Decode(&doc)
	return doc, err
}

// secondDocumentError says that something follows the document.
type secondDocumentError struct{ line int }

func (e *secondDocumentError) Error() string { return "a second document" }

// lineReader returns a line from each Read and counts them, which shows how far
// the parser had come when it failed: it gives the line where a block
// begins for some errors, and none at all for others.
type lineReader struct {
	rest  []byte
	count int
}

// Read implements io.Reader.
func (l *lineReader) Read(p []byte) (int, error) {
	if len(l.rest) == 0 {
		return 0, io.EOF
	}
	part := l.rest[:min(len(p), len(l.rest))] // a line may be as long as the file
	if end := bytes.IndexByte(part, '\n'); end >= 0 {
		part = part[:end+1]
	}
	n := copy(p, part)
	if l.rest[n-1] == '\n' || n == len(l.rest) {
		l.count++
	}
	l.rest = l.rest[n:]
	return n, nil
}

// parserLine matches the errors of the YAML parser.
var parserLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)`)

// syntax turns an error of the YAML parser into a line and a text.
func syntax(data []byte, err error) (line int, text string) {
	if second := (*secondDocumentError)(nil); errors.As(err, &second) {
		return second.line, "a second document begins here; write one document"
	}
	m := parserLine.FindStringSubmatch(err.Error())
	if m == nil {
		return 1, "it is not YAML; write keys and values"
	}
	line, text = failedLine(data, m[2]), m[2]
	if n, err := strconv.Atoi(m[1]); err == nil && !strings.HasPrefix(m[2], "did not find expected") && !strings.Contains(m[2], "tab") {
		line = n
	}
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "…"
	}
	at := data[lineStart(data, line):]
	indent := string(at[:len(at)-len(bytes.TrimLeft(at, " \t"))])
	switch {
	case strings.Contains(indent, "\t"):
		text = "a tab indents this line; write spaces"
	case strings.Contains(text, "alphabetic or numeric character"):
		text = `a text that begins with "*" or "&" is not in quotes; write it like "*.example.com"`
	case strings.Contains(text, "unknown anchor"):
		text += `; write a text that begins with "*" in quotes`
	case strings.Contains(text, "cannot start any token"):
		text = "this line has a text that begins with a special character; write it in quotes"
	default:
		text += "; look at the indentation, colons and quotes here"
	}
	return line, text
}

// lineStart returns where a line begins, or the last one where there are fewer.
func lineStart(data []byte, line int) (start int) {
	for ; line > 1; line-- {
		n := bytes.IndexByte(data[start:], '\n')
		if n < 0 {
			break
		}
		start += n + 1
	}
	return start
}

// failedLine returns the line that makes the parser fail with that message:
// the last of the shortest beginning of the file that fails the same way, of
// the few lines that the parser reads ahead.
func failedLine(data []byte, message string) int {
	fails := func(data []byte) (int, bool) {
		lines := &lineReader{rest: data}
		_, err := decodeNext(yaml.NewDecoder(lines))
		return lines.count, err != nil && strings.HasSuffix(err.Error(), message)
	}
	line, _ := fails(data) // 0: within the first line
	for range 3 {
		if line <= 1 {
			break
		}
		if _, same := fails(data[:lineStart(data, line)]); !same {
			break
		}
		line--
	}
	return max(line, 1)
}

// expansion counts the values of a tree with its aliases followed.
type expansion struct {
	sizes    map[*yaml.Node]int // of nodes with an anchor; -1: being counted
	added    int
	tooLarge *yaml.Node // the alias that is too much; nil: none
}

// of returns the size of a node. It stops at the first alias that leads back
// to itself or brings the total beyond maxExpanded.
func (e *expansion) of(n *yaml.Node) int {
	if n.Kind == yaml.AliasNode {
		size, counted := e.sizes[n.Alias]
		if !counted {
			size = e.of(n.Alias)
		}
		if e.added += size; size < 0 || e.added > maxExpanded {
			e.tooLarge = n
			return maxExpanded
		}
		return size
	}
	if n.Anchor != "" {
		e.sizes[n] = -1
	}
	size := 1
	for _, child := range n.Content {
		if e.tooLarge != nil {
			return maxExpanded
		}
		size += e.of(child)
	}
	if n.Anchor != "" {
		e.sizes[n] = size
	}
	return size
}

// isNull reports whether a node has no value.
func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Tag == "!!null" && slices.Contains([]string{"", "~", "null", "Null", "NULL"}, n.Value)
}
