package diff

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
)

// change puts what was found into words: which ports, which addresses, when.
func (c *comparison) change(k kind, r Region, ports []hostname.PortRange) Change {
	ch := Change{Region: r, Part: k.inPart, Carries: k.carries, Ports: hostname.MergePorts(ports), When: c.spans(k.when)}
	if c.otherPort.First > 0 && slices.Contains(ports, c.otherPort) {
		ch.Ports, ch.EveryPort = nil, true
		for _, p := range c.ports {
			if !slices.Contains(ports, p) {
				ch.NotPorts = append(ch.NotPorts, p)
			}
		}
		ch.NotPorts = hostname.MergePorts(ch.NotPorts)
	}
	if k.inPart != "" {
		return ch // an address is its own
	}
	ch.Public = k.addresses[0] == '1'
	in := map[int]bool{}
	for i, index := range c.indexes {
		if k.addresses[i+1] == '1' {
			in[index] = true
		}
	}
	ch.Addresses = c.places.describe(in)
	return ch
}

// spans returns the times that bits stand for, nil for from now on.
func (c *comparison) spans(bits string) (all []Span) {
	if strings.IndexByte(bits, '0') < 0 {
		return nil
	}
	for i := 0; i < len(bits); i++ {
		if bits[i] == '0' {
			continue
		}
		var s Span
		if i > 0 {
			s.From = c.starts[i].Format(time.DateOnly)
		}
		for i < len(bits) && bits[i] == '1' {
			i++
		}
		if i < len(bits) {
			s.Until = c.starts[i].AddDate(0, 0, -1).Format(time.DateOnly)
		}
		all = append(all, s)
	}
	return all
}

// wholeRanges tells of both parts of a range as one where they are alike, and names none
// where the range has no other.
func wholeRanges(trees map[string]*regions, all []Change) (rest []Change) {
	mixed := map[string]bool{}
	public, special := trees[partPublic], trees[partSpecial]
	for i := range public.list {
		mixed[public.list[i].text] = public.populated(i) && special.populated(i)
	}
	seen := map[string]int{}
	for _, ch := range all {
		if ch.Part != "" && !mixed[ch.Covers] {
			ch.Part = ""
		}
		if ch.Part == "" {
			rest = append(rest, ch)
			continue
		}
		alike := fmt.Sprint(ch.Covers, ch.Except, ch.Ports, ch.NotPorts, ch.Carries, ch.When)
		if i, ok := seen[alike]; ok {
			rest[i].Part = ""
			continue
		}
		seen[alike] = len(rest)
		rest = append(rest, ch)
	}
	return rest
}

// carried are the words for what a change lets through; TLS to the name is what one expects.
var carried = map[string]string{"tls": "", "any": ", any protocol", "other": ", what is not TLS to it"}

// details says everything about a change but what it covers.
func (ch *Change) details() string {
	var b strings.Builder
	switch {
	case ch.EveryPort:
		b.WriteString(" on every port" + but(ch.NotPorts))
	case len(ch.Ports) == 1 && ch.Ports[0].First == ch.Ports[0].Last:
		fmt.Fprintf(&b, " on port %s", ch.Ports[0])
	default:
		b.WriteString(" on ports " + list(ch.Ports))
	}
	b.WriteString(carried[ch.Carries])
	if len(ch.Addresses) > 0 {
		var where []string
		for _, r := range ch.Addresses {
			where = append(where, r.Covers+but(r.Except))
		}
		word := ", only at "
		if ch.Public {
			word = ", also at "
		}
		b.WriteString(word + list(where))
	}
	for i, s := range ch.When {
		b.WriteString(map[bool]string{true: ", ", false: " and "}[i == 0] + s.String())
	}
	return b.String()
}

// String says when it is: "from 2027-02-01 until 2027-03-31".
func (s Span) String() string {
	var parts []string
	if s.From != "" {
		parts = append(parts, "from "+s.From)
	}
	if s.Until != "" {
		parts = append(parts, "until "+s.Until)
	}
	return strings.Join(parts, " ")
}

// but says what is left out, "" where nothing is.
func but[T any](all []T) string {
	if len(all) == 0 {
		return ""
	}
	return " but for " + list(all)
}

// listed is how many words a line of text lists; JSON has them all.
const listed = 20

// list lists words.
func list[T any](all []T) string {
	var s []string
	for _, x := range all[:min(len(all), listed)] {
		s = append(s, fmt.Sprint(x))
	}
	if more := len(all) - listed; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(s, ", "), more)
	}
	return strings.Join(s, ", ")
}
