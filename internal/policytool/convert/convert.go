// Package convert makes policy files of what the lists of other programs say.
//
// What it does: the packages below it read one kind of file each, and say what it allows as a
// Policy; Assemble writes that as a policy file, together with a file of callers, which says
// what those lists do not: who calls as which function, and the settings of the proxy.
// The result loads, and has the layout of fmt.
//
// What it does not do: it approximates nothing. What cannot be said exactly is a problem with
// its line, and then there is no file. It opens no files.
//
//	p, err := smokescreen.Read("acl.yaml", data, smokescreen.Options{})
//	policy, err := convert.Assemble(p, convert.Callers{Name: "callers.yaml", Data: callers}, config.ReadFile)
package convert

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/format"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/yamlread"
)

// Policy is what a file of another program allows, in our words.
type Policy struct {
	Deny      []hostname.Pattern
	Functions []Function
}

// Function is one caller, and where the file that was read speaks of it.
type Function struct {
	At          yamlread.Position
	Key         string // services[0]
	Name        string
	Owner       string         // "": the file names none
	Sources     []netip.Prefix // from where it calls; nil: the file of callers says who does
	ReportUntil string         // the last day of report mode, 2027-03-31; "": the list is enforced
	Allow       []Rule
}

// Rule is one pattern with the ports on which it is allowed.
type Rule struct {
	Pattern hostname.Pattern
	Ports   []hostname.PortRange // nil: 443
	TLSAny  bool                 // what goes to it need not be TLS
	Shared  bool                 // the pattern is a wildcard where anyone can rent a name, and may be
}

// Callers is a policy file without rules: its settings, and for each function who calls as it
// (identify) and nothing else.
type Callers struct {
	Name string // as it is called in problems; relative paths in it begin at its folder
	Data []byte // nil: there is none
}

// Assemble writes the policy into the file of callers. open reads the files that it names. What
// is wrong is a *yamlread.Error: functions of which nobody says who calls as them, callers of
// functions that are not there, rules that stand in the file already, and what check would say
// of the result.
func Assemble(p *Policy, callers Callers, open func(path string) ([]byte, error)) ([]byte, error) {
	a := assembly{name: callers.Name}
	if err := a.parse(callers.Data); err != nil {
		return nil, err
	}
	a.deny(p.Deny)
	known := map[string]bool{}
	for i := range p.Functions {
		known[p.Functions[i].Name] = true
		a.function(&p.Functions[i])
	}
	for i := 0; i+1 < len(a.functions.Content); i += 2 {
		if key := a.functions.Content[i]; !known[key.Value] {
			a.fail(key, "functions."+key.Value, "the converted file has no caller of this name; correct it or take it out")
		}
	}
	if len(a.problems) > 0 {
		return nil, &yamlread.Error{Problems: a.problems}
	}
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := errors.Join(enc.Encode(a.root), enc.Close()); err != nil {
		return nil, fmt.Errorf("writing the policy: %w", err)
	}
	return format.Source(callers.Name, out.Bytes(), open)
}

// assembly is a policy file that is being written.
type assembly struct {
	name      string
	root      *yaml.Node // the top mapping
	functions *yaml.Node
	problems  []yamlread.Problem
}

// parse reads the file of callers; without one it is an empty policy.
func (a *assembly) parse(data []byte) error {
	if data == nil {
		data = []byte("version: 1\n")
	}
	// It is read strictly first: what is wrong with it is said of it and not of the result.
	r := yamlread.New(a.name, nil)
	if _, ok := r.Document(data, yamlread.Hints{Empty: "write version: 1 and functions", Anchors: "write the values out"}); !ok {
		return r.Err()
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return fmt.Errorf("reading %s: %w", a.name, err)
	}
	a.root = doc.Content[0]
	if a.root.Kind != yaml.MappingNode {
		return &yamlread.Error{Problems: []yamlread.Problem{{Position: yamlread.Position{File: a.name, Line: 1}, Key: "file", Text: "it is no mapping; write version: 1 and functions"}}}
	}
	a.functions = member(a.root, "functions")
	if a.functions == nil {
		a.functions = &yaml.Node{Kind: yaml.MappingNode}
		a.root.Content = append(a.root.Content, word("functions"), a.functions)
	}
	if a.functions.Kind != yaml.MappingNode {
		a.fail(a.functions, "functions", "it is no mapping; write a function, and identify below it")
	}
	return nil
}

// fail notes a problem with the file of callers.
func (a *assembly) fail(n *yaml.Node, key, text string) {
	a.problems = append(a.problems, yamlread.Problem{Position: yamlread.Position{File: a.name, Line: n.Line}, Key: key, Text: text})
}

// deny writes the deny list before the functions.
func (a *assembly) deny(all []hostname.Pattern) {
	if there := member(a.root, "deny"); there != nil {
		a.fail(there, "deny", "the deny list is that of the converted file; take it out")
		return
	}
	if len(all) == 0 {
		return
	}
	list := &yaml.Node{Kind: yaml.SequenceNode}
	for _, p := range all {
		list.Content = append(list.Content, text(p.String()))
	}
	for i := 0; i < len(a.root.Content); i += 2 {
		if a.root.Content[i].Value == "functions" {
			rest := append([]*yaml.Node{word("deny"), list}, a.root.Content[i:]...)
			a.root.Content = append(a.root.Content[:i:i], rest...)
			return
		}
	}
}

// function writes one function behind who calls as it.
func (a *assembly) function(f *Function) {
	n := member(a.functions, f.Name)
	switch {
	case n != nil && f.Sources != nil:
		a.fail(n, "functions."+f.Name, "the converted file says from where it calls; take it out")
		return
	case f.Sources != nil:
		n = f.identified()
		a.functions.Content = append(a.functions.Content, text(f.Name), n)
	case n == nil || n.Kind != yaml.MappingNode || member(n, "identify") == nil:
		a.problems = append(a.problems, yamlread.Problem{Position: f.At, Key: f.Key,
			Text: fmt.Sprintf("nobody says who calls as %s; write functions.%s.identify in a file, and give it with --callers", f.Name, f.Name)})
		return
	case len(n.Content) > 2:
		a.fail(n, "functions."+f.Name, "it has more than identify; the rest is that of the converted file, take it out")
		return
	}
	n.Style = 0
	if f.Owner != "" {
		n.Content = append(n.Content, word("owner"), text(f.Owner))
	}
	if f.ReportUntil != "" {
		n.Content = append(n.Content, word("mode"), word("report"), word("report_until"), word(f.ReportUntil))
	}
	list := &yaml.Node{Kind: yaml.SequenceNode}
	if len(f.Allow) == 0 {
		list.Style = yaml.FlowStyle
	}
	for _, r := range f.Allow {
		list.Content = append(list.Content, r.node())
	}
	n.Content = append(n.Content, word("allow"), list)
}

// identified writes a function that is identified by its sources.
func (f *Function) identified() *yaml.Node {
	sources := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
	for _, p := range f.Sources {
		sources.Content = append(sources.Content, text(p.String()))
	}
	identify := &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle, Content: []*yaml.Node{word("sources"), sources}}
	return &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{word("identify"), identify}}
}

// node writes a rule, in its short form where that says the same.
func (r *Rule) node() *yaml.Node {
	if r.Ports == nil && !r.TLSAny && !r.Shared {
		return text(r.Pattern.String())
	}
	n := &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle}
	n.Content = append(n.Content, word("host"), text(r.Pattern.String()))
	if r.Ports != nil {
		list := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
		for _, p := range r.Ports {
			list.Content = append(list.Content, word(p.String()))
		}
		n.Content = append(n.Content, word("ports"), list)
	}
	if r.TLSAny {
		n.Content = append(n.Content, word("tls"), word("any"))
	}
	if r.Shared {
		n.Content = append(n.Content, word("shared_suffix"), word("true"))
	}
	return n
}

// member returns the value of a key of a mapping, or nil.
func member(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(n.Content) && n.Kind == yaml.MappingNode; i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// word returns a value that is written as it is.
func word(s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: s} }

// text returns a value that is text whatever it looks like.
func text(s string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
	if strings.HasPrefix(s, "*") {
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}
