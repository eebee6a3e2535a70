package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// metricLine is what the tests look at of a line of metrics; internal/emf tests
// that it is as the format says.
type metricLine struct {
	dimensions string // "Function=billing Verdict=deny …", in the order of the line
	metrics    map[string]float64
}

// parseMetrics reads a line of metrics.
func parseMetrics(t testing.TB, line string) metricLine {
	t.Helper()
	var head struct {
		AWS struct {
			CloudWatchMetrics [1]struct{ Dimensions [1][]string }
		} `json:"_aws"`
	}
	var members map[string]any
	if err := errors.Join(json.Unmarshal([]byte(line), &head), json.Unmarshal([]byte(line), &members)); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	m := metricLine{metrics: map[string]float64{}}
	var dimensions []string
	for _, name := range head.AWS.CloudWatchMetrics[0].Dimensions[0] {
		dimensions = append(dimensions, fmt.Sprintf("%s=%v", name, members[name]))
	}
	m.dimensions = strings.Join(dimensions, " ")
	for name, value := range members {
		if n, ok := value.(float64); ok {
			m.metrics[name] = n
		}
	}
	return m
}

// metricLines returns the lines of a file that are metrics.
func metricLines(p *running, path string) (all []metricLine) {
	p.t.Helper()
	for line := range strings.Lines(p.read(path)) {
		// A line without its end is still being written.
		if strings.Contains(line, `"_aws":`) && strings.HasSuffix(line, "\n") {
			all = append(all, parseMetrics(p.t, line))
		}
	}
	return all
}

// addedUp sums the decisions of metric lines by their dimensions.
func addedUp(lines []metricLine) map[string]float64 {
	sums := map[string]float64{}
	for _, line := range lines {
		if n, ok := line.metrics["Decisions"]; ok {
			sums[line.dimensions] += n
		}
	}
	return sums
}

// The chain of the records is verified when the program has ended.
func TestMetricsStandBesideTheRecordsAndAddUpToThem(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	file := filepath.Join(w.t.TempDir(), "egress.yaml")
	w.write(file, only("before.test"))
	p := w.startFile(w.t.TempDir(), []string{"run", "--emf", "1s", "--emf-functions", "--emf-deployment", "eu", "--config", file})
	tunnels := p.open(2)
	for range 5 {
		p.allows("after.test")
	}
	if r := p.connect("", "before.test:443"); r.StatusCode != http.StatusProxyAuthRequired {
		t.Errorf("without a credential: %s", r.Status)
	}
	w.eventually("the tunnels are printed", func() bool {
		return slices.ContainsFunc(metricLines(p, p.stdout), func(e metricLine) bool {
			return e.dimensions == "Deployment=eu Function=billing" && e.metrics["Tunnels"] == 2
		})
	})
	p.allows("after.test")
	for _, tunnel := range tunnels {
		_ = tunnel.conn.Close()
	}
	p.signal(syscall.SIGTERM)
	p.wait()
	want := map[string]float64{}
	for _, r := range p.records() {
		switch r.Event {
		case "refused", "opened", "challenged":
			function, reason := r.Function, r.Reason
			if function == "" {
				function = "none"
			}
			if reason == "" {
				reason = "none"
			}
			want["Deployment=eu Function="+function+" Verdict="+r.Verdict+" Reason="+reason]++
		}
	}
	lines := metricLines(p, p.stdout)
	if got := addedUp(lines); !reflect.DeepEqual(got, want) || len(want) != 3 {
		t.Errorf("metrics add up to %v, records to %v", got, want)
	}
	last := lines[len(lines)-1]
	if last.dimensions != "Deployment=eu" || last.metrics["LastReloadSuccessful"] != 1 || last.metrics["AuditLost"] != 0 {
		t.Errorf("the last line: %+v", last)
	}
}

func TestMetricsAreOnStandardOutputWhereRecordsGoToAFile(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	dir := t.TempDir()
	records := filepath.Join(dir, "records")
	file := filepath.Join(dir, "egress.yaml")
	w.write(file, strings.Replace(only("before.test"), "functions:", "audit: {output: "+records+"}\nfunctions:", 1))
	p := w.startFile(dir, []string{"run", "--emf", "1s", "--config", file})
	p.recordFiles = []string{records}
	p.allows("after.test")
	p.signal(syscall.SIGTERM)
	p.wait()
	if got := addedUp(metricLines(p, p.stdout)); len(got) != 1 {
		t.Errorf("standard output has %v", got)
	}
	if n := len(metricLines(p, records)); n != 0 {
		t.Errorf("%d lines of metrics are among the records", n)
	}
}

func TestADeploymentThatNoMetricCanHaveIsRefused(t *testing.T) {
	for args, want := range map[string]string{
		"--emf-deployment x":           "--emf-deployment is there, and --emf is not",
		"--emf-functions":              "--emf-functions is there, and --emf is not",
		"--emf 60s --emf-deployment=":  "--emf-deployment: it is empty",
		"--emf 60s --emf-deployment=:": `--emf-deployment: ":" begins with a colon`,
	} {
		var stdout, stderr bytes.Buffer
		code := execute(t.Context(), append([]string{"run"}, strings.Fields(args)...), &stdout, &stderr)
		if code != exitFailed || !strings.Contains(stderr.String(), want) {
			t.Errorf("%s: exit code %d, %q", args, code, &stderr)
		}
	}
}

func TestIntervalsThatAreTooShortAreRefused(t *testing.T) {
	for _, args := range [][]string{{"--emf", "10ms"}, {"--emf", "-1s"}, {"--config-poll", "0"}, {"--config-poll", "999ms"}} {
		var stdout, stderr bytes.Buffer
		code := execute(t.Context(), append([]string{"run"}, args...), &stdout, &stderr)
		if code != exitFailed || !strings.Contains(stderr.String(), "less than 1s") {
			t.Errorf("%v: exit code %d, %q", args, code, &stderr)
		}
	}
}
