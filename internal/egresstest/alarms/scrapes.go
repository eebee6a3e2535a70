package alarms

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Interval is how far scrapes lie apart.
const Interval = 15 * time.Second

// job is the job that instances are scraped under.
const job = "egress"

// Scrapes are what Prometheus has got of the instances of one deployment: scrapes that lie
// Interval apart, however long it took to gather them. It is for one goroutine.
type Scrapes struct {
	table  []Alarm
	began  time.Time // time in samples is counted from there
	needed map[string]bool
	steps  int
	values map[string][]string // by series, as promtool takes them; "_" is none
}

// NewScrapes returns no scrapes yet, for the alarms of a table.
func NewScrapes(table []Alarm) *Scrapes {
	s := &Scrapes{table: table, began: time.Now(), needed: map[string]bool{}, values: map[string][]string{}}
	for _, a := range table {
		if a.Prometheus != nil {
			for _, name := range regexp.MustCompile(`\b[a-z]+(_[a-z]+)+\b`).FindAllString(a.Prometheus.Expr, -1) {
				s.needed[name] = true
			}
		}
	}
	return s
}

// Add adds a scrape of each instance, as /metrics has it. A text that is empty is that of one
// that does not answer.
func (s *Scrapes) Add(scrapes map[string]string) {
	sample := regexp.MustCompile(`^(\w+)(?:\{(.*)\})? (\S+)$`)
	for instance, text := range scrapes {
		up := "1"
		if text == "" {
			up = "0"
		}
		s.set("up", "", instance, up)
		for line := range strings.Lines(text) {
			if end := strings.IndexAny(line, "{ "); end < 0 || !s.needed[line[:end]] {
				continue
			}
			m := sample.FindStringSubmatch(strings.TrimSpace(line))
			if m == nil {
				continue
			}
			number, err := strconv.ParseFloat(m[3], 64)
			if err != nil {
				continue
			}
			if strings.HasSuffix(m[1], "_timestamp_seconds") {
				number -= float64(s.began.Unix())
			}
			s.set(m[1], m[2], instance, strconv.FormatFloat(number, 'f', -1, 64))
		}
	}
	s.steps++
	for of, values := range s.values {
		if len(values) < s.steps { // what is gone ends at once, as Prometheus has it
			s.values[of] = append(values, "stale")
		}
	}
}

// set sets a value of the scrape that is being added.
func (s *Scrapes) set(name, labels, instance, value string) {
	if labels != "" {
		labels += ","
	}
	of := fmt.Sprintf("%s{%sjob=%q,instance=%q}", name, labels, job, instance)
	for len(s.values[of]) < s.steps { // it is new
		s.values[of] = append(s.values[of], "_")
	}
	s.values[of] = append(s.values[of], value)
}

// Firing has promtool evaluate the rules, and returns by scrape the names of the alarms that
// fire then, sorted. Where there is no promtool the test is skipped.
func (s *Scrapes) Firing(t testing.TB) [][]string {
	t.Helper()
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed (apt-get install prometheus)")
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"egress.rules.yaml": Rules(s.table), "test.yaml": s.file()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command(promtool, "test", "rules", filepath.Join(dir, "test.yaml")).CombinedOutput()
	firing, found := s.found(string(out))
	if (err != nil) != (found > 0) { // it fails by what it finds, and by nothing else
		t.Fatalf("promtool: %v\n%s", err, out)
	}
	return firing
}

// found reads what promtool has found where it expected nothing: which alarms by scrape, and
// how many in all.
func (s *Scrapes) found(out string) (firing [][]string, all int) {
	firing = make([][]string, s.steps)
	for _, m := range regexp.MustCompile(`(?s)expr: "[^\n]*", time: (\w+),.*?got:(.*?)(?:\n\n|\n *expr|$)`).FindAllStringSubmatch(out, -1) {
		at, err := time.ParseDuration(m[1])
		if err != nil || int(at/Interval) >= s.steps {
			continue
		}
		for _, name := range regexp.MustCompile(`alertname="Egress(\w+)"`).FindAllStringSubmatch(m[2], -1) {
			firing[at/Interval] = append(firing[at/Interval], name[1])
			all++
		}
		slices.Sort(firing[at/Interval])
	}
	return firing, all
}

// file is a test of rules that expects no alarm ever, so that promtool says which it has
// found.
func (s *Scrapes) file() string {
	var b strings.Builder
	fmt.Fprintf(&b, "rule_files: [egress.rules.yaml]\nevaluation_interval: %v\ntests:\n  - interval: %v\n    input_series:\n", Interval, Interval)
	for _, name := range slices.Sorted(maps.Keys(s.values)) {
		fmt.Fprintf(&b, "      - series: %q\n        values: %q\n", name, strings.Join(s.values[name], " "))
	}
	b.WriteString("    promql_expr_test:\n")
	for i := range s.steps {
		fmt.Fprintf(&b, "      - {expr: 'max by (alertname) (ALERTS{alertstate=\"firing\"})', eval_time: %v, exp_samples: []}\n", time.Duration(i)*Interval)
	}
	return b.String()
}
