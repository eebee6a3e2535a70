package config

import (
	"slices"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/yamlread"
)

// ports reads the ports of a rule or of a set: numbers, and ranges such as 8000-8010.
func (r *reader) ports(n yamlread.Node) (all []hostname.PortRange) {
	var items []yamlread.Node // of all
	if r.List(n, func(item yamlread.Node) {
		if p, ok := r.portRange(item); ok {
			all, items = append(all, p), append(items, item)
		}
	}) && n.Len() == 0 {
		r.Fail(n, "there is no port; write at least one, or leave the key out")
	}
	r.portsOnce(all, items)
	return all
}

// portRange reads a port or a range of them.
func (r *reader) portRange(n yamlread.Node) (hostname.PortRange, bool) {
	if !n.IsText() || !strings.Contains(n.Text(), "-") {
		port, ok := r.Integer(n, 1, 65535)
		return hostname.Port(uint16(port)), ok
	}
	s, ok := r.Scalar(n, "a port, or a range such as 8000-8010")
	if !ok {
		return hostname.PortRange{}, false
	}
	p, err := hostname.ParsePortRange(s)
	if err != nil {
		r.Fail(n, "%s is %s", yamlread.Quote(s), yamlread.OneLine(err.Error()))
		return hostname.PortRange{}, false
	}
	return p, true
}

// portsOnce notes ports that a list has twice; items are the places of all.
func (r *reader) portsOnce(all []hostname.PortRange, items []yamlread.Node) {
	order := make([]int, len(all))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return int(all[a].First) - int(all[b].First) })
	widest := 0 // in order: the range that ends last so far
	for i := 1; i < len(order); i++ {
		this, before := order[i], order[widest]
		if all[this].First <= all[before].Last {
			again, other := max(this, before), min(this, before)
			if all[again] == all[other] {
				r.Fail(items[again], "%s is listed twice; write it once", all[again])
			} else {
				r.Fail(items[again], "%s and %s have ports in common; write each once", all[again], all[other])
			}
		}
		if all[this].Last > all[before].Last {
			widest = i
		}
	}
}
