package networkfirewall

import (
	"strconv"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/yamlread"
)

// parsePorts reads the ports of a rule: any, 443, 8000:8010, !80, $NAME, or a list of these in
// brackets, of which those with ! are taken out of the others, or else of all.
func (r *reader) parsePorts(s string) (all []hostname.PortRange, wrong string) {
	if s == "any" {
		return allPorts(), ""
	}
	not := false
	if inner, found := strings.CutPrefix(s, "!["); found {
		s, not = "["+inner, true
	}
	s = strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")
	var out []hostname.PortRange
	for item := range strings.SplitSeq(s, ",") {
		item, without := strings.CutPrefix(strings.TrimSpace(item), "!")
		ports, ok := r.portItem(item)
		switch {
		case !ok:
			return nil, yamlread.Quote(item) + " is neither a port nor a range or a list of them; write any, 443, 8000:8010 or [80,443]"
		case without:
			out = append(out, ports...)
		default:
			all = append(all, ports...)
		}
	}
	if all == nil {
		all = allPorts()
	}
	if all = subtract(hostname.MergePorts(all), out); not {
		all = subtract(allPorts(), all)
	}
	return all, ""
}

// portItem reads one port, one range, or the name of a variable.
func (r *reader) portItem(s string) ([]hostname.PortRange, bool) {
	if name, isName := strings.CutPrefix(s, "$"); isName {
		ports, ok := r.portSets[name]
		return ports, ok
	}
	first, last, isRange := strings.Cut(s, ":")
	if !isRange {
		last = first
	}
	if first == "" && last == "" {
		return nil, false
	}
	a, aOK := portNumber(first, 1)
	b, bOK := portNumber(last, 65535)
	return []hostname.PortRange{{First: a, Last: b}}, aOK && bOK && a <= b
}

// portNumber reads the end of a range, which may be open.
func portNumber(s string, open uint16) (uint16, bool) {
	if s == "" {
		return open, true
	}
	n, err := strconv.ParseUint(s, 10, 16)
	return uint16(n), err == nil && n > 0
}

// subtract returns the ports of all, which are merged, that are none of out.
func subtract(all, out []hostname.PortRange) []hostname.PortRange {
	for _, o := range out {
		var rest []hostname.PortRange
		for _, a := range all {
			if o.Last < a.First || a.Last < o.First {
				rest = append(rest, a)
				continue
			}
			if a.First < o.First {
				rest = append(rest, hostname.PortRange{First: a.First, Last: o.First - 1})
			}
			if o.Last < a.Last {
				rest = append(rest, hostname.PortRange{First: o.Last + 1, Last: a.Last})
			}
		}
		all = rest
	}
	return all
}

// overlap reports whether two lists have a port in common.
func overlap(a, b []hostname.PortRange) bool {
	for _, x := range a {
		for _, y := range b {
			if x.First <= y.Last && y.First <= x.Last {
				return true
			}
		}
	}
	return false
}
