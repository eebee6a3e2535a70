package policy

import (
	"net/netip"

	"github.com/gaissmai/bart"
)

// cidrTable finds the rules for a literal address. The zero cidrTable has none.
type cidrTable struct {
	ranges *bart.Table[*cidrRange] // nil: no rule
}

// cidrRange has the allow entries for the addresses of one prefix.
type cidrRange struct {
	prefix netip.Prefix
	rules  []rule     // in the order of the file
	wider  *cidrRange // the longest prefix that has this one within; nil: none
}

// add adds a rule for the addresses of p.
func (t *cidrTable) add(p netip.Prefix, r rule) {
	p = p.Masked()
	if t.ranges == nil {
		t.ranges = new(bart.Table[*cidrRange])
	}
	if c, ok := t.ranges.Get(p); ok {
		c.rules = append(c.rules, r)
		return
	}
	c := &cidrRange{prefix: p, rules: []rule{r}}
	c.wider, _ = t.ranges.LookupPrefix(p)
	for _, narrower := range t.ranges.Subnets(p) {
		if narrower.wider == c.wider {
			narrower.wider = c
		}
	}
	t.ranges.Insert(p, c)
}

// longest returns the range of the longest prefix that contains a, nil for none.
// What is wider follows by its field.
func (t *cidrTable) longest(a netip.Addr) *cidrRange {
	if t.ranges == nil {
		return nil
	}
	c, _ := t.ranges.Lookup(a)
	return c
}
