package config

import (
	"bytes"
	"iter"
	"net/netip"
	"slices"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/yamlread"
)

// maxListProblems bounds the problems that are listed of one file of patterns.
const maxListProblems = 20

// pattern parses one pattern; text is what is wrong with it, or "".
func pattern(s string) (p hostname.Pattern, text string) {
	p, err := hostname.ParsePattern(s)
	if err == nil {
		return p, ""
	}
	host, port, _ := strings.Cut(s, ":")
	switch addr, addrErr := netip.ParseAddr(s); {
	case addrErr == nil && addr.Zone() == "":
		return p, yamlread.Quote(s) + " is an address, not a name; write a rule with cidr: " + netip.PrefixFrom(addr, addr.BitLen()).String()
	case strings.Contains(s, "/"):
		return p, yamlread.Quote(s) + " is a URL or a path; write the hostname alone"
	case yamlread.LooksLikePort(port) && host != "":
		return p, yamlread.Quote(s) + " has a port; write host: and ports: as keys of a rule"
	default:
		return p, yamlread.Quote(s) + " is " + yamlread.OneLine(err.Error()) // "not a pattern: …"
	}
}

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

// tooWide is what is wrong with a wildcard over a public suffix.
func tooWide(p hostname.Pattern) string {
	return yamlread.Quote(p.String()) + " covers every name of a public registry; write the names that are needed"
}

// deny reads the deny list, which may be as wide as it likes.
func (r *reader) deny(n yamlread.Node) {
	r.List(n, func(item yamlread.Node) {
		s, ok := r.Scalar(item, "a pattern")
		if !ok {
			return
		}
		p, text := pattern(s)
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
	shared hostname.Pattern     // the first wildcard over a shared suffix; zero: none
	where  yamlread.Position
}

// readSets reads the lists that rules share.
func (r *reader) readSets(n yamlread.Node) {
	r.sets = map[string]*set{}
	r.Members(n, func(name string, member yamlread.Node) {
		s := &set{index: len(r.config.Sets)}
		r.sets[name] = s
		r.config.Sets = append(r.config.Sets, Set{Name: name, Line: member.Line()})
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
		yamlread.Key("ports", func(n yamlread.Node) { s.ports = r.ports(n) }),
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
	p, wrong := pattern(text)
	scope := hostname.ScopeOne
	if wrong == "" {
		scope = r.wildcardScope(p)
	}
	switch {
	case wrong != "":
	case scope == hostname.ScopeRegistry:
		wrong = tooWide(p)
	case scope == hostname.ScopeShared && s.shared.IsZero():
		s.shared, s.where = p, at
	}
	if wrong != "" {
		r.FailAt(at, key, "%s", wrong)
		return false
	}
	patterns := &r.config.Sets[s.index].Patterns
	*patterns = append(*patterns, p)
	return true
}

// setFile reads a file of patterns, one a line, with comments behind "#". It
// is read without YAML: such lists have up to millions of lines.
func (r *reader) setFile(s *set, n yamlread.Node) {
	data, file, ok := r.File(n, maxList)
	if !ok || !r.PlainText(file, n.Path(), data) {
		return
	}
	patterns := &r.config.Sets[s.index].Patterns
	*patterns = slices.Grow(*patterns, bytes.Count(data, []byte("\n"))+1)
	at, key, wrong := yamlread.Position{File: file}, n.Path(), 0
	for chunk := range chunks(data) {
		_, _ = r.hash.Write(chunk) // a hash never fails
		for text := range strings.Lines(string(chunk)) {
			at.Line++
			if text = uncomment(text); text == "" || r.setPattern(s, text, at, key) {
				continue
			}
			if wrong++; wrong == maxListProblems {
				r.FailAt(at, key, "there are %d problems up to here; the rest of the file was not read", wrong)
				return
			}
		}
	}
	if wrong == 0 && len(*patterns) == 0 {
		r.FailAt(yamlread.Position{File: file, Line: 1}, key, "the file has no pattern; write one a line")
	}
}

// chunkSize is how much of a list is hashed and copied at once: neither a hash
// nor a copy of megabytes can be interrupted, and the collector stops the
// requests too while it waits for the end of one.
const chunkSize = 8 << 10

// chunks cuts data at ends of lines.
func chunks(data []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for len(data) > 0 {
			n := min(len(data), chunkSize)
			if end := bytes.IndexByte(data[n:], '\n'); end >= 0 {
				n += end + 1
			} else {
				n = len(data)
			}
			if !yield(data[:n]) {
				return
			}
			data = data[n:]
		}
	}
}

// uncomment drops a comment and the space around the rest.
func uncomment(line string) string {
	if i := strings.IndexByte(line, '#'); i >= 0 {
		line = line[:i]
	}
	return strings.TrimSpace(line)
}
