package config

import (
	"hash/maphash"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/yamlread"
)

// maxSameHost is how many rules of one function may have the same host. A decision looks
// at all of them, and so does whoever puts another one into the table.
const maxSameHost = 1000

// checkRepeats notes a host that too many rules of the list n have. It counts many hosts
// together first, which is little memory for a million of them, and by themselves
// only those of a count that is too large.
func (r *reader) checkRepeats(n yamlread.Node, rules []policy.RuleSpec) {
	if len(rules) <= maxSameHost {
		return
	}
	seed, together := maphash.MakeSeed(), make([]uint32, 1<<16)
	count := func(p hostname.Pattern) *uint32 {
		return &together[maphash.Comparable(seed, p)%uint64(len(together))]
	}
	for i := range rules {
		for _, p := range rules[i].Pattern.Parts() {
			*count(p)++
		}
	}
	single := map[hostname.Pattern]int{}
	for i := range rules {
		for _, p := range rules[i].Pattern.Parts() {
			if *count(p) <= maxSameHost {
				continue
			}
			if single[p]++; single[p] == maxSameHost+1 {
				r.FailAt(yamlread.Position{File: n.Position().File, Line: rules[i].Line}, n.Path(),
					"%s has more than %d rules; write fewer", yamlread.Quote(p.String()), maxSameHost)
			}
		}
	}
}
