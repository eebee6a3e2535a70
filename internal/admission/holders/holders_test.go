package holders

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// slowTable is Table as one reads it: the places in the order in which they came.
type slowTable []struct {
	key string
	m   *Place[string, int]
}

// largest returns what the oldest place of one that has most may be.
func (s slowTable) largest() (may []*Place[string, int]) {
	n := map[string]int{}
	for _, p := range s {
		n[p.key]++
	}
	most := 0
	for _, k := range n {
		most = max(most, k)
	}
	for _, p := range s {
		if n[p.key] == most {
			may = append(may, p.m)
			n[p.key] = -1 // the others of this caller are newer
		}
	}
	return may
}

// Whoever comes and goes in whatever order, the list by size says what counting says.
func TestTableKnowsWhoHasMost(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var fast Table[string, int]
	var slow slowTable
	for i := range 20000 {
		key := fmt.Sprint(rnd.IntN(1 + i%9))
		switch rnd.IntN(5) {
		case 0, 1, 2:
			m := &Place[string, int]{}
			fast.Add(key, m, i)
			slow = append(slow, slowTable{{key, m}}...)
		default:
			if len(slow) > 0 {
				at := rnd.IntN(len(slow))
				fast.Remove(slow[at].m)
				fast.Remove(slow[at].m) // what is out stays out
				slow = slices.Delete(slow, at, at+1)
			}
		}
		if i%2000 == 1999 {
			for _, p := range slow {
				fast.Remove(p.m)
			}
			slow = nil
		}
		switch may := slow.largest(); {
		case fast.Len() != len(slow):
			t.Fatalf("step %d: %d places, want %d", i, fast.Len(), len(slow))
		case len(may) == 0 && (fast.Largest() != nil || fast.Holders() > 0):
			t.Fatalf("step %d: somebody has most of nothing", i)
		case len(may) > 0 && !slices.Contains(may, fast.Largest()):
			t.Fatalf("step %d: not the oldest place of one that has most", i)
		}
	}
}
