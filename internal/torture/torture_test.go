//go:build torture

package torture

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// The flags stand behind -args.
var (
	duration = flag.Duration("duration", 2*time.Minute, "how long the program is tortured")
	seed     = flag.Uint64("seed", 0, "what everything random comes from; 0: the time")
	keep     = flag.String("keep", "", "a folder that keeps the records of each round")
	rate     = flag.Int("rate", 300, "operations a second")
	patched  = flag.String("overlay", "", "a file for go build -overlay, to try a change of the program")
	race     = flag.Bool("racebinary", false, "build the program with the race detector")
)

// settings are what a run is told.
type settings struct {
	binary string // the program
	seed   uint64
	rate   int // operations a second
	keep   string
	round  time.Duration
	// recipes are the kinds of operations and their weights; nil: all, with
	// their own.
	recipes map[string]int
	// faults are those that may strike, repeated as often as they are to; nil: all.
	faults []string
	file   *bool // records go to a file in every round, or to standard output; nil: by turns
}

// weight is how often a recipe is carried out.
func (s settings) weight(one recipe) int {
	if s.recipes == nil {
		return one.weight
	}
	return s.recipes[one.kind]
}

// targeted reports whether the recipes are a choice.
func (s settings) targeted() bool { return s.recipes != nil }

// roundTime is how long faults strike in one round.
const roundTime = 35 * time.Second

func TestNothingIsLostAndNoOneGetsIn(t *testing.T) { torture(t) }

// TestTorture is the name that the run has in scripts.
func TestTorture(t *testing.T) { torture(t) }

// torture runs rounds until the time is over.
func torture(t *testing.T) {
	o := settings{seed: *seed, rate: *rate, keep: *keep, round: roundTime}
	if o.seed == 0 {
		o.seed = uint64(time.Now().UnixNano())
	}
	o.binary = filepath.Join(t.TempDir(), "proxy")
	changed, err := overlay(t.TempDir(), *patched)
	if err != nil {
		t.Fatal(err)
	}
	if err := build(t.Context(), o.binary, changed, *race); err != nil {
		t.Fatal(err)
	}
	fmt.Printf("torture: seed %d, %s, %d operations a second\n", o.seed, *duration, o.rate)
	w, err := newWorld(t, o)
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	total := newTally()
	for n, end := 1, time.Now().Add(*duration); n == 1 || time.Until(end) > roundTime/2; n++ {
		dir := filepath.Join(t.TempDir(), fmt.Sprint(n))
		one, err := w.play(t.Context(), n, dir)
		if err != nil {
			t.Fatal(err)
		}
		if len(one.violations) == 0 {
			_ = os.RemoveAll(dir)
		}
		fmt.Print(one.line(n))
		total.add(one)
		if len(one.violations) > 0 {
			t.Errorf("round %d: %d violations", n, one.broken)
			for _, v := range one.violations {
				t.Error(v)
			}
		}
	}
	total.struck = w.timeline.struck
	fmt.Print(total)
	if len(total.violations) > 0 {
		fmt.Printf("seed %d; the first violations of each round:\n  %s\n", o.seed, strings.Join(total.violations, "\n  "))
	}
}

// tally is what rounds add up to.
type tally struct {
	operations map[string]map[string]int // kind, then outcome
	struck     map[string]int
	records    int
	boots      int
	contacts   int
	queries    int
	broken     int            // all violations
	kinds      map[string]int // violations by their format
	violations []string
	took       time.Duration
	notes      []string
	last       metrics // of the last process, at rest
}

// newTally returns an empty one.
func newTally() *tally {
	return &tally{operations: map[string]map[string]int{}, kinds: map[string]int{}}
}

// maxViolations is how many are listed of one kind in one round.
const maxViolations = 4

// violation notes one.
func (t *tally) violation(format string, args ...any) {
	t.broken++
	if t.kinds[format]++; t.kinds[format] <= maxViolations {
		t.violations = append(t.violations, fmt.Sprintf(format, args...))
	}
}

// count counts an operation.
func (t *tally) count(kind, outcome string) {
	if t.operations[kind] == nil {
		t.operations[kind] = map[string]int{}
	}
	t.operations[kind][outcome]++
}

// add adds a round.
func (t *tally) add(one *tally) {
	for kind, outcomes := range one.operations {
		for outcome, n := range outcomes {
			for range n {
				t.count(kind, outcome)
			}
		}
	}
	t.records += one.records
	t.boots += one.boots
	t.contacts += one.contacts
	t.queries += one.queries
	t.broken += one.broken
	t.violations = append(t.violations, one.violations[:min(len(one.violations), maxViolations)]...)
	t.took += one.took
	t.notes = append(t.notes, one.notes...)
}

// all counts operations.
func (t *tally) all() (n int) {
	for _, outcomes := range t.operations {
		for _, one := range outcomes {
			n += one
		}
	}
	return n
}

// line says how one round went.
func (t *tally) line(n int) string {
	s := fmt.Sprintf("round %d: %d operations, %d boots, %d records, %d contacts, %d questions upstream, %d violations, checked in %s\n",
		n, t.all(), t.boots, t.records, t.contacts, t.queries, t.broken, t.took.Round(time.Millisecond))
	for _, note := range t.notes {
		s += "  " + note + "\n"
	}
	return s
}

// String is the table at the end.
func (t *tally) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\noperations                          number  outcomes\n")
	for _, kind := range sortedKeys(t.operations) {
		outcomes, n, words := t.operations[kind], 0, []string{}
		keys := sortedKeys(outcomes)
		slices.SortFunc(keys, func(a, b string) int { return cmp.Or(outcomes[b]-outcomes[a], strings.Compare(a, b)) })
		for _, k := range keys {
			n += outcomes[k]
			words = append(words, fmt.Sprintf("%s %d", k, outcomes[k]))
		}
		fmt.Fprintf(&b, "  %-32s %7d  %s\n", kind, n, strings.Join(words, ", "))
	}
	fmt.Fprintf(&b, "\nfaults                              number\n")
	for _, kind := range sortedKeys(t.struck) {
		fmt.Fprintf(&b, "  %-32s %7d\n", kind, t.struck[kind])
	}
	fmt.Fprintf(&b, "\n%d operations, %d boots, %d records, %d contacts of origins, %d questions upstream: %d violations\n",
		t.all(), t.boots, t.records, t.contacts, t.queries, t.broken)
	return b.String()
}

// keepFiles copies a round's records where they are to be kept.
func keepFiles(to string, seed uint64, round int, files []string) error {
	if to == "" {
		return nil
	}
	dir := filepath.Join(to, fmt.Sprintf("seed-%d-round-%03d", seed, round))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(f)), b, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// sleep waits, unless ctx ends before.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
