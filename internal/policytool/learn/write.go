package learn

import (
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/format"
)

// Added says how many rules a file has got.
type Added struct {
	File  string
	Rules int
}

// part is one file of a policy that gets rules.
type part struct {
	Added
	target    string // the file itself, behind links
	was, text []byte
}

// AddTo adds the proposed rules to the policy file at path and to the files that it
// includes, each behind those of its function, and returns which files have got some. Each
// such file gets the layout of package format. It is replaced in one step, and only where
// the policy then loads and nothing else has changed. Where one of several cannot be
// replaced, those before it have got theirs.
func (p *Proposal) AddTo(path string) (all []Added, err error) {
	parts, err := p.edit(path)
	if err != nil {
		return nil, err
	}
	for _, one := range parts {
		if err := policytool.Replace(one.target, one.was, one.text); err != nil {
			return all, fmt.Errorf("%s: %w", one.File, err)
		}
		all = append(all, one.Added)
	}
	return all, nil
}

// edit returns the files that get rules, with the rules.
func (p *Proposal) edit(path string) (parts []*part, err error) {
	_, main, err := policytool.ReadFile(path)
	if err != nil {
		return nil, err
	}
	before, err := config.Parse(path, main, config.ReadFile)
	if err != nil {
		return nil, err
	}
	if before.Hash() != p.Policy {
		return nil, errors.New("the policy was changed meanwhile; try again")
	}
	if parts, err = p.insertAll(path, before); err != nil {
		return nil, err
	}
	texts := map[string][]byte{}
	for _, one := range parts {
		if texts[one.File] = one.text; one.File == path {
			main = one.text
		}
	}
	after, err := config.Parse(path, main, policytool.Instead(texts))
	if err != nil {
		return nil, fmt.Errorf("with the rules the policy would not load, and stays: %w", err)
	}
	if !p.adds(before, after) {
		return nil, errors.New("the edit would change more than the rules that are proposed, and the policy stays; add them by hand")
	}
	return parts, nil
}

// insertAll adds the rules to the texts of the files that have their functions.
func (p *Proposal) insertAll(path string, before *config.Config) (parts []*part, err error) {
	at := map[string]string{}
	for _, f := range before.Functions {
		if at[f.Name] = path; f.File != "" {
			at[f.Name] = filepath.Join(filepath.Dir(path), f.File)
		}
	}
	open := map[string]*part{}
	for _, f := range p.Functions {
		if len(f.Rules) == 0 {
			continue
		}
		one := open[at[f.Name]]
		if one == nil {
			if one, err = newPart(at[f.Name]); err != nil {
				return nil, err
			}
			open[one.File] = one
			parts = append(parts, one)
		}
		if one.text, err = insert(one.File, one.text, &f); err != nil {
			return nil, fmt.Errorf("%s: functions.%s.allow: %w", one.File, f.Name, err)
		}
		one.Rules += len(f.Rules)
	}
	return parts, nil
}

// newPart reads a file and lays it out.
func newPart(path string) (*part, error) {
	one := &part{Added: Added{File: path}}
	var err error
	if one.target, one.was, err = policytool.ReadFile(path); err == nil {
		one.text, err = format.Layout(path, one.was)
	}
	return one, err
}

// insert adds the rules of one function to a text in its canonical layout.
func insert(path string, text []byte, f *Function) ([]byte, error) {
	allow, err := find(text, f.Name)
	if err != nil {
		return nil, err
	}
	lines := strings.SplitAfter(string(text), "\n")
	if allow.Style&yaml.FlowStyle != 0 {
		return unfold(path, lines, allow, f)
	}
	last := allow.Content[len(allow.Content)-1]
	var b strings.Builder
	for _, r := range f.Rules {
		fmt.Fprintf(&b, "%s- %s\n", strings.Repeat(" ", allow.Column-1), r.Text())
	}
	return []byte(strings.Join(slices.Insert(lines, lastLine(last), b.String()), "")), nil
}

// unfold adds the rules to a list in brackets. One whose members begin on another line gets
// a line for each, by the layout.
func unfold(path string, lines []string, allow *yaml.Node, f *Function) ([]byte, error) {
	line := lines[allow.Line-1]
	column := len(string([]rune(line)[:allow.Column])) // behind the bracket
	if !strings.HasSuffix(line[:column], "[") {
		return nil, errors.New("its bracket is not where it is expected; add the rules by hand")
	}
	rest, above := line[column:], ""
	if c := lineComment(allow); c != "" && strings.HasSuffix(strings.TrimRight(rest, "\n"), c) {
		// It stands behind the bracket, which goes.
		rest = strings.TrimSuffix(strings.TrimRight(rest, "\n"), c) + "\n"
		above = line[:len(line)-len(strings.TrimLeft(line, " "))] + c + "\n"
	}
	if len(allow.Content) == 0 {
		rest = f.Rules[0].item() + rest
	}
	lines[allow.Line-1] = above + line[:column] + "\n" + strings.Repeat(" ", allow.Column) + rest
	text, err := format.Layout(path, []byte(strings.Join(lines, "")))
	if err != nil {
		return nil, err
	}
	if len(allow.Content) > 0 {
		return insert(path, text, f)
	}
	return comment(text, f)
}

// lineComment returns the comment at the end of the line of a tree that is on one line.
func lineComment(n *yaml.Node) string {
	if n.LineComment != "" {
		return n.LineComment
	}
	for _, child := range n.Content {
		if c := lineComment(child); c != "" {
			return c
		}
	}
	return ""
}

// comment replaces the one rule that stands for all in a list that was empty.
func comment(text []byte, f *Function) ([]byte, error) {
	allow, err := find(text, f.Name)
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	for _, r := range f.Rules {
		fmt.Fprintf(&b, "%s- %s\n", strings.Repeat(" ", allow.Column-1), r.Text())
	}
	lines := strings.SplitAfter(string(text), "\n")
	return []byte(strings.Join(slices.Replace(lines, allow.Line-1, lastLine(allow), b.String()), "")), nil
}

// find returns the list of a function.
func find(text []byte, function string) (*yaml.Node, error) {
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		return nil, fmt.Errorf("reading the policy: %w", err)
	}
	node := root.Content[0]
	for _, key := range []string{"functions", function, "allow"} {
		next := (*yaml.Node)(nil)
		for i := 0; i+1 < len(node.Content); i += 2 {
			if node.Content[i].Value == key {
				next = node.Content[i+1]
			}
		}
		if node = next; node == nil || node.Kind == yaml.AliasNode || node.Anchor != "" {
			return nil, errors.New("it is shared by an alias, or written elsewhere; add the rules by hand")
		}
	}
	return node, nil
}

// lastLine returns the line of the last node of a tree, which in the canonical layout is
// the last line of its text.
func lastLine(n *yaml.Node) int {
	line := n.Line
	for _, child := range n.Content {
		line = max(line, lastLine(child))
	}
	return line
}

// adds reports whether the second configuration is the first with the rules at the end of
// the lists that they are for.
func (p *Proposal) adds(before, after *config.Config) bool {
	added := map[string]int{}
	for _, f := range p.Functions {
		added[f.Name] = len(f.Rules)
	}
	if len(before.Functions) != len(after.Functions) || !reflect.DeepEqual(patterns(before), patterns(after)) {
		return false
	}
	for i, b := range before.Functions {
		a := after.Functions[i]
		old := len(a.Allow) - added[a.Name]
		if a.Name != b.Name || !reflect.DeepEqual(a.Identify, b.Identify) || !a.ReportUntil.Equal(b.ReportUntil) || old != len(b.Allow) || !slices.EqualFunc(a.Allow[:old], b.Allow, sameRule) {
			return false
		}
	}
	return true
}

// patterns returns what the deny list and the sets cover.
func patterns(c *config.Config) (all []any) {
	for _, d := range c.Deny {
		all = append(all, d.Pattern)
	}
	for _, s := range c.Sets {
		all = append(all, s.Patterns)
	}
	return all
}

// sameRule compares two rules but for their lines.
func sameRule(a, b policy.RuleSpec) bool {
	return a.Pattern == b.Pattern && a.Prefix == b.Prefix && a.Set == b.Set && reflect.DeepEqual(a.Conditions, b.Conditions)
}
