package matcher

import (
	"hash/maphash"
	"slices"
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
)

// A collision of 64-bit hashes cannot be made from outside, hence this test
// of the table itself.
func TestEqualHashesAreNotEqualNames(t *testing.T) {
	const h = 0x1234_5678_9abc_def0
	tab := newTable(3, len("a.test")+len("b.test")+len("b.test"))
	tab.insert(h, "a.test", Entry{Index: 1})
	tab.insert(h, "b.test", Entry{Index: 2})
	tab.insert(h, "b.test", Entry{Index: 3, Line: 4, Conditions: 5})
	for text, want := range map[string][]Entry{
		"a.test": {{Index: 1}},
		"b.test": {{Index: 2}, {Index: 3, Line: 4, Conditions: 5}},
		"c.test": nil,
		"a.tes":  nil,
		"":       nil,
	} {
		if got := entriesFor(&tab, h, text); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", text, got, want)
		}
	}
}

// entriesFor returns what a table has for a text, and looks twice behind the end.
func entriesFor(tab *table, h uint64, text string) (all []Entry) {
	var c Cursor
	c.find(tab, h, text)
	for e, ok := c.Next(); ok; e, ok = c.Next() {
		all = append(all, e)
	}
	if e, ok := c.Next(); ok {
		all = append(all, e)
	}
	return all
}

// Hashes that all have one home fill bucket after bucket, and begin again at
// the first.
func TestFullBucketsPassEntriesOnInTheirOrder(t *testing.T) {
	for _, home := range []uint64{0, 1<<32 - 1} {
		const n = 100
		tab := newTable(n, n*len("x.test"))
		var want []Entry
		for i := range n {
			e := Entry{Index: int32(i)}
			if i%3 == 0 {
				tab.insert(home, "x.test", e)
				want = append(want, e)
			} else {
				tab.insert(home|uint64(i)<<56, "y.test", e)
			}
		}
		if got := entriesFor(&tab, home, "x.test"); !slices.Equal(got, want) || !tab.mayHave(home) {
			t.Errorf("home %d: got %v, want %v", home, got, want)
		}
		if got := entriesFor(&tab, home, "z.test"); got != nil {
			t.Errorf("home %d: got %v for what is not there", home, got)
		}
	}
}

func TestTagIsSeenInItsSlotsAndNowhereElse(t *testing.T) {
	for slot := range slots {
		for tag := 1; tag < 256; tag++ {
			var b bucket
			for i := range slot + 1 {
				b.tags[i] = uint8(tag ^ 1 | 2*i) // others, near to it
				if b.tags[i] == uint8(tag) {
					b.tags[i] = ^uint8(tag)
				}
			}
			if got := b.match(uint8(tag)); got != 0 {
				t.Fatalf("tag %d is seen in slots %b among %v", tag, got, b.tags)
			}
			b.tags[0], b.tags[slot] = uint8(tag), uint8(tag)
			if got := b.match(uint8(tag)); got != 1|1<<slot {
				t.Fatalf("tag %d is seen in slots %b of %v", tag, got, b.tags)
			}
		}
	}
	if tagOf(0) == 0 {
		t.Error("a tag says that its slot is empty")
	}
}

// candidatesFor returns the texts of a name that may be there.
func candidatesFor(g *Group, name string) (all []string) {
	var c Candidates
	for c.Begin(g, name); c.Next(); {
		text := c.text
		if c.wild {
			text = "*." + text
		}
		if want := strings.TrimPrefix(text, "*."); c.Suffix() != "" && c.Suffix() != want || c.hash != maphash.String(g.seed, want) {
			text += " with the hash or the suffix of another"
		}
		all = append(all, text)
	}
	return all
}

// groupOf compiles patterns to a group of one list.
func groupOf(t *testing.T, patterns ...string) Group {
	t.Helper()
	b := Builder{Seed: maphash.MakeSeed()}
	for _, s := range patterns {
		p, err := hostname.ParsePattern(s)
		if err != nil {
			t.Fatal(err)
		}
		b.Add(p, Entry{})
	}
	l, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return NewGroup(b.Seed, l)
}

func TestCandidatesAreTheNameAndThenItsSuffixesLongestFirst(t *testing.T) {
	name := strings.Repeat("a.", 126) + "a"
	want := []string{name}
	for rest := name[2:]; ; rest = rest[2:] {
		want = append(want, "*."+rest)
		if rest == "a" {
			break
		}
	}
	g := groupOf(t, want...)
	if got := candidatesFor(&g, name); !slices.Equal(got, want) {
		t.Errorf("got %d Candidates, want %d: %q", len(got), len(want), got)
	}
}

func TestTextsThatNoPatternCanHaveAreNotLookedFor(t *testing.T) {
	g := groupOf(t, "a.b.c.d", "*.b.c.d", "*.d")
	for name, want := range map[string]int{
		"a.b.c.d":     3, // itself, *.b.c.d, *.d
		"x.a.b.c.d":   2, // no name is that long
		"x.b.ccc":     1, // itself; no wildcard has two labels
		"e.f.g.h.ddd": 0, // no wildcard of one label is that long
		"d":           0,
		"":            0,
	} {
		var c Candidates
		if c.Begin(&g, name); c.left != want {
			t.Errorf("%s: %d texts are looked for, want %d", name, c.left, want)
		}
	}
	var none Group
	if got := candidatesFor(&none, "a.b.c.d"); got != nil {
		t.Errorf("without a list: %q", got)
	}
}
