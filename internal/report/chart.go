package report

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// chart is one drawing of the HTML page, laid out in whole pixels.
type chart struct {
	Title         string
	Width, Height int
	Bars          []bar
	Labels        []label
	Legend        []label // Class says the colour
}

// bar is one rectangle. Title is what a pointer over it shows.
type bar struct {
	X, Y, W, H int
	Class      string
	Title      string
}

// label is one text.
type label struct {
	X, Y  int
	Text  string
	Class string
}

// Bounds of the drawings.
const (
	chartWidth   = 960
	maxBuckets   = 120 // bars side by side
	maxSeries    = 7   // colours; the last one is for all other reasons
	topHosts     = 10
	plotHeight   = 220
	plotLeft     = 70
	barHeight    = 22
	hostsLeft    = 380
	maxLabelText = 48
)

// bucket is the refusals of some hours.
type bucket struct {
	start time.Time
	by    map[string]uint64
	sum   uint64
}

// buckets adds the hours up so that there are few enough to be drawn: by the hour,
// the day, or several days.
func (b *Builder) buckets() (all []bucket, hours int64) {
	if len(b.hours) == 0 {
		return nil, 1
	}
	keys := slices.Sorted(maps.Keys(b.hours))
	first, last := keys[0], keys[len(keys)-1]
	hours = 1
	if last-first >= 72 {
		hours = 24
	}
	for (last-first)/hours >= maxBuckets {
		hours += 24
	}
	first -= first % hours
	all = make([]bucket, (last-first)/hours+1)
	for i := range all {
		all[i] = bucket{start: time.Unix((first+int64(i)*hours)*3600, 0), by: map[string]uint64{}}
	}
	for _, h := range keys {
		at := &all[(h-first)/hours]
		for reason, n := range b.hours[h] {
			at.by[reason] += n
			at.sum += n
		}
	}
	return all, hours
}

// span says how much a bucket holds.
func spanText(hours int64) string {
	switch {
	case hours == 1:
		return "hour"
	case hours == 24:
		return "day"
	default:
		return strconv.FormatInt(hours/24, 10) + " days"
	}
}

// series returns the reasons, those with the most refusals first.
func series(all []bucket) []string {
	sums := map[string]uint64{}
	for _, b := range all {
		for reason, n := range b.by {
			sums[reason] += n
		}
	}
	return slices.SortedFunc(maps.Keys(sums), func(x, y string) int {
		return cmp.Or(cmp.Compare(sums[y], sums[x]), strings.Compare(x, y))
	})
}

// refusalsSection is refusals over time, and where to.
func (b *Builder) refusalsSection(groups []*group) section {
	all, hours := b.buckets()
	reasons := series(all)
	over := grid{id: "refusals_over_time", Caption: "Refusals per " + spanText(hours), Empty: "Nothing was refused in the period.",
		columns: columns("time", "From", "requests", "Requests", "by_reason", "By reason")}
	for _, one := range all {
		if one.sum == 0 {
			continue
		}
		var by []string
		for _, reason := range reasons {
			if n := one.by[reason]; n > 0 {
				by = append(by, reason+" "+strconv.FormatUint(n, 10))
			}
		}
		over.rows = append(over.rows, []cell{at(one.start), num(one.sum), text(strings.Join(by, ", "))})
	}
	s := section{ID: "refusals", Title: "Refusals", Tables: []grid{over},
		Notes: []string{"Requests and DNS questions that were refused, callers that were not identified included; requests for a credential (challenged) are not."}}
	if len(all) > 0 {
		s.Charts = append(s.Charts, timeChart(all, reasons, hours))
	}
	top := topDestinations(groups)
	hosts := grid{id: "top_refused", Caption: "Destinations that were refused most, over all functions", Empty: "None.",
		columns: columns("host", "Host", "port", "Port", "requests", "Requests")}
	for _, t := range top {
		hosts.rows = append(hosts.rows, []cell{text(t.host), some(t.port), num(t.requests)})
	}
	s.Tables = append(s.Tables, hosts)
	if len(top) > 0 {
		s.Charts = append(s.Charts, hostChart(top))
	}
	return s
}

// timeChart draws one stacked bar for each bucket.
func timeChart(all []bucket, reasons []string, hours int64) chart {
	c := chart{Title: "Refusals per " + spanText(hours) + " by reason", Width: chartWidth, Height: plotHeight + 60}
	most := uint64(1)
	for _, one := range all {
		most = max(most, one.sum)
	}
	drawn, rest := reasons, []string(nil)
	if len(reasons) > maxSeries {
		drawn, rest = reasons[:maxSeries-1], reasons[maxSeries-1:]
	}
	step := (chartWidth - plotLeft) / len(all)
	for i, one := range all {
		x, y := plotLeft+i*step, plotHeight+20
		stack := func(class, reason string, n uint64) {
			h := scaled(n, most, plotHeight)
			if h > 0 {
				y -= h
				c.Bars = append(c.Bars, bar{x, y, max(step-1, 1), h, class, at(one.start).text + " " + visible(reason) + ": " + count(n)})
			}
		}
		for k, reason := range drawn {
			stack("s"+strconv.Itoa(k), reason, one.by[reason])
		}
		others := uint64(0)
		for _, reason := range rest {
			others += one.by[reason]
		}
		stack("s"+strconv.Itoa(maxSeries-1), "other reasons", others)
	}
	c.Labels = []label{
		{plotLeft - 6, 28, count(most), "end"}, {plotLeft - 6, plotHeight + 20, "0", "end"},
		{plotLeft, plotHeight + 38, at(all[0].start).text, ""}, {chartWidth, plotHeight + 38, at(all[len(all)-1].start).text, "end"},
	}
	for k, reason := range drawn {
		c.Legend = append(c.Legend, label{Text: visible(reason), Class: "s" + strconv.Itoa(k)})
	}
	if rest != nil {
		c.Legend = append(c.Legend, label{Text: "other reasons", Class: "s" + strconv.Itoa(maxSeries-1)})
	}
	return c
}

// scaled maps n of most to pixels; what is not zero is drawn.
func scaled(n, most uint64, pixels int) int {
	if n == 0 {
		return 0
	}
	return max(int(float64(n)/float64(most)*float64(pixels)), 1)
}

// destination is a destination over all functions.
type destination struct {
	host     string
	port     uint16
	requests uint64
}

// topDestinations returns the destinations with the most refusals.
func topDestinations(groups []*group) []destination {
	sums := map[destination]uint64{} // of those without requests
	for _, g := range groups {
		for _, w := range g.rows {
			if w.table == tableRefused {
				sums[destination{host: w.host, port: w.port}] += w.requests
			}
		}
	}
	var top []destination
	for g, n := range sums {
		if len(top) == topHosts && n < top[topHosts-1].requests {
			continue
		}
		g.requests = n
		top = append(top, g)
		slices.SortFunc(top, func(a, b destination) int {
			return cmp.Or(cmp.Compare(b.requests, a.requests), strings.Compare(a.host, b.host), cmp.Compare(a.port, b.port))
		})
		top = top[:min(len(top), topHosts)]
	}
	return top
}

// hostChart draws one bar for each destination.
func hostChart(top []destination) chart {
	c := chart{Title: "Destinations that were refused most", Width: chartWidth, Height: len(top)*barHeight + 10}
	for i, t := range top {
		name := visible(t.host) + ":" + strconv.Itoa(int(t.port))
		short := []rune(name)
		if len(short) > maxLabelText {
			short = append(short[:maxLabelText-1], '…')
		}
		y := i*barHeight + 5
		w := scaled(t.requests, top[0].requests, chartWidth-hostsLeft-90)
		c.Bars = append(c.Bars, bar{hostsLeft, y, w, barHeight - 6, "s0", name + ": " + count(t.requests)})
		c.Labels = append(c.Labels,
			label{hostsLeft - 8, y + 12, string(short), "end"},
			label{hostsLeft + w + 6, y + 12, count(t.requests), ""})
	}
	return c
}
