package emf

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
)

// line is one line under way.
type line struct {
	timestamp  int64 // Unix milliseconds
	dimensions []string
	metrics    []metricDefinition
	members    map[string]any // values of dimensions and metrics, by name
}

// metricDefinition says what a member is, in the words of the format.
type metricDefinition struct {
	Name string
	Unit string
}

// newLine begins a line with the deployment and with dimensions, each a name and a value.
func (p *Printer) newLine(now time.Time, dimensions ...string) *line {
	l := &line{timestamp: now.UnixMilli(), dimensions: []string{}, members: map[string]any{}}
	if p.Deployment != "" {
		dimensions = append([]string{"Deployment", p.Deployment}, dimensions...)
	}
	for pair := range slices.Chunk(dimensions, 2) {
		l.dimensions = append(l.dimensions, pair[0])
		l.members[pair[0]] = pair[1]
	}
	return l
}

// metric adds a metric.
func (l *line) metric(name, unit string, number float64) {
	l.metrics = append(l.metrics, metricDefinition{name, unit})
	l.members[name] = number
}

// daysLeft adds how many days there are until a Unix second, less than zero once it is over;
// nil: nothing ends.
func (l *line) daysLeft(name string, end *float64) {
	if end != nil {
		l.metric(name, "None", (*end-float64(l.timestamp)/1000)/(24*60*60))
	}
}

// print writes the line.
func (l *line) print(to func([]byte) error) error {
	l.members["_aws"] = map[string]any{
		"Timestamp": l.timestamp,
		"CloudWatchMetrics": []any{map[string]any{
			"Namespace": namespace, "Dimensions": [][]string{l.dimensions}, "Metrics": l.metrics,
		}},
	}
	b, err := json.Marshal(l.members)
	if err != nil {
		return fmt.Errorf("encoding metrics: %w", err)
	}
	return to(b)
}

// Line returns one line about now that no Printer prints, for a program that is no proxy:
// metrics without a unit, by name, and the deployment as their dimension ("": none).
func Line(now time.Time, deployment string, metrics map[string]float64) (encoded []byte, err error) {
	l := New(Options{Deployment: deployment}).newLine(now)
	for _, name := range slices.Sorted(maps.Keys(metrics)) {
		l.metric(name, "None", metrics[name])
	}
	err = l.print(func(b []byte) error {
		encoded = b
		return nil
	})
	return encoded, err
}
