package convert_test

import (
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/convert"
)

// has is the slow twin: whether a pattern has a name, by its parts.
func has(p hostname.Pattern, name string) bool {
	above := p.Name().String()
	below := len(name) > len(above)+1 && name[len(name)-len(above)-1:] == "."+above
	return p.Exact() && name == above || p.Wildcard() && below
}

func TestCoverAndOverlapAreWhatTheNamesOfBothPatternsSay(t *testing.T) {
	names := []string{"a.test", "b.a.test", "c.b.a.test", "x.a.test", "xa.test", "y.xa.test", "d.c.b.a.test", "e.b.a.test", "e.c.b.a.test"}
	var all []hostname.Pattern
	for _, s := range []string{"a.test", "b.a.test", "c.b.a.test", "xa.test"} {
		for _, before := range []string{"", "*.", "."} {
			p, err := hostname.ParsePattern(before + s)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, p)
		}
	}
	for _, a := range all {
		for _, b := range all {
			covers, overlap := true, false
			for _, name := range names {
				covers = covers && (has(a, name) || !has(b, name))
				overlap = overlap || has(a, name) && has(b, name)
			}
			if got := convert.Covers(a, b); got != covers {
				t.Errorf("Covers(%s, %s) = %t", a, b, got)
			}
			if got := convert.Overlap(a, b); got != overlap {
				t.Errorf("Overlap(%s, %s) = %t", a, b, got)
			}
		}
	}
}
