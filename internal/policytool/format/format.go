// Package format writes a policy file in its one canonical layout.
//
// What it does: two spaces for each level, one space within a line, text that is quoted in
// double quotes, what stands in brackets over several lines with a line for each member, at
// most one empty line in a row, LF at the end of each line. It is done by the nodes of
// yaml.v3. Then it compares: every value and every comment has to be there, in the same
// order and at the same place among the values, or the result is an error.
//
// What it does not do: it sorts nothing, for rules are known by their number, and a comment
// may be about all that follows it. It changes no value, and formats no file that would not
// load. Comments stay as they are written.
//
//	canonical, err := format.Source("egress.yaml", data, config.ReadFile)
//	texts, err := format.Included("egress.yaml", "teams/payments.yaml")
package format

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
)

// rounds are how often a text is laid out before it has to stay as it is. A comment may be
// read as belonging to something else when it has got its place.
const rounds = 4

// Source returns a policy in its canonical layout. The name is that of the file, for
// errors; open reads the files that it names. A policy that does not load is a
// *config.Error, or an error of the file that could not be read.
func Source(name string, data []byte, open func(path string) ([]byte, error)) ([]byte, error) {
	if _, err := config.Parse(name, data, open); err != nil {
		return nil, err
	}
	text, err := Layout(name, data)
	if err == nil {
		_, err = config.Parse(name, text, open)
	}
	return text, err
}

// Layout is Source without its checks: for a text of which the caller knows that the policy
// loads that it is a part of, and finds out whether it still does.
func Layout(name string, data []byte) ([]byte, error) {
	text := plainLines(data)
	for range rounds {
		next, err := layOut(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if next == text {
			return []byte(text), nil
		}
		text = next
	}
	return nil, fmt.Errorf("%s: no layout is found in which its comments stay where they are; move those that stand among brackets", name)
}

// plainLines returns the text, each line of it ended by LF.
func plainLines(data []byte) string {
	return strings.ReplaceAll(strings.ReplaceAll(string(data), "\r\n", "\n"), "\r", "\n")
}

// layOut writes a text anew.
func layOut(text string) (string, error) {
	was, err := scan(text)
	if err == nil {
		was, err = scan(was.withDeepComments(text))
	}
	if err != nil {
		return "", err
	}
	restyle(was.root)
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := errors.Join(enc.Encode(was.root), enc.Close()); err != nil {
		return "", fmt.Errorf("writing the policy: %w", err)
	}
	dense := withoutEmptyLines(out.String())
	is, err := scan(dense)
	if err != nil {
		return "", err
	}
	if err := same(was, is); err != nil {
		return "", err
	}
	return withEmptyLines(dense, was, is), nil
}

// withDeepComments returns the text with each comment as far to the right as the line
// below it, or further. One that is further left than what surrounds it would be taken for
// the end of what it stands within.
func (d *document) withDeepComments(text string) string {
	own := map[int]bool{}
	for _, c := range d.comments {
		own[c.line] = own[c.line] || c.own
	}
	lines := strings.SplitAfter(text, "\n")
	below := 0
	for i := len(lines) - 1; i >= 0; i-- {
		bare := strings.TrimLeft(lines[i], " \t")
		if strings.TrimSpace(bare) == "" {
			continue
		}
		if indent := len(lines[i]) - len(bare); !own[i+1] || indent > below {
			below = indent
		}
		if own[i+1] {
			lines[i] = strings.Repeat(" ", below) + bare
		}
	}
	return strings.Join(lines, "")
}

// restyle gives each node the style that it is written in.
func restyle(n *yaml.Node) {
	switch {
	case n.Kind == yaml.ScalarNode && (n.Style&^yaml.TaggedStyle != 0 || strings.Contains(n.Value, "\n")):
		n.Style = n.Style&yaml.TaggedStyle | yaml.DoubleQuotedStyle
	case n.Style&yaml.FlowStyle != 0 && len(n.Content) > 0 && lastLine(n) > n.Line:
		n.Style &^= yaml.FlowStyle
	}
	for _, child := range n.Content {
		restyle(child)
	}
}

// lastLine returns the line of the last node of a tree.
func lastLine(n *yaml.Node) int {
	line := n.Line
	for _, child := range n.Content {
		line = max(line, lastLine(child))
	}
	return line
}

// withoutEmptyLines returns a text without them, and without the commas that the encoder
// writes before a bracket where a comment is below. No value of what restyle leaves has any
// empty line.
func withoutEmptyLines(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if trimmed := strings.TrimRight(line, " \t\n"); trimmed != "" {
			b.WriteString(withoutLastCommas(trimmed) + "\n")
		}
	}
	return b.String()
}

// lastComma finds a comma that a closing bracket follows, and before it what may have one
// inside: text in quotes, and a comment.
var lastComma = regexp.MustCompile(`"(?:[^"\\]|\\.)*"| #.*$|,[}\]]`)

// withoutLastCommas returns a line without such commas. The encoder puts quotes at the begin
// of a value alone; where one is elsewhere, same sees what has changed.
func withoutLastCommas(line string) string {
	return lastComma.ReplaceAllStringFunc(line, func(found string) string { return strings.TrimPrefix(found, ",") })
}

// same finds what one text has and the other has not, or has elsewhere.
func same(was, is *document) error {
	for i, c := range was.comments {
		if i >= len(is.comments) || is.comments[i].text != c.text || is.comments[i].values != c.values {
			return fmt.Errorf("line %d: the comment would be moved or lost; put it on a line of its own, above what it is about", c.line)
		}
	}
	if len(is.comments) > len(was.comments) || !slices.EqualFunc(was.values, is.values, sameValue) || !sameShape(was.root, is.root) {
		return errors.New("the file would mean something else; write it without what is unusual in YAML")
	}
	return nil
}

// sameValue reports whether two scalars, or aliases, are read as the same.
func sameValue(a, b *yaml.Node) bool {
	quoted := func(n *yaml.Node) bool { return n.Style&^(yaml.TaggedStyle|yaml.FlowStyle) != 0 }
	return a.Kind == b.Kind && a.Tag == b.Tag && a.Value == b.Value && a.Anchor == b.Anchor && quoted(a) == quoted(b)
}

// sameShape reports whether two trees have the same members.
func sameShape(a, b *yaml.Node) bool {
	return a.Kind == b.Kind && a.Tag == b.Tag && a.Anchor == b.Anchor && slices.EqualFunc(a.Content, b.Content, sameShape)
}

// withEmptyLines puts an empty line above what has one or more in the text as it was.
func withEmptyLines(dense string, was, is *document) string {
	above := map[int]bool{}
	for line := range was.below {
		if t, ok := was.things[line]; ok && is.lines[t] > 1 {
			above[is.lines[t]] = true
		}
	}
	var b strings.Builder
	number := 0
	for line := range strings.Lines(dense) {
		if number++; above[number] {
			b.WriteByte('\n')
		}
		b.WriteString(line)
	}
	return b.String()
}
