package against

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/benchmarks/internal/stats"
)

// collected collects from samples that are given instead of measured.
func collected(t *testing.T, rounds int, kinds ...kind) *samples {
	t.Helper()
	both := [2]*side{{}, {}}
	open := func(int) ([2]*side, func(), func(), error) { return both, func() {}, func() {}, nil }
	for i := range kinds {
		sample := kinds[i].sample
		kinds[i].sample = func(s *side) ([]float64, error) {
			if s == both[0] {
				return sample(nil)
			}
			return sample(s)
		}
	}
	all, err := collect(t.Context(), kinds, open, func(done int) bool { return done < rounds }, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// An old build's side is nil in the samples of these tests.
func isOld(s *side) bool { return s == nil }

func TestBuildsAreMeasuredInTurnAndEachIsFirstInEveryOtherRound(t *testing.T) {
	t.Parallel()
	var calls []string
	say := func(name string) func(*side) ([]float64, error) {
		return func(s *side) ([]float64, error) {
			calls = append(calls, name+map[bool]string{true: "-old", false: "-new"}[isOld(s)])
			return []float64{1}, nil
		}
	}
	collected(t, 2,
		kind{name: "a", figures: []string{"a"}, sample: say("a")},
		kind{name: "b", figures: []string{"b"}, sample: say("b"), apart: true},
		kind{name: "c", figures: []string{"c"}, sample: say("c")},
	)
	want := "a-old a-new a-new a-old c-old c-new c-new c-old b-new b-old" +
		" a-new a-old a-old a-new c-new c-old c-old c-new b-old b-new"
	if got := strings.Join(calls, " "); got != want {
		t.Errorf("measured\n%s, want\n%s", got, want)
	}
}

func TestPairsAreOfTheSameRoundAndOldComesFirst(t *testing.T) {
	t.Parallel()
	olds, news := []float64{90, 110, 150, 250, 50, 50}, []float64{100, 120, 240, 200, 60, 50}
	all := collected(t, 3, kind{name: "cost", figures: []string{"cost, µs", "twice"}, sample: func(s *side) ([]float64, error) {
		from := &news
		if isOld(s) {
			from = &olds
		}
		v := (*from)[0]
		*from = (*from)[1:]
		return []float64{v, 2 * v}, nil
	}})
	figures := all.figures()
	if want := []stats.Pair{{Old: 100, New: 110}, {Old: 200, New: 220}, {Old: 50, New: 55}}; len(figures) != 2 || !slices.Equal(figures[0].Pairs, want) {
		t.Fatalf("figures are %+v", figures)
	}
	for _, f := range figures {
		if got := fmt.Sprintf("%.3f %.3f %.3f", f.Ratio.Ratio, f.Ratio.Low, f.Ratio.High); got != "1.100 1.100 1.100" {
			t.Errorf("%s: ratio, low and high are %s", f.Name, got)
		}
	}
}

func TestSampleThatFailsGivesNoPairAndIsNamed(t *testing.T) {
	t.Parallel()
	n := 0
	all := collected(t, 3, kind{name: "GET", figures: []string{"GET"}, sample: func(s *side) ([]float64, error) {
		n++
		switch n {
		case 1:
			return nil, errors.New("answered 403")
		case 2: // the second round begins with the new build
			return []float64{1, 2}, nil
		}
		return []float64{1}, nil
	}})
	want := []string{"round 1, GET, old: answered 403", "round 2, GET, new: 2 figures, not 1"}
	if !slices.Equal(all.errors, want) || len(all.pairs["GET"]) != 1 {
		t.Errorf("errors %q, pairs %v", all.errors, all.pairs["GET"])
	}
	r := &Result{Limit: 1.03, Figures: all.figures(), Errors: all.errors}
	if err := r.Failure(); err == nil || !strings.Contains(err.Error(), want[0]) {
		t.Errorf("the failure is %v", err)
	}
	r.Errors = nil
	if err := r.Failure(); err == nil || err.Error() != "GET: fewer than two pairs" {
		t.Errorf("the failure is %v", err)
	}
}

func TestBuildThatDoesNotStartEndsTheComparison(t *testing.T) {
	t.Parallel()
	cause, ended, cleaned := errors.New("no such key"), 0, 0
	open := func(int) ([2]*side, func(), func(), error) {
		return [2]*side{}, func() { ended++ }, func() { cleaned++ }, cause
	}
	k := kind{figures: []string{"a"}, sample: func(*side) ([]float64, error) { t.Error("measured"); return nil, nil }}
	if _, err := collect(t.Context(), []kind{k}, open, func(int) bool { return true }, io.Discard); !errors.Is(err, cause) || ended != 1 || cleaned != 1 {
		t.Errorf("got %v; ended %d times, cleaned %d times", err, ended, cleaned)
	}
}

func TestComparisonThatIsInterruptedTakesNoMoreSamples(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	taken, cleaned := 0, 0
	open := func(int) ([2]*side, func(), func(), error) { return [2]*side{}, func() {}, func() { cleaned++ }, nil }
	k := kind{figures: []string{"a"}, apart: true, sample: func(*side) ([]float64, error) { taken++; cancel(); return []float64{1}, nil }}
	_, err := collect(ctx, []kind{k, k}, open, func(int) bool { return true }, io.Discard)
	if !errors.Is(err, context.Canceled) || taken != 2 || cleaned != 1 {
		t.Errorf("got %v after %d samples; cleaned %d times", err, taken, cleaned)
	}
}

func figure(name string, low, high float64) Figure {
	return Figure{Name: name, Pairs: []stats.Pair{{Old: 8, New: 9}, {Old: 10, New: 11}, {Old: 9, New: 10}}, Ratio: stats.Interval{Ratio: (low + high) / 2, Low: low, High: high}}
}

func TestFiguresWhoseIntervalIsAboveTheLimitAreNamed(t *testing.T) {
	t.Parallel()
	r := &Result{Limit: 1.03, Figures: []Figure{figure("up", 1.04, 1.08), figure("wide", 0.9, 1.3), figure("down", 0.8, 0.9), figure("up too", 1.031, 1.2)}}
	var over *OverLimitError
	if err := r.Failure(); !errors.As(err, &over) || err.Error() != "above 1.03 of the old build: up; up too" {
		t.Errorf("got %v", err)
	}
	r.Limit = 1.05
	if err := r.Failure(); err != nil {
		t.Errorf("limit 1.05: %v", err)
	}
	r.Figures = append(r.Figures, Figure{Name: "none", Error: "fewer than two pairs"})
	if err := r.Failure(); errors.As(err, &over) || err == nil {
		t.Errorf("a figure without a ratio: %v", err)
	}
}

func TestTableNamesBothRevisionsAndEachFigureWithSpreadAndInterval(t *testing.T) {
	t.Parallel()
	r := &Result{
		Old: Build{Commit: "0123456789ab"}, New: Build{Commit: "fedcba987654", Changed: true}, Rounds: 3, Seconds: 61.4, Limit: 1.03,
		Figures: []Figure{figure("GET, µs CPU", 1.04, 1.08), {Name: "descriptors", Pairs: []stats.Pair{{Old: 18016, New: 18016.5}, {Old: 0.123456, New: 5}}, Ratio: stats.Interval{Ratio: 1, Low: 1, High: 1}}, figure("bulk, s", 0.9, 1.1), {Name: "lost", Error: "fewer than two pairs"}},
		Missing: []string{"lookups: dnsperf is not installed"}, Errors: []string{"round 1, lost, new: no"},
	}
	const want = `# Two builds

Old: 0123456789ab. New: fedcba987654 with changes. a machine.
3 rounds, interleaved, in 61 s.

| figure | old: min, median, max | new: min, median, max | new/old | 95% interval | beside 1.03 |
|---|---|---|---|---|---|
| GET, µs CPU | 8, 9, 10 | 9, 10, 11 | 1.060 | 1.040 to 1.080 | above |
| descriptors | 0.1235, 9008, 18016 | 5, 9011, 18016 | 1.000 | 1.000 to 1.000 | |
| bulk, s | 8, 9, 10 | 9, 10, 11 | 1.000 | 0.900 to 1.100 | |
| lost | 0, 0, 0 | 0, 0, 0 | – | – | fewer than two pairs |

Not measured: lookups: dnsperf is not installed.

Failed: round 1, lost, new: no
`
	if got := r.Table("a machine"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	r.New = r.Old
	if !strings.Contains(r.Table(""), "Both are the same revision") {
		t.Error("a revision beside itself is not told")
	}
	dir := filepath.Join(t.TempDir(), "results")
	if err := r.Write(dir, ""); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "against.json"))
	if err != nil || !bytes.Contains(raw, []byte(`"commit": "0123456789ab"`)) || bytes.Count(raw, []byte(`"old": 8`)) != 2 {
		t.Errorf("the pairs are not all written: %v, %s", err, raw)
	}
}

// A name that no figure has is no clean bill.
func TestAResultWithoutFiguresIsAFailure(t *testing.T) {
	if err := (&Result{Limit: 1.03}).Failure(); err == nil || !strings.Contains(err.Error(), "-only") {
		t.Errorf("nothing was measured, and the failure is %v", err)
	}
}

func TestQuickBeginsNoRoundThatWouldEndTooLate(t *testing.T) {
	t.Parallel()
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := began.Add(30 * time.Second) // the builds
	more := inTime(began, func() time.Time { return at }, 5)
	done := 0
	for ; more(done); done++ {
		at = at.Add(25 * time.Second)
	}
	// 30 s and three times 25 s are 105 s; a fourth round would end at 130 s.
	if done != 3 || at.Sub(began) > quickTime {
		t.Errorf("%d rounds in %s", done, at.Sub(began))
	}
	at = began
	more = inTime(began, func() time.Time { return at }, 5)
	for done = 0; more(done); done++ {
		at = at.Add(time.Second)
	}
	if done != 5 {
		t.Errorf("%d rounds where five fit", done)
	}
}

func TestKindsHaveAFigureForEachNameAndQuickLeavesSomeOut(t *testing.T) {
	t.Parallel()
	names := func(o Options) (all []string) {
		for _, k := range (&lab{}).kinds(o) {
			all = append(all, k.figures...)
		}
		return all
	}
	whole, quick := names(Options{}), names(Options{Quick: true})
	for _, name := range []string{"allowed CONNECT, µs CPU", "allowed CONNECT, p99 ms", "refused CONNECT, µs CPU", "plain GET, µs CPU",
		"64-byte round trip, 64 tunnels, µs CPU", "bulk down, s CPU/GB", "bulk up, s CPU/GB", "2,500 idle tunnels, MB RSS in all",
		"9,000 idle tunnels, descriptors in all", "reload of 1,000,000 rules, p99 of a CONNECT meanwhile, ms"} {
		slow := strings.HasPrefix(name, "9,000") || strings.HasPrefix(name, "reload")
		if !slices.Contains(whole, name) || slices.Contains(quick, name) == slow {
			t.Errorf("%s: in all %t, quick %t", name, slices.Contains(whole, name), slices.Contains(quick, name))
		}
	}
	if only := names(Options{Only: "bulk"}); len(only) != 2 {
		t.Errorf("-only bulk measures %q", only)
	}
}
