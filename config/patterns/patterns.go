// Package patterns reads patterns as the lists of a policy have them.
//
// What it does: it parses one, and says what would be right where it is none, as people who
// write lists by hand get them wrong; and it cuts a list of megabytes into lines.
//
// What it does not do: it does not know whose list it is, nor how wide a wildcard may be.
//
//	p, wrong := patterns.Parse("*.example.org")
//	for chunk := range patterns.Chunks(data) { for line := range strings.Lines(string(chunk)) { … } }
package patterns

import (
	"bytes"
	"iter"
	"net/netip"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/yamlread"
)

// Parse parses one pattern; text is what is wrong with it, or "".
func Parse(s string) (p hostname.Pattern, text string) {
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

// TooWide is what is wrong with a wildcard over a public suffix.
func TooWide(p hostname.Pattern) string {
	return yamlread.Quote(p.String()) + " covers every name of a public registry; write the names that are needed"
}

// ChunkSize is how much of a list is hashed and copied at once: neither a hash
// nor a copy of megabytes can be interrupted, and the collector stops the
// requests too while it waits for the end of one.
const ChunkSize = 8 << 10

// Chunks cuts data at ends of lines.
func Chunks(data []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for len(data) > 0 {
			n := min(len(data), ChunkSize)
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

// Uncomment drops a comment and the space around the rest.
func Uncomment(line string) string {
	if i := strings.IndexByte(line, '#'); i >= 0 {
		line = line[:i]
	}
	return strings.TrimSpace(line)
}
