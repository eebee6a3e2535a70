package policy

import "testing"

// A collision of 64-bit hashes cannot be made from outside, hence this test
// of the table itself.
func TestEqualHashesAreNotEqualNames(t *testing.T) {
	const h = 0x1234_5678_9abc_def0
	tab := newTable(3, len("a.test")+len("b.test")+len("b.test"))
	tab.insert(h, "a.test", entry{index: 1})
	tab.insert(h, "b.test", entry{index: 2})
	tab.insert(h, "b.test", entry{index: 3, line: 4, terms: 5})
	for text, want := range map[string][]entry{
		"a.test": {{index: 1}},
		"b.test": {{index: 2}, {index: 3, line: 4, terms: 5}},
		"c.test": nil,
		"a.tes":  nil,
		"":       nil,
	} {
		c := tab.find(h, text)
		for _, e := range want {
			if got, ok := c.next(); !ok || got != e {
				t.Errorf("%s: got %v, %t, want %v", text, got, ok, e)
			}
		}
		if got, ok := c.next(); ok {
			t.Errorf("%s: %v beyond the last", text, got)
		}
	}
}

func TestTheSuffixesOfANameAreWalkedLongestFirst(t *testing.T) {
	for most, want := range [][]string{nil, {"d"}, {"c.d", "d"}, {"b.c.d", "c.d", "d"}, {"b.c.d", "c.d", "d"}} {
		s := newSuffixes("a.b.c.d", most)
		for _, text := range want {
			got, labels, ok := s.next()
			if !ok || got != text || labels != countLabels(text) {
				t.Errorf("at most %d labels: got %q with %d, want %q", most, got, labels, text)
			}
		}
		if got, _, ok := s.next(); ok {
			t.Errorf("at most %d labels: %q beyond the last", most, got)
		}
	}
}
