package report

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/report/doc"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/report/tally"
)

// topHosts is how many destinations the chart has.
const topHosts = 10

// bucket is the refusals of some hours.
type bucket struct {
	start time.Time
	by    map[string]uint64
	sum   uint64
}

// buckets adds the hours up so that there are few enough to be drawn: by the hour,
// the day, or several days.
func (b *Builder) buckets() (all []bucket, hours int64) {
	refused := b.counts.Hours()
	if len(refused) == 0 {
		return nil, 1
	}
	keys := slices.Sorted(maps.Keys(refused))
	first, last := keys[0], keys[len(keys)-1]
	hours = 1
	if last-first >= 72 {
		hours = 24
	}
	for (last-first)/hours >= doc.MaxStacks {
		hours += 24
	}
	first -= first % hours
	all = make([]bucket, (last-first)/hours+1)
	for i := range all {
		all[i] = bucket{start: time.Unix((first+int64(i)*hours)*3600, 0), by: map[string]uint64{}}
	}
	for _, h := range keys {
		at := &all[(h-first)/hours]
		for reason, n := range refused[h] {
			at.by[reason] += n
			at.sum += n
		}
	}
	return all, hours
}

// spanText says how much a bucket holds.
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
func (b *Builder) refusalsSection(groups []*tally.Group) doc.Section {
	all, hours := b.buckets()
	reasons := series(all)
	over := doc.Grid{ID: "refusals_over_time", Caption: "Refusals per " + spanText(hours), Empty: "Nothing was refused in the period.",
		Columns: doc.Columns("time", "From", "requests", "Requests", "by_reason", "By reason")}
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
		over.Rows = append(over.Rows, []doc.Cell{doc.At(one.start), doc.Num(one.sum), doc.Text(strings.Join(by, ", "))})
	}
	s := doc.Section{ID: "refusals", Title: "Refusals", Tables: []doc.Grid{over},
		Notes: []string{"Requests and DNS questions that were refused, callers that were not identified included; requests for a credential (challenged) are not."}}
	if len(all) > 0 {
		s.Charts = append(s.Charts, timeChart(all, reasons, hours))
	}
	top := topDestinations(groups)
	hosts := doc.Grid{ID: "top_refused", Caption: "Destinations that were refused most, over all functions", Empty: "None.",
		Columns: doc.Columns("host", "Host", "port", "Port", "requests", "Requests")}
	for _, t := range top {
		hosts.Rows = append(hosts.Rows, []doc.Cell{doc.Text(t.host), doc.Some(t.port), doc.Num(t.requests)})
	}
	s.Tables = append(s.Tables, hosts)
	if len(top) > 0 {
		s.Charts = append(s.Charts, hostChart(top))
	}
	return s
}

// timeChart draws one stacked bar for each bucket.
func timeChart(all []bucket, reasons []string, hours int64) doc.Chart {
	stacks := make([]doc.Stack, len(all))
	for i, one := range all {
		stacks[i] = doc.Stack{Name: doc.At(one.start).String(), Values: make([]uint64, len(reasons))}
		for k, reason := range reasons {
			stacks[i].Values[k] = one.by[reason]
		}
	}
	return doc.Stacked("Refusals per "+spanText(hours)+" by reason", "other reasons", reasons, stacks)
}

// destination is a destination over all functions.
type destination struct {
	host     string
	port     uint16
	requests uint64
}

// topDestinations returns the destinations with the most refusals.
func topDestinations(groups []*tally.Group) []destination {
	sums := map[destination]uint64{} // of those without requests
	for _, g := range groups {
		for w := range g.All(tally.Refused) {
			sums[destination{host: w.Host, port: w.Port}] += w.Requests
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
func hostChart(top []destination) doc.Chart {
	ranks := make([]doc.Rank, len(top))
	for i, t := range top {
		ranks[i] = doc.Rank{Name: doc.Visible(t.host) + ":" + strconv.Itoa(int(t.port)), N: t.requests}
	}
	return doc.Ranked("Destinations that were refused most", ranks)
}
