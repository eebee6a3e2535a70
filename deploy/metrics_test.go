package deploy

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest/alarms"
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
	each(t, "AWS::CloudWatch::Alarm", func(tmpl *template, name string, r resource) {
		if tmpl.name == "probe.yaml" || tmpl.name == "posture.yaml" {
			return // of other programs: TestAlarmsOfTheProbeWatchWhatItWrites, TestAlarmsOfTheCheckerWatchWhatItPrints
		}
		if expression, ok := at(r.Properties, "Metrics", 0, "Expression", "Fn::Sub").(string); ok {
			if !strings.Contains(expression, `"Deployment" = '${Deployment}'`) {
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
	if got, want := text(t, metric["Dimensions"]), `[{"Name":"Deployment","Value":{"Ref":"Deployment"}}]`; got != want {
		t.Errorf("%s watches %s of %s, want of %s", alarm, name, got, want)
	}
	if dimensions, ok := metrics[name]; !ok || !slices.Equal(dimensions, []string{"Deployment"}) {
		t.Errorf("%s watches %s, which the README does not have by deployment alone", alarm, name)
	}
}

// The dashboard of CloudWatch shows every metric of the program and every alarm, of its own
// deployment alone.
func TestDashboardOfCloudWatchShowsEveryMetricOfOneDeployment(t *testing.T) {
	t.Parallel()
	watch := templates(t)["watch.yaml"]
	body, _ := at(watch.Resources["Dashboard"].Properties, "DashboardBody", "Fn::Sub").(string)
	var b struct {
		Widgets []struct {
			Type       string
			X, Y       int
			Width      int
			Properties struct {
				Title   string
				Alarms  []string
				Metrics [][]any
			}
		}
	}
	if err := json.Unmarshal([]byte(body), &b); err != nil {
		t.Fatal(err)
	}
	metrics, shown := cloudWatch(t), map[string]bool{}
	for _, w := range b.Widgets {
		if w.X+w.Width > 24 {
			t.Errorf("%s is beyond the edge", w.Properties.Title)
		}
		for _, arn := range w.Properties.Alarms {
			shown[strings.TrimSuffix(strings.TrimPrefix(arn, "${"), ".Arn}")] = true
		}
		for _, m := range w.Properties.Metrics {
			if query, ok := at(m[0], "expression").(string); ok {
				if !strings.Contains(query, `"Deployment" = '${Deployment}'`) {
					t.Errorf("%s shows every deployment: %s", w.Properties.Title, query)
				}
				continue
			}
			if m[0] != namespace {
				if id := fmt.Sprintf("%v %v", m[0], m[1]); !slices.Contains(ofAWS, id) {
					t.Errorf("%s shows %s, which is not known", w.Properties.Title, id)
				}
				continue
			}
			name := fmt.Sprint(m[1])
			shown[name] = true
			var dimensions []string
			for i := 2; i < len(m); i += 2 {
				dimensions = append(dimensions, fmt.Sprint(m[i]))
			}
			ofFunction := slices.Equal(dimensions, []string{"Deployment", "Function"}) && (name == "Tunnels" || name == "ReportModeDaysLeft")
			if want := metrics[name]; m[3] != "${Deployment}" || !slices.Equal(dimensions, want) && !ofFunction {
				t.Errorf("%s shows %s with %v, the program has %v", w.Properties.Title, name, m[2:], want)
			}
		}
	}
	for name := range metrics {
		if !shown[name] {
			t.Errorf("no widget shows %s", name)
		}
	}
	for name, r := range watch.Resources {
		if r.Type == "AWS::CloudWatch::Alarm" && r.Condition == "" && !shown[name] {
			t.Errorf("no widget shows %s", name)
		}
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

// ofProcess are metrics of Go and of the process that dashboards and rules use.
var ofProcess = map[string]metric{
	"process_cpu_seconds_total": {kind: "counter", labels: []string{"instance", "job"}}, "go_sched_gomaxprocs_threads": {kind: "gauge", labels: []string{"instance", "job"}},
	"process_open_fds": {kind: "gauge", labels: []string{"instance", "job"}}, "process_max_fds": {kind: "gauge", labels: []string{"instance", "job"}},
}

// ofPrometheus finds the names of metrics in an expression.
var ofPrometheus = regexp.MustCompile(`\b(?:egress|process|go)_[a-z_]+`)

// board is what is read of the dashboard.
type board struct {
	Templating struct {
		List []struct {
			Name  string
			Type  string
			Query any
		}
	}
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

// dashboard reads the dashboard of Grafana.
func dashboard(t *testing.T) (b board) {
	t.Helper()
	if err := json.Unmarshal([]byte(read(t, "grafana/egress.json")), &b); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDashboardAsksForMetricsAndLabelsThatExist(t *testing.T) {
	t.Parallel()
	metrics := registered(t)
	maps.Copy(metrics, ofProcess)
	for _, n := range ofPrometheus.FindAllString(read(t, "grafana/egress.json"), -1) {
		if _, ok := metrics[n]; !ok {
			t.Errorf("the dashboard names %s, which is not registered", n)
		}
	}
	ids := map[int]bool{}
	for _, p := range dashboard(t).Panels {
		if ids[p.ID] {
			t.Errorf("two panels have the id %d", p.ID)
		}
		ids[p.ID] = true
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("%s shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			names := ofPrometheus.FindAllString(target.Expr, -1)
			if len(names) == 0 {
				t.Errorf("%s asks for no metric: %s", p.Title, target.Expr)
			}
			// Several deployments may be scraped.
			if n := strings.Count(target.Expr, `job=~"$job"`); n != len(names) {
				t.Errorf("%s has %d metrics, and says %d times of which deployment: %s", p.Title, len(names), n, target.Expr)
			}
			for _, n := range names {
				checkQuery(t, p.Title, target.Expr+" "+target.LegendFormat, n, metrics[n])
			}
		}
	}
}

// Whoever is woken finds on the dashboard whatever there is.
func TestDashboardShowsEveryMetric(t *testing.T) {
	t.Parallel()
	shown := map[string]bool{}
	for _, p := range dashboard(t).Panels {
		for _, target := range p.Targets {
			for _, n := range ofPrometheus.FindAllString(target.Expr, -1) {
				shown[n] = true
			}
		}
	}
	for name, m := range registered(t) {
		if m.kind == "histogram" && !strings.HasSuffix(name, "_bucket") {
			continue
		}
		if !shown[name] {
			t.Errorf("no panel shows %s", name)
		}
	}
}

// What counts as refused, and which bounds refuse, says the program.
func TestDashboardHasTheKindsOfReasonsAndBoundsOfTheProgram(t *testing.T) {
	t.Parallel()
	found := 0
	for _, v := range dashboard(t).Templating.List {
		if v.Type != "constant" {
			continue
		}
		found++
		if want := strings.Join(alarms.Names(v.Name), "|"); v.Query != want {
			t.Errorf("%s is %v, want %s", v.Name, v.Query, want)
		}
	}
	if found != 4 {
		t.Errorf("%d kinds, want 4", found)
	}
}

// A rule for a metric that is not there never fires, and nobody sees why.
func TestAlarmsOfPrometheusAskForMetricsAndLabelsThatExist(t *testing.T) {
	t.Parallel()
	metrics := registered(t)
	maps.Copy(metrics, ofProcess)
	for _, a := range table(t) {
		if a.Prometheus == nil {
			continue
		}
		names := ofPrometheus.FindAllString(strings.NewReplacer(`job=~"egress`, `job=~"`).Replace(a.Prometheus.Expr), -1)
		for _, n := range names {
			if _, ok := metrics[n]; !ok {
				t.Errorf("%s asks for %s, which is not registered", a.Name, n)
			}
			checkQuery(t, a.Name, a.Prometheus.Expr, n, metrics[n])
		}
		if len(names) == 0 && !strings.Contains(a.Prometheus.Expr, "up{") {
			t.Errorf("%s asks for no metric", a.Name)
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
