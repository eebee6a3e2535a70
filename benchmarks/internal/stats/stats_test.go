package stats

import (
	"errors"
	"math"
	"testing"
)

func near(a, b float64) bool { return math.Abs(a-b) < 1e-3 }

func TestSpreadHasTheMiddleOfTheSamples(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		samples []float64
		want    Spread
	}{
		{nil, Spread{}},
		{[]float64{3}, Spread{3, 3, 3}},
		{[]float64{9, 1, 4}, Spread{1, 4, 9}},
		{[]float64{9, 1, 4, 6}, Spread{1, 5, 9}},
	} {
		if got := SpreadOf(c.samples); got != c.want {
			t.Errorf("spread of %v is %v, want %v", c.samples, got, c.want)
		}
	}
}

// The logarithms are -0.1, 0, 0.1 with a deviation of 0.1; the margin is
// 4.3027 · 0.1 / √3 = 0.24842.
func TestIntervalOfKnownRatiosIsStudents(t *testing.T) {
	t.Parallel()
	got, err := RatioOf([]Pair{{10, 10 * math.Exp(-0.1)}, {20, 20}, {5, 5 * math.Exp(0.1)}})
	if err != nil || !near(got.Ratio, 1) || !near(got.Low, 0.7800) || !near(got.High, 1.2820) {
		t.Errorf("got %+v, %v", got, err)
	}
}

// A machine that is slower by half in some rounds is slower for both.
func TestWhatFallsOnBothSidesOfAPairLeavesTheRatioAlone(t *testing.T) {
	t.Parallel()
	got, err := RatioOf([]Pair{{100, 104}, {150, 156}, {300, 312}, {90, 93.6}})
	if err != nil || !near(got.Ratio, 1.04) || !near(got.Low, 1.04) || !near(got.High, 1.04) || !got.Above(1.03) {
		t.Errorf("got %+v, %v; every pair has the ratio 1.04", got, err)
	}
}

func TestOneDisturbedRoundHidesADifferenceAndInventsNone(t *testing.T) {
	t.Parallel()
	alike := []Pair{{100, 100}, {100, 101}, {100, 99}, {100, 100}, {100, 101}, {100, 99}, {100, 300}}
	got, err := RatioOf(alike)
	if err != nil || got.Above(1) || got.Ratio < 1.1 {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestIntervalIsAboveOnlyWhenAllOfItIs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		i    Interval
		want bool
	}{
		{Interval{1.05, 1.031, 1.07}, true},
		{Interval{1.05, 1.03, 1.07}, false},
		{Interval{1.05, 0.98, 1.12}, false},
		{Interval{}, false},
	} {
		if c.i.Above(1.03) != c.want {
			t.Errorf("%+v above 1.03: %t, want %t", c.i, !c.want, c.want)
		}
	}
}

func TestWhatHasNoRatioIsAnError(t *testing.T) {
	t.Parallel()
	for _, pairs := range [][]Pair{nil, {{1, 1}}} {
		if _, err := RatioOf(pairs); !errors.Is(err, ErrFewPairs) {
			t.Errorf("%v: %v", pairs, err)
		}
	}
	for _, bad := range []Pair{{0, 1}, {1, 0}, {-1, 1}, {1, math.NaN()}, {math.Inf(1), 1}} {
		if got, err := RatioOf([]Pair{{1, 1}, bad}); err == nil {
			t.Errorf("%v has the ratio %+v", bad, got)
		}
	}
}

// From the tables of the t distribution.
func TestQuantilesAreThoseOfTheTables(t *testing.T) {
	t.Parallel()
	for freedom, want := range map[int]float64{1: 12.706, 6: 2.447, 20: 2.086, 21: 2.080, 30: 2.042, 60: 2.000, 120: 1.980} {
		if got := quantile(freedom); !near(got, want) {
			t.Errorf("%d degrees of freedom: %.4f, want %.3f", freedom, got, want)
		}
	}
}
