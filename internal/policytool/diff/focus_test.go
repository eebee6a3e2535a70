package diff

import (
	"fmt"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
)

// A set that is the same but for a name is not asked about name by name.
func TestWhatASharedSetHasInBothIsLeftOut(t *testing.T) {
	conditions := &policy.Conditions{}
	pattern := func(text string) hostname.Pattern {
		p, err := hostname.ParsePattern(text)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	var set []hostname.Pattern
	for i := range 5000 {
		set = append(set, pattern(fmt.Sprintf("h%d.d%d.example", i, i%50)))
	}
	for text, want := range map[string]int{"new.example": 1, "*.d7.example": 101, "h1.d1.example": 0} {
		old := policy.Spec{Sets: [][]hostname.Pattern{set}}
		fresh := policy.Spec{Sets: [][]hostname.Pattern{append(set[:len(set):len(set)], pattern(text))}}
		f := &policy.FunctionSpec{Name: "f", Rules: []policy.RuleSpec{{Set: 1, Conditions: conditions}}}
		from, to := newFocus(&old, &fresh).on(f, f)
		for _, side := range []*policy.FunctionSpec{from, to} {
			kept := map[hostname.Pattern]bool{}
			for _, r := range side.Rules {
				if !r.Pattern.IsZero() {
					kept[r.Pattern] = true
				}
			}
			if len(kept) != want {
				t.Errorf("%s: %d patterns are left, want %d", text, len(kept), want)
			}
		}
	}
}
