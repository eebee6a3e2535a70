package convert_test

import (
	"reflect"
	"strings"
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

func TestShortenedRulesAllowTheSame(t *testing.T) {
	rules := func(all ...string) (out []convert.Rule) {
		for _, s := range all {
			form, port, _ := strings.Cut(s, ":")
			p, err := hostname.ParsePattern(form)
			if err != nil {
				t.Fatal(err)
			}
			ports, err := hostname.ParsePortRange(port)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, convert.Rule{Pattern: p, Ports: []hostname.PortRange{ports}})
		}
		return out
	}
	for _, c := range []struct{ in, want []string }{
		{[]string{"a.test:1-2", "*.a.test:1-2"}, []string{".a.test:1-2"}},
		{[]string{"a.test:1-2", "*.a.test:1-3"}, []string{"a.test:1-2", "*.a.test:1-3"}},
		{[]string{"a.test:1-2", "*.test.b:1-2", "x.test.b:1-2", "y.test.b:1-3"}, []string{"a.test:1-2", "*.test.b:1-2", "y.test.b:1-3"}},
		{[]string{"x.a.test:1-2", "*.x.a.test:1-2", "*.a.test:1-9"}, []string{"*.a.test:1-9"}},
	} {
		if got, want := convert.Shortened(rules(c.in...)), rules(c.want...); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %v, want %q", c.in, got, c.want)
		}
	}
}

func TestAFreeLabelIsInNoName(t *testing.T) {
	var names []hostname.Name
	for _, s := range []string{"x0.example", "ax1.example", strings.Repeat("x", 63) + ".x2"} {
		n, err := hostname.ParseName(s)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, n)
	}
	if got := convert.FreeLabel(names); got != "x3" {
		t.Errorf("%q", got)
	}
}
