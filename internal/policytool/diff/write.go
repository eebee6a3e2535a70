package diff

import (
	"fmt"
	"io"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/printable"
)

// Formats are those that Write knows, sorted.
var Formats = []string{"json", "markdown", "text"}

// Write writes the difference in one of Formats; any other is text.
func (d *Diff) Write(out io.Writer, format string) error {
	switch format {
	case "json":
		return printable.WriteJSON(out, d)
	case "markdown":
		return d.writeMarkdown(out)
	default:
		return d.writeText(out)
	}
}

// writeText writes a block for each function, a line for each change, and a last line that
// counts the functions.
func (d *Diff) writeText(out io.Writer) error {
	var b strings.Builder
	for _, f := range d.Functions {
		b.WriteString(f.Name)
		if f.Owner != "" {
			fmt.Fprintf(&b, " (%q)", f.Owner)
		}
		b.WriteByte('\n')
		for word, ch := range f.changes {
			fmt.Fprintf(&b, "  %s %s\n", word, ch)
		}
	}
	fmt.Fprintln(&b, d.Summary())
	_, err := io.WriteString(out, b.String())
	return err
}

// writeMarkdown writes a table with a row for each change, as a comment on a pull request
// shows it. Whatever stands in it comes from names and numbers, in code spans.
func (d *Diff) writeMarkdown(out io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Policy `%s` to `%s`: %s.\n", d.Old.Policy, d.New.Policy, d.Summary())
	if len(d.Functions) > 0 {
		b.WriteString("\n| function | | what |\n|---|---|---|\n")
	}
	for _, f := range d.Functions {
		for word, ch := range f.changes {
			if word == "gains" {
				word = "**gains**"
			}
			fmt.Fprintf(&b, "| `%s` | %s | `%s` |\n", f.Name, word, ch)
		}
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// changes yields what a function gains, then what it loses, each with the word for that.
func (f *Function) changes(yield func(word string, ch Change) bool) {
	for _, ch := range f.Gains {
		if !yield("gains", ch) {
			return
		}
	}
	for _, ch := range f.Loses {
		if !yield("loses", ch) {
			return
		}
	}
}

// Summary counts the functions that gain and lose something.
func (d *Diff) Summary() string {
	gain, lose := 0, 0
	for _, f := range d.Functions {
		gain += min(len(f.Gains), 1)
		lose += min(len(f.Loses), 1)
	}
	if gain+lose == 0 {
		return "no function gains or loses anything"
	}
	return fmt.Sprintf("functions that gain: %d, that lose: %d", gain, lose)
}

// String says everything about a change in a line.
func (ch Change) String() string {
	s := ch.Covers
	if ch.Part != "" {
		s = "the " + ch.Part + " addresses of " + s
	}
	return s + but(ch.Except) + ch.details()
}
