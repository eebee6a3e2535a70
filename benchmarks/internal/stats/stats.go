// Package stats says what repeated measurements of two programs show: the
// spread of each, and a confidence interval of the ratio of the two.
//
// The interval is Student's t interval, 95%, two-sided, of the logarithms of the
// ratios of the pairs, turned back by the exponential function. A pair is what
// one round measured of both, right after each other, so that what the
// machine does beside them for longer than that falls on both and leaves the
// ratio alone. The logarithm makes twice as much and half as much equally far
// from alike.
//
// What it assumes: the pairs are independent of each other, and the logarithms
// of their ratios are roughly normal. A round that a neighbour disturbed on one
// side alone is an outlier; it widens the interval, so it hides a difference
// rather than inventing one. Each interval is of one figure: of forty figures of
// two equal programs one interval is expected to lie wholly above 1.
//
// It measures nothing and keeps no time.
package stats

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// Spread is the least, the middle and the greatest of some samples.
type Spread struct {
	Min, Median, Max float64
}

// SpreadOf returns the spread of at least one sample; of none it is zero.
func SpreadOf(samples []float64) Spread {
	if len(samples) == 0 {
		return Spread{}
	}
	sorted := slices.Sorted(slices.Values(samples))
	n := len(sorted)
	return Spread{Min: sorted[0], Median: (sorted[(n-1)/2] + sorted[n/2]) / 2, Max: sorted[n-1]}
}

// Pair is what one round measured of the old program and of the new one.
type Pair struct {
	Old float64 `json:"old"`
	New float64 `json:"new"`
}

// Interval is an estimate of a ratio and the bounds of its 95% interval.
type Interval struct {
	Ratio float64 `json:"ratio"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
}

// Above reports whether the interval lies wholly above a limit.
func (i Interval) Above(limit float64) bool { return i.Low > limit }

// ErrFewPairs is returned for fewer than two pairs: one has no spread.
var ErrFewPairs = errors.New("fewer than two pairs")

// RatioOf returns the interval of new to old. The estimate is the geometric mean
// of the ratios of the pairs. A sample that is not above zero has no ratio and
// is an error.
func RatioOf(pairs []Pair) (Interval, error) {
	if len(pairs) < 2 {
		return Interval{}, ErrFewPairs
	}
	logs := make([]float64, len(pairs))
	var mean float64
	for i, p := range pairs {
		if !(p.Old > 0 && p.New > 0) || math.IsInf(p.Old, 0) || math.IsInf(p.New, 0) {
			return Interval{}, fmt.Errorf("pair %d has no ratio: old %g, new %g", i+1, p.Old, p.New)
		}
		logs[i] = math.Log(p.New / p.Old)
		mean += logs[i] / float64(len(pairs))
	}
	var squares float64
	for _, l := range logs {
		squares += (l - mean) * (l - mean)
	}
	freedom := len(pairs) - 1
	deviation := math.Sqrt(squares / float64(freedom))
	margin := quantile(freedom) * deviation / math.Sqrt(float64(len(pairs)))
	return Interval{Ratio: math.Exp(mean), Low: math.Exp(mean - margin), High: math.Exp(mean + margin)}, nil
}

// quantiles are the 97.5% quantiles of Student's t distribution for 1, 2, 3, …
// degrees of freedom.
var quantiles = []float64{
	12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281,
	2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860,
}

// quantile returns the 97.5% quantile for some degrees of freedom. Beyond the
// table it is Fisher's expansion around the normal distribution's, which is
// right to four digits there.
func quantile(freedom int) float64 {
	if freedom <= len(quantiles) {
		return quantiles[freedom-1]
	}
	const z = 1.959964
	n := float64(freedom)
	return z + (z*z*z+z)/(4*n) + (5*math.Pow(z, 5)+16*z*z*z+3*z)/(96*n*n)
}

// Percentile returns the p-th part of the latencies, p from 0 to 1.
func Percentile(latencies []time.Duration, p float64) time.Duration {
	if len(latencies) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(latencies))
	return sorted[min(int(p*float64(len(sorted))), len(sorted)-1)]
}
