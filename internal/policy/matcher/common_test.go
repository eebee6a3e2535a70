package matcher

import (
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
)

// setOf compiles a set of its own seed; a text that begins with "*." is a wildcard.
func setOf(t testing.TB, texts []string) *List {
	t.Helper()
	var patterns []hostname.Pattern
	for _, text := range texts {
		p, err := hostname.ParsePattern(text)
		if err != nil {
			t.Fatal(err)
		}
		patterns = append(patterns, p)
	}
	l, err := NewSet(maphash.MakeSeed(), patterns)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// Lists are edited, sorted anew, and made of others; Common is what a map of both says.
func TestCommonIsWhatAMapSays(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 400 {
		var old, now []string
		for range r.IntN(60) {
			old = append(old, fmt.Sprintf("%sh%d.test", []string{"", "*."}[r.IntN(2)], r.IntN(40)))
		}
		for _, text := range old {
			switch r.IntN(6) {
			case 0: // taken out
			case 1:
				now = append(now, text, fmt.Sprintf("n%d.test", r.IntN(40)))
			default:
				now = append(now, text)
			}
		}
		if round%3 == 0 {
			r.Shuffle(len(now), func(i, j int) { now[i], now[j] = now[j], now[i] })
		}
		is, want := map[string]bool{}, 0
		for _, text := range now {
			is[text] = true
		}
		slices.Sort(old)
		for _, text := range slices.Compact(slices.Clone(old)) {
			if is[text] {
				want++
			}
		}
		a, b := setOf(t, old), setOf(t, now)
		if ab, ba := a.Common(b), b.Common(a); ab != want || ba != want {
			t.Fatalf("%v\n%v\nhave %d and %d in common, want %d", old, now, ab, ba, want)
		}
	}
}

// BenchmarkCommon compares a million names with the same ones, with the same in another
// order, and with others.
func BenchmarkCommon(b *testing.B) {
	of := func(salt string, step int) *List {
		const n = 1_000_000
		texts := make([]string, n)
		for i := range texts {
			texts[i] = fmt.Sprintf("host-%d.%s.example-%d.com", i*step%n, salt, i*step%n%9973)
		}
		return setOf(b, texts)
	}
	now := of("one", 1)
	for _, old := range []struct {
		name string
		list *List
	}{{"same", of("one", 1)}, {"order", of("one", 7919)}, {"other", of("two", 1)}} {
		b.Run(old.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				now.Common(old.list)
			}
		})
	}
}
