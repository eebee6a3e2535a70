package evidence

import (
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"
)

// broken gives v n records of b1 that follow on nothing: each has the number after the
// next, from the given one on, and the hash of none. It returns the number after them.
func broken(v *Verifier, from, n int) int {
	for range n {
		v.Add(Line{File: "f", Number: 1, Raw: fmt.Appendf(nil, `{"event":"refused","boot":"b1","seq":%d,"prev":"%064d"}`, from, 0)})
		from += 2
	}
	return from
}

func TestBreaksBeyondTheRoomAreNotWhole(t *testing.T) {
	v := NewVerifier()
	v.maxSegments = 2 * maxFindings
	broken(v, 1, 3*maxFindings)
	res := v.Result()
	if res.Whole || len(res.Findings) != 1 || res.Findings[0].Kind != KindDisorder || v.segments != v.maxSegments {
		t.Errorf("%d segments, %+v", v.segments, res.Findings)
	}
	if b := res.Processes[0]; len(b.Findings) != maxFindings || b.More != uint64(v.maxSegments)-maxFindings {
		t.Errorf("%d findings and %d more", len(b.Findings), b.More)
	}
}

// Totals tell again what is missing from there on, of a gap that is not listed.
func TestGapThatIsNotListedIsCounted(t *testing.T) {
	v := NewVerifier()
	seq := broken(v, 1, maxFindings)
	for range 2 {
		v.Add(Line{File: "f", Number: 1, Raw: fmt.Appendf(nil, `{"event":"heartbeat","boot":"b1","seq":%d,"prev":"%064d","totals":{"refused":{"x":%d}}}`, seq, 0, seq)})
		seq += 2
	}
	if b := v.Result().Processes[0]; len(b.Findings) != maxFindings || b.More != 2 {
		t.Errorf("%d findings and %d more", len(b.Findings), b.More)
	}
}

func TestPartsThatAreKeptAreBounded(t *testing.T) {
	v := NewVerifier()
	broken(v, 1, 1)
	for range 2 * maxFindings {
		v.Add(Line{File: "f", Number: 1, Raw: []byte(`{"time":"2026`)})
	}
	res := v.Result()
	if got := res.Processes[0].Tail.Partial; got != maxFindings || res.Unreadable != 2*maxFindings {
		t.Errorf("%d parts are kept of %d", got, res.Unreadable)
	}
}

func TestLinesAreDigestedInBatchesAsManyAsThereAreProcessors(t *testing.T) {
	for what, line := range map[string]struct {
		size  int
		batch int // lines of this size that make a batch
	}{
		"lines": {10, batchLines},
		"bytes": {batchBytes / 4, 4},
	} {
		v := NewVerifier()
		for i := range 10 * runtime.GOMAXPROCS(0) * line.batch {
			if sent := len(v.inflight); i < line.batch && sent > 0 {
				t.Fatalf("%s: a batch of %d", what, i)
			}
			v.Add(Line{File: "f", Number: 1, Raw: []byte(strings.Repeat(" ", line.size))})
			if i+1 == line.batch && len(v.inflight) != 1 {
				t.Fatalf("%s: %d batches after %d", what, len(v.inflight), i+1)
			}
		}
		if got := len(v.inflight); got != runtime.GOMAXPROCS(0)+1 {
			t.Errorf("%s: %d batches are under way", what, got)
		}
		v.Result()
	}
}

func TestPairsBeyondTheMostCountAsOne(t *testing.T) {
	k := newKeys()
	for i := range 2 * maxKeys {
		want := min(i, maxKeys-1)
		for range 2 {
			if got := k.of([]byte("refused"), fmt.Append(nil, i)); got != want {
				t.Fatalf("pair %d has the number %d", i, got)
			}
		}
	}
	if len(k.names) != maxKeys {
		t.Errorf("%d names", len(k.names))
	}
}

func TestDifferencesAreNamedUpToEight(t *testing.T) {
	k := newKeys()
	var claimed sums
	want := ""
	for i := range 10 {
		claimed.add(k.of([]byte("refused"), []byte{'a' + byte(i)}), 2)
		found := sums{2}
		switch {
		case i == 0: // the same in both
		case i <= 8:
			want += fmt.Sprintf(", refused/%c 2 for 0", 'a'+i)
		default:
			want += ", …"
		}
		if got := k.difference(claimed, found); got != strings.TrimPrefix(want, ", ") {
			t.Errorf("%d differences: %s", i, got)
		}
	}
}

// A difference wraps where there are more records than a total has.
func TestOnlyWhatIsMissingIsNamed(t *testing.T) {
	k := newKeys()
	for _, reason := range []string{"none", "more", "one", "most"} {
		k.of([]byte("refused"), []byte(reason))
	}
	if got := k.missing(sums{0, math.MaxUint64, 1, math.MaxInt64}); got != "1 of refused/one, 9223372036854775807 of refused/most" {
		t.Error(got)
	}
}

func TestNameThatIsNoPlainWordIsQuoted(t *testing.T) {
	for name, want := range map[string]string{
		"refused/host_not_allowed":    "refused/host_not_allowed",
		"az/AZ":                       "az/AZ",
		"a`":                          "\"a`\"",
		"a{":                          `"a{"`,
		"@A":                          `"@A"`,
		"[A":                          `"[A"`,
		"a b":                         `"a b"`,
		"a\x1b[2J":                    `"a\x1b[2J"`,
		"1" + strings.Repeat("a", 90): `"1` + strings.Repeat("a", 79) + `"`,
	} {
		if got := quoteKey(name); got != want {
			t.Errorf("%q is named %s, want %s", name, got, want)
		}
	}
}
