package doc

import "strconv"

// Chart is one drawing of the HTML page, laid out in whole pixels. Stacked and
// Ranked make it.
type Chart struct {
	Title         string
	Width, Height int
	Bars          []Bar
	Labels        []Label
	Legend        []Label // Class says the colour
}

// Bar is one rectangle. Title is what a pointer over it shows.
type Bar struct {
	X, Y, W, H int
	Class      string
	Title      string
}

// Label is one text.
type Label struct {
	X, Y  int
	Text  string
	Class string
}

// MaxStacks is how many bars there is room for side by side.
const MaxStacks = 120

// Bounds of the drawings.
const (
	chartWidth   = 960
	maxSeries    = 7 // colours; the last one is for all other series
	plotHeight   = 220
	plotLeft     = 70
	barHeight    = 22
	ranksLeft    = 380
	maxLabelText = 48
)

// Stack is one bar of several values. Name must not be untrusted text, or be made
// by Visible.
type Stack struct {
	Name   string
	Values []uint64 // one for each series
}

// Stacked draws bars side by side, each of the values of the series, the first
// at the bottom. There must be one at least, and no more than MaxStacks. What
// has no colour of its own is drawn as others, which says what that is.
func Stacked(title, others string, series []string, stacks []Stack) Chart {
	c := Chart{Title: title, Width: chartWidth, Height: plotHeight + 60}
	most := uint64(1)
	for _, one := range stacks {
		sum := uint64(0)
		for _, n := range one.Values {
			sum += n
		}
		most = max(most, sum)
	}
	own := len(series)
	if own > maxSeries {
		own = maxSeries - 1
	}
	step := (chartWidth - plotLeft) / len(stacks)
	for i, one := range stacks {
		x, y := plotLeft+i*step, plotHeight+20
		stack := func(class, name string, n uint64) {
			h := scaled(n, most, plotHeight)
			if h > 0 {
				y -= h
				c.Bars = append(c.Bars, Bar{x, y, max(step-1, 1), h, class, one.Name + " " + name + ": " + Count(n)})
			}
		}
		rest := uint64(0)
		for k, n := range one.Values {
			if k < own {
				stack(seriesClass(k), Visible(series[k]), n)
			} else {
				rest += n
			}
		}
		stack(seriesClass(maxSeries-1), others, rest)
	}
	c.Labels = []Label{
		{plotLeft - 6, 28, Count(most), "end"}, {plotLeft - 6, plotHeight + 20, "0", "end"},
		{plotLeft, plotHeight + 38, stacks[0].Name, ""}, {chartWidth, plotHeight + 38, stacks[len(stacks)-1].Name, "end"},
	}
	for k, name := range series[:own] {
		c.Legend = append(c.Legend, Label{Text: Visible(name), Class: seriesClass(k)})
	}
	if own < len(series) {
		c.Legend = append(c.Legend, Label{Text: others, Class: seriesClass(maxSeries - 1)})
	}
	return c
}

// seriesClass returns the class of a series, which has its colour.
func seriesClass(k int) string { return "s" + strconv.Itoa(k) }

// scaled maps n of most to pixels; what is not zero is drawn.
func scaled(n, most uint64, pixels int) int {
	if n == 0 {
		return 0
	}
	return max(int(float64(n)/float64(most)*float64(pixels)), 1)
}

// Rank is one bar of Ranked. Name must not be untrusted text, or be made by
// Visible.
type Rank struct {
	Name string
	N    uint64
}

// Ranked draws bars below one another, the first the longest. There must be one
// at least.
func Ranked(title string, ranks []Rank) Chart {
	c := Chart{Title: title, Width: chartWidth, Height: len(ranks)*barHeight + 10}
	for i, r := range ranks {
		short := []rune(r.Name)
		if len(short) > maxLabelText {
			short = append(short[:maxLabelText-1], '…')
		}
		y := i*barHeight + 5
		w := scaled(r.N, ranks[0].N, chartWidth-ranksLeft-90)
		c.Bars = append(c.Bars, Bar{ranksLeft, y, w, barHeight - 6, "s0", r.Name + ": " + Count(r.N)})
		c.Labels = append(c.Labels,
			Label{ranksLeft - 8, y + 12, string(short), "end"},
			Label{ranksLeft + w + 6, y + 12, Count(r.N), ""})
	}
	return c
}
