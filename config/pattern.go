package config

import (
	"bytes"
	"slices"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config/include"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/config/patterns"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/yamlread"
)

// maxListProblems bounds the problems that are listed of one file of patterns.
const maxListProblems = 20

// wildcardScope returns how wide a pattern is.
func (r *reader) wildcardScope(p hostname.Pattern) hostname.WildcardScope {
	if !p.Wildcard() {
		return hostname.ScopeOne
	}
	if r.suffixes == nil {
		r.suffixes = hostname.NewSuffixes()
	}
	return r.suffixes.WildcardScope(p)
}

// deny reads the deny list, which may be as wide as it likes.
func (r *reader) deny(n yamlread.Node) {
	r.List(n, func(item yamlread.Node) {
		s, ok := r.Scalar(item, "a pattern")
		if !ok {
			return
		}
		p, text := patterns.Parse(s)
		if text != "" {
			r.Fail(item, "%s", text)
			return
		}
		r.config.Deny = append(r.config.Deny, policy.DenySpec{Pattern: p, Line: item.Line()})
	})
}

// set is what rules need to know of a set.
type set struct {
	index  int                  // in Config.Sets
	ports  []hostname.PortRange // of rules that name it and have none; nil: 443
	from   *include.Include     // whose file has it; nil: the configuration itself
	at     yamlread.Position    // of its key
	wild   bool                 // it has a wildcard
	shared hostname.Pattern     // the first wildcard over a shared suffix; zero: none
	where  yamlread.Position    // of shared
}

// readSets reads the lists that rules share.
func (r *reader) readSets(n yamlread.Node) {
	r.Members(n, func(name string, member yamlread.Node) {
		if other := r.sets[name]; other != nil {
			r.Fail(member, "%s:%d has a set of this name; write another one", other.at.File, other.at.Line)
			return
		}
		s := &set{index: len(r.config.Sets), from: r.from, at: member.Position()}
		r.sets[name] = s
		r.config.Sets = append(r.config.Sets, Set{Name: name, File: r.fileName(), Line: member.Line()})
		switch {
		case !r.validName(member, name, "a set"):
		case member.Len() > 0 && member.Tag() == "!!map":
			r.longSet(s, member)
		default:
			r.setHosts(s, member)
		}
	})
}

// longSet reads a set that is a mapping.
func (r *reader) longSet(s *set, n yamlread.Node) {
	found := r.Object(n,
		yamlread.Key("file", func(n yamlread.Node) { r.setFile(s, n) }),
		yamlread.Key("hosts", func(n yamlread.Node) { r.setHosts(s, n) }),
		yamlread.Key("ports", func(n yamlread.Node) { s.ports = r.Ports(n) }),
	)
	_, file := found["file"]
	if hosts, both := found["hosts"]; both && file {
		r.Fail(hosts, "the set has file too; write a set for each")
	} else if !both {
		r.Require(n, found, "write file: and a path, or hosts: and a list", "file")
	}
}

// setHosts reads the patterns of a set from a list.
func (r *reader) setHosts(s *set, n yamlread.Node) {
	r.List(n, func(item yamlread.Node) {
		if text, ok := r.Scalar(item, "a pattern"); ok {
			r.setPattern(s, text, item.Position(), item.Path())
		}
	})
}

// setPattern adds one pattern to a set and reports whether it could.
func (r *reader) setPattern(s *set, text string, at yamlread.Position, key string) bool {
	p, wrong := patterns.Parse(text)
	scope := hostname.ScopeOne
	if wrong == "" {
		scope = r.wildcardScope(p)
	}
	switch {
	case wrong != "":
	case scope == hostname.ScopeRegistry:
		wrong = patterns.TooWide(p)
	case p.Wildcard() && r.from != nil && !r.from.MayWildcards():
		wrong = r.from.Withholds("wildcards", "write the names that are needed")
	case scope == hostname.ScopeShared && s.shared.IsZero():
		s.shared, s.where = p, at
	}
	if wrong != "" {
		r.FailAt(at, key, "%s", wrong)
		return false
	}
	s.wild = s.wild || p.Wildcard()
	into := &r.config.Sets[s.index].Patterns
	*into = append(*into, p)
	return true
}

// setFile reads a file of patterns, one a line, with comments behind "#". It
// is read without YAML: such lists have up to millions of lines.
func (r *reader) setFile(s *set, n yamlread.Node) {
	data, file, ok := r.listFile(n)
	if !ok || !r.PlainText(file, n.Path(), data) {
		return
	}
	into := &r.config.Sets[s.index].Patterns
	*into = slices.Grow(*into, bytes.Count(data, []byte("\n"))+1)
	at, key, wrong := yamlread.Position{File: file}, n.Path(), 0
	for chunk := range patterns.Chunks(data) {
		_, _ = r.hash.Write(chunk) // a hash never fails
		for text := range strings.Lines(string(chunk)) {
			at.Line++
			if text = patterns.Uncomment(text); text == "" || r.setPattern(s, text, at, key) {
				continue
			}
			if wrong++; wrong == maxListProblems {
				r.FailAt(at, key, "there are %d problems up to here; the rest of the file was not read", wrong)
				return
			}
		}
	}
	if wrong == 0 && len(*into) == 0 {
		r.FailAt(yamlread.Position{File: file, Line: 1}, key, "the file has no pattern; write one a line")
	}
}
