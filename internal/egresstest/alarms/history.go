package alarms

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// History is what CloudWatch has got of one deployment. It is for one goroutine.
type History struct {
	Parameters map[string]float64 // of the template, by name; NewHistory sets the defaults

	table  []Alarm
	points map[metric][]point
}

// metric is what points belong to: dimensions are its names and values, as dimensionsOf
// writes them, without Deployment.
type metric struct{ namespace, name, dimensions string }

// point is a value of a metric at a time.
type point struct {
	at    time.Time
	value float64
}

// NewHistory returns an empty history for the alarms of a table.
func NewHistory(table []Alarm) *History {
	return &History{
		table: table, points: map[metric][]point{},
		Parameters: map[string]float64{"RefusalsPerFiveMinutes": 100, "RefusalsOfFunction": 5, "ReportModeDays": 7, "LeastTasks": 2, "MaximumTasks": 8},
	}
}

// Observe adds a value of a metric of AWS.
func (h *History) Observe(namespace, name string, at time.Time, value float64) {
	m := metric{namespace: namespace, name: name}
	h.points[m] = append(h.points[m], point{at, value})
}

// Line adds a line of standard output, as the log group takes it in at that time: it counts
// as an event, and if it is of the embedded metric format its metrics are added.
func (h *History) Line(t testing.TB, line string, at time.Time) {
	t.Helper()
	h.Observe("AWS/Logs", "IncomingLogEvents", at, 1)
	if !strings.Contains(line, `"_aws"`) {
		return
	}
	var members map[string]any
	var head struct {
		AWS struct {
			CloudWatchMetrics []struct {
				Namespace  string
				Dimensions [][]string
				Metrics    []struct{ Name string }
			}
		} `json:"_aws"`
	}
	for _, into := range []any{&members, &head} {
		if err := json.Unmarshal([]byte(line), into); err != nil {
			t.Fatalf("a line of metrics: %v\n%s", err, line)
		}
	}
	for _, group := range head.AWS.CloudWatchMetrics {
		for _, names := range group.Dimensions {
			for _, m := range group.Metrics {
				number, ok := members[m.Name].(float64)
				if !ok {
					t.Fatalf("a line of metrics has no number %s: %s", m.Name, line)
				}
				of := metric{group.Namespace, m.Name, dimensionsOf(names, members)}
				h.points[of] = append(h.points[of], point{at, number})
			}
		}
	}
}

// dimensionsOf writes dimensions as "Function=a,Verdict=deny". Deployment is left out: a
// history is of one.
func dimensionsOf(names []string, members map[string]any) string {
	var all []string
	for _, name := range names {
		if name != "Deployment" {
			all = append(all, fmt.Sprintf("%s=%v", name, members[name]))
		}
	}
	return strings.Join(all, ",")
}

// Firing returns the names of the alarms that are in alarm at a time, sorted: as of the
// periods that are over then.
func (h *History) Firing(at time.Time) (names []string) {
	for _, a := range h.table {
		if h.fires(a.CloudWatch, at) {
			names = append(names, a.Name)
		}
	}
	slices.Sort(names)
	return names
}

// fires says whether an alarm is in alarm: of its last periods enough are as it says, for
// one of the series that it watches.
func (h *History) fires(c CloudWatch, at time.Time) bool {
	period := time.Duration(c.Period) * time.Second
	end := at.Truncate(period)
	for _, of := range h.watched(c) {
		breaching := 0
		for i := range c.Of {
			from := end.Add(-time.Duration(i+1) * period)
			value, ok := of(from, from.Add(period))
			if ok && h.breaches(c, value) || !ok && c.Missing == "breaching" {
				breaching++
			}
		}
		if breaching >= c.Periods {
			return true
		}
	}
	return false
}

// series is a value for each period of which there is data.
type series func(from, to time.Time) (value float64, ok bool)

// watched returns the series that an alarm watches.
func (h *History) watched(c CloudWatch) (all []series) {
	if c.Group != "" {
		functions := h.grouped(query(c.Group))
		for _, function := range slices.Sorted(maps.Keys(functions)) {
			all = append(all, h.statistic("Sum", functions[function]...))
		}
		return all
	}
	if c.Share == nil {
		return []series{h.statistic(c.Statistic, metric{namespace: c.Namespace, name: c.Metric})}
	}
	part := h.statistic("Sum", metric{namespace: c.Namespace, name: c.Share.Part})
	whole := h.statistic("Sum", metric{namespace: c.Namespace, name: c.Share.Whole})
	return []series{func(from, to time.Time) (float64, bool) {
		n, ok := part(from, to)
		of, there := whole(from, to)
		if n < float64(c.Share.Least) || n*100 <= of*float64(c.Share.Percent) {
			n = 0
		}
		return n, ok && there
	}}
}

// grouped returns the metrics that a query adds up, by function.
func (h *History) grouped(query string) map[string][]metric {
	var left []string
	for _, m := range regexp.MustCompile(`"Reason" != '(\w+)'`).FindAllStringSubmatch(query, -1) {
		left = append(left, m[1])
	}
	all := map[string][]metric{}
	for m := range h.points {
		of := regexp.MustCompile(`^Function=(.*),Verdict=deny,Reason=(\w+)$`).FindStringSubmatch(m.dimensions)
		if m.name == "Decisions" && of != nil && !slices.Contains(left, of[2]) {
			all[of[1]] = append(all[of[1]], m)
		}
	}
	return all
}

// statistic returns a statistic of the points of metrics.
func (h *History) statistic(name string, of ...metric) series {
	return func(from, to time.Time) (float64, bool) {
		var values []float64
		sum := 0.0
		for _, m := range of {
			for _, p := range h.points[m] {
				if !p.at.Before(from) && p.at.Before(to) {
					values, sum = append(values, p.value), sum+p.value
				}
			}
		}
		if len(values) == 0 {
			return 0, false
		}
		switch name {
		case "Maximum":
			return slices.Max(values), true
		case "Minimum":
			return slices.Min(values), true
		case "Average":
			return sum / float64(len(values)), true
		default:
			return sum, true
		}
	}
}

// breaches says whether a value is as the alarm says.
func (h *History) breaches(c CloudWatch, value float64) bool {
	switch {
	case c.Share != nil:
		return value > 0
	case c.Above != nil:
		return value > h.number(c.Above)
	case c.Below != nil:
		return value < h.number(c.Below)
	case c.Least != nil:
		return value >= h.number(c.Least)
	default:
		return value <= h.number(c.AtMost)
	}
}

// number returns what a value is compared with.
func (h *History) number(of any) float64 {
	switch of := of.(type) {
	case int:
		return float64(of)
	case float64:
		return of
	case string:
		return h.Parameters[of]
	}
	return 0
}
