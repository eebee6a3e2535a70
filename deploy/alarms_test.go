package deploy

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest/alarms"
)

// table returns the table of alarms.
func table(t *testing.T) []alarms.Alarm {
	t.Helper()
	return alarms.Read(t, "alarms.yaml", yaml.Unmarshal)
}

// between replaces what stands between two marks of a file.
func between(t *testing.T, file, begin, end, text string) string {
	t.Helper()
	before, rest, begins := strings.Cut(read(t, file), begin)
	_, after, ends := strings.Cut(rest, end)
	if !begins || !ends {
		t.Fatalf("%s does not say where the alarms stand", file)
	}
	return before + begin + text + end + after
}

func TestAlarmsOfPrometheusAndOfTheTemplateAreThoseOfTheTable(t *testing.T) {
	t.Parallel()
	all := table(t)
	for file, want := range map[string]string{
		"prometheus/egress.rules.yaml": alarms.Rules(all),
		"ecs/watch.yaml":               between(t, "ecs/watch.yaml", "  # The alarms, made of ../alarms.yaml by a test.\n", "  # And so far.\n", alarms.Template(all)),
		"ecs/README.md":                between(t, "ecs/README.md", "| alarm | severity | what it means | do |\n|---|---|---|---|\n", "\nQuestions for Logs Insights", alarms.Rows(all)),
	} {
		if *update {
			if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if read(t, file) != want {
			t.Errorf("%s is not what alarms.yaml says; write it anew: go test ./deploy -run TestAlarms -update", file)
		}
	}
}

// Every alarm leads to a section of its own, or of a few, that begins with what it is; no
// section is left over.
func TestAlarmsHaveASectionOfTheirOwnAndSectionsAnAlarm(t *testing.T) {
	t.Parallel()
	_, page, ok := strings.Cut(read(t, "../docs/operations.md"), "\n## Alarms\n")
	if !ok {
		t.Fatal("docs/operations.md has no section Alarms")
	}
	page, _, _ = strings.Cut(page, "\n## ")
	want := map[string][]string{}
	for _, a := range table(t) {
		want[a.Section] = append(want[a.Section], fmt.Sprintf("%s %s", a.Name, a.Severity))
	}
	sections := strings.Split(page, "\n### ")[1:]
	for _, section := range sections {
		heading, text, _ := strings.Cut(section, "\n\n")
		first, rest, _ := strings.Cut(text, "\n")
		opening, _, _ := strings.Cut(first, ": ")
		var got []string
		for _, m := range regexp.MustCompile("`(\\w+)` \\((\\w+)\\)").FindAllStringSubmatch(opening, -1) {
			got = append(got, m[1]+" "+m[2])
		}
		slices.Sort(got)
		slices.Sort(want[heading])
		if !slices.Equal(got, want[heading]) {
			t.Errorf("the section %q begins with %v, the table has %v", heading, got, want[heading])
		}
		delete(want, heading)
		for _, part := range []string{"\nWho and why: ", "\nDo: "} {
			if !strings.Contains(rest, part) {
				t.Errorf("the section %q has no %q", heading, strings.TrimSpace(part))
			}
		}
	}
	for heading, names := range want {
		t.Errorf("docs/operations.md has no section %q, of %v", heading, names)
	}
}

// A row that leaves something out helps nobody at night.
func TestAlarmsSayWhatTheyMeanWhomToAskAndWhatToDo(t *testing.T) {
	t.Parallel()
	names := []string{}
	for _, a := range table(t) {
		names = append(names, a.Name)
	}
	for i, a := range table(t) {
		if slices.Index(names, a.Name) != i {
			t.Errorf("%s stands twice", a.Name)
		}
		if !slices.Contains([]string{"page", "ticket", "info"}, a.Severity) {
			t.Errorf("%s has the severity %q", a.Name, a.Severity)
		}
		for what, text := range map[string]string{"means": a.Means, "ask": a.Contact, "do": a.Do} {
			if len(text) < 15 || !strings.HasSuffix(text, ".") {
				t.Errorf("%s: %s is %q", a.Name, what, text)
			}
		}
		for _, other := range a.With {
			if !slices.Contains(names, other) || other == a.Name {
				t.Errorf("%s may fire with %s, which is no other alarm", a.Name, other)
			}
		}
		if (a.Prometheus == nil) == (a.NoPrometheus == "") {
			t.Errorf("%s has a rule of Prometheus, or else a reason why not", a.Name)
		}
		comparisons := 0
		for _, of := range []any{a.CloudWatch.Above, a.CloudWatch.Below, a.CloudWatch.Least, a.CloudWatch.AtMost} {
			if of != nil {
				comparisons++
			}
		}
		if a.CloudWatch.Share != nil {
			comparisons++
		}
		if comparisons != 1 || a.CloudWatch.Periods > a.CloudWatch.Of {
			t.Errorf("%s: in CloudWatch it compares %d times, in %d of %d periods", a.Name, comparisons, a.CloudWatch.Periods, a.CloudWatch.Of)
		}
		// What wakes somebody does so within two periods of a minute, unless the table
		// says of the service as a whole that it may come right by itself.
		if c := a.CloudWatch; a.Severity == "page" && (c.Period != 60 || c.Periods > 2) && a.Name != "TooFewTasks" {
			t.Errorf("%s takes %d periods of %d s", a.Name, c.Periods, c.Period)
		}
	}
}

// Whoever has the log alone is led to the same sections: each condition of it stands in one.
func TestAlarmsHaveTheConditionsOfTheLogInTheirSections(t *testing.T) {
	t.Parallel()
	_, section, ok := strings.Cut(read(t, "../docs/metrics.md"), "\n## In the log\n")
	if !ok {
		t.Fatal("docs/metrics.md has no section In the log")
	}
	operations := read(t, "../docs/operations.md")
	for _, row := range rows(t, section, "condition") {
		for name := range strings.SplitSeq(row[0], ", ") {
			if !strings.Contains(operations, "`"+name+"`") {
				t.Errorf("docs/operations.md does not have the condition %s", name)
			}
		}
	}
}

// promtool returns a command of promtool.
func promtool(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	tool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed (apt-get install prometheus)")
	}
	return exec.Command(tool, args...)
}

func TestAlarmsOfPrometheusAreRulesThatPromtoolTakes(t *testing.T) {
	t.Parallel()
	if out, err := promtool(t, "check", "rules", "prometheus/egress.rules.yaml").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// A collector takes what it is told where each part of a pipeline is there.
func TestCollectorScrapesTheAdminListenerAndHasEveryPartOfItsPipelines(t *testing.T) {
	t.Parallel()
	var c map[string]any
	if err := yaml.Unmarshal([]byte(read(t, "otel/collector.yaml")), &c); err != nil {
		t.Fatal(err)
	}
	pipelines, _ := at(c, "service", "pipelines").(map[string]any)
	for name, pipeline := range pipelines {
		for _, kind := range []string{"receivers", "processors", "exporters"} {
			used, _ := at(pipeline, kind).([]any)
			if len(used) == 0 {
				t.Errorf("the pipeline %s has no %s", name, kind)
			}
			for _, part := range used {
				if at(c, kind, part.(string)) == nil {
					t.Errorf("the pipeline %s has %v, which is none of the %s", name, part, kind)
				}
			}
		}
	}
	job := at(c, "receivers", "prometheus", "config", "scrape_configs", 0)
	if at(job, "static_configs", 0, "targets", 0) != samplePolicy(t).Listen.Admin.String() || at(job, "job_name") != "egress" || at(job, "scrape_interval") != "15s" {
		t.Errorf("the collector scrapes %v", job)
	}
}
