package deploy

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// namespace is where the program's CloudWatch metrics are.
const namespace = "Egress"

// ofAWS are the metrics of AWS itself that alarms use.
var ofAWS = []string{
	"AWS/NetworkELB UnHealthyHostCount", "AWS/NetworkELB HealthyHostCount", "AWS/Logs IncomingLogEvents", "AWS/ECS CPUUtilization",
}

// cloudWatch returns the dimensions of every CloudWatch metric by its name, as the README
// lists them.
func cloudWatch(t *testing.T) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for _, row := range rows(t, read(t, "ecs/README.md"), "metric") {
		for name := range strings.SplitSeq(row[0], ", ") {
			all[name] = strings.Split(row[1], ", ")
		}
	}
	return all
}

func TestEveryAlarmWatchesAMetricThatExists(t *testing.T) {
	t.Parallel()
	metrics := cloudWatch(t)
	watched := map[string]bool{"Tunnels": true, "Decisions": true} // on which the service scales, and of which dashboards are made
	insight := regexp.MustCompile(`^SELECT \w+\((\w+)\) FROM SCHEMA\((\w+), (.*?)\) WHERE (.*?) GROUP BY "Function" ORDER BY SUM\(\) DESC$`)
	each(t, "AWS::CloudWatch::Alarm", func(_ *template, name string, r resource) {
		if expression, ok := at(r.Properties, "Metrics", 0, "Expression", "Fn::Sub").(string); ok {
			if !strings.Contains(expression, `"Deployment" = '${AWS::StackName}'`) {
				t.Errorf("%s counts every deployment's: %s", name, expression)
			}
			m := insight.FindStringSubmatch(expression)
			if m == nil || m[2] != namespace {
				t.Fatalf("%s: %s", name, expression)
			}
			dimensions := strings.Split(strings.ReplaceAll(m[3], `"`, ""), ", ")
			if want, ok := metrics[m[1]]; !ok || !slices.Equal(dimensions, want) {
				t.Errorf("%s watches %s with %v, the program has %v", name, m[1], dimensions, want)
			}
			for _, used := range regexp.MustCompile(`"(\w+)"`).FindAllStringSubmatch(m[4], -1) {
				if !slices.Contains(dimensions, used[1]) {
					t.Errorf("%s asks for %s", name, used[1])
				}
			}
			return
		}
		list, _ := r.Properties["Metrics"].([]any)
		for _, m := range list {
			if stat := at(m, "MetricStat", "Metric"); stat != nil {
				watches(t, name, stat.(map[string]any), metrics, watched)
			}
		}
		if list == nil {
			watches(t, name, r.Properties, metrics, watched)
		}
	})
	for want := range metrics {
		if !watched[want] {
			t.Errorf("no alarm watches %s", want)
		}
	}
}

// watches checks the metric that an alarm watches, and remembers its name.
func watches(t *testing.T, alarm string, metric map[string]any, metrics map[string][]string, watched map[string]bool) {
	t.Helper()
	name := fmt.Sprint(metric["MetricName"])
	if metric["Namespace"] != namespace {
		if id := fmt.Sprintf("%v %s", metric["Namespace"], name); !slices.Contains(ofAWS, id) {
			t.Errorf("%s watches %s, which is not known", alarm, id)
		}
		return
	}
	watched[name] = true
	if got, want := text(t, metric["Dimensions"]), `[{"Name":"Deployment","Value":{"Ref":"AWS::StackName"}}]`; got != want {
		t.Errorf("%s watches %s of %s, want of %s", alarm, name, got, want)
	}
	if dimensions, ok := metrics[name]; !ok || !slices.Equal(dimensions, []string{"Deployment"}) {
		t.Errorf("%s watches %s, which the README does not have by deployment alone", alarm, name)
	}
}

func TestREADMESaysWhatToDoForEveryAlarm(t *testing.T) {
	t.Parallel()
	told := map[string]bool{}
	for _, row := range rows(t, read(t, "ecs/README.md"), "alarm") {
		told[row[0]] = true
	}
	each(t, "AWS::CloudWatch::Alarm", func(_ *template, name string, r resource) {
		if !told[name] {
			t.Errorf("README.md does not say what to do for %s", name)
		}
		delete(told, name)
		if r.Properties["TreatMissingData"] == nil || r.Properties["AlarmDescription"] == nil {
			t.Errorf("%s leaves open what it means, or what missing data means", name)
		}
	})
	for name := range told {
		t.Errorf("README.md has the alarm %s, no template has it", name)
	}
}

// metric is a Prometheus metric, as docs/metrics.md lists it. That the list is what the
// program registers is a test at the root of the repository.
type metric struct {
	kind   string
	labels []string
}

// registered returns the program's metrics by name, with the series of histograms.
func registered(t *testing.T) map[string]metric {
	t.Helper()
	_, section, ok := strings.Cut(read(t, "../docs/metrics.md"), "\n## Prometheus\n")
	if !ok {
		t.Fatal("docs/metrics.md has no section Prometheus")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	all := map[string]metric{}
	for _, row := range rows(t, section, "name") {
		m := metric{kind: row[1], labels: []string{"instance", "job"}}
		if row[2] != "–" {
			m.labels = append(m.labels, strings.Split(row[2], ", ")...)
		}
		if m.kind != "histogram" {
			all[row[0]] = m
			continue
		}
		for _, series := range []string{"_sum", "_count", "_bucket"} {
			all[row[0]+series] = m
		}
		m.labels = append(slices.Clone(m.labels), "le")
		all[row[0]+"_bucket"] = m
	}
	return all
}

func TestDashboardAsksForMetricsAndLabelsThatExist(t *testing.T) {
	t.Parallel()
	var board struct {
		Panels []struct {
			ID      int
			Title   string
			Type    string
			Targets []struct {
				Expr         string
				LegendFormat string
			}
		}
	}
	raw := read(t, "grafana/egress.json")
	if err := json.Unmarshal([]byte(raw), &board); err != nil {
		t.Fatal(err)
	}
	metrics := registered(t)
	name := regexp.MustCompile(`\begress_[a-z_]+`)
	for _, n := range name.FindAllString(raw, -1) {
		if _, ok := metrics[n]; !ok {
			t.Errorf("the dashboard names %s, which is not registered", n)
		}
	}
	ids, shown := map[int]bool{}, map[string]bool{}
	for _, p := range board.Panels {
		if ids[p.ID] {
			t.Errorf("two panels have the id %d", p.ID)
		}
		ids[p.ID] = true
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("%s shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			names := name.FindAllString(target.Expr, -1)
			if len(names) == 0 {
				t.Errorf("%s asks for no metric: %s", p.Title, target.Expr)
			}
			for _, n := range names {
				shown[strings.TrimSuffix(strings.TrimSuffix(n, "_bucket"), "_total")] = true
				checkQuery(t, p.Title, target.Expr+" "+target.LegendFormat, n, metrics[n])
			}
		}
	}
	for _, want := range []string{"egress_decisions", "egress_tunnels", "egress_setup_seconds", "egress_dns_upstream_seconds", "egress_audit_lost"} {
		if !shown[want] {
			t.Errorf("no panel shows %s", want)
		}
	}
}

// checkQuery compares the labels of a query with those of its metric, and the function
// around it with the metric's type.
func checkQuery(t *testing.T, title, query, name string, m metric) {
	t.Helper()
	label := regexp.MustCompile(`([a-z_]+)(?:=~|!=|=)"|\{\{(\w+)\}\}`)
	grouped := regexp.MustCompile(`by \(([^)]*)\)`)
	var used []string
	for _, f := range label.FindAllStringSubmatch(query, -1) {
		used = append(used, f[1]+f[2])
	}
	for _, f := range grouped.FindAllStringSubmatch(query, -1) {
		used = append(used, strings.Split(f[1], ", ")...)
	}
	for _, l := range used {
		if !slices.Contains(m.labels, l) {
			t.Errorf("%s: %s has no label %s", title, name, l)
		}
	}
	over := regexp.MustCompile(`(rate|increase)\(` + name).MatchString(query)
	if m.kind == "gauge" && over {
		t.Errorf("%s: %s is a gauge and has no rate", title, name)
	}
	if m.kind == "histogram" && !over {
		t.Errorf("%s: %s counts since the start; it wants a rate", title, name)
	}
}
