package deploy

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/reader"
)

// The role of the checker's task reads what the program says that it calls, and nothing else of
// the account. What it writes is its own.
func TestCheckerMayDoWhatItPrints(t *testing.T) {
	t.Parallel()
	document, err := reader.IAMPolicy(nil, []string{"policies"}, []string{"s3://policies/egress.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	var printed struct {
		Statement []struct {
			Sid              string
			Action, Resource []string
		}
	}
	if err := json.Unmarshal(document, &printed); err != nil {
		t.Fatal(err)
	}
	all, _ := statementsOf(deployed(t, "posture.yaml", nil).Resources["TaskRole"]).([]any)
	given := map[string]any{}
	for _, s := range all {
		given[at(s, "Sid").(string)] = s
	}
	for _, want := range printed.Statement {
		s := given[want.Sid]
		if got := list(at(s, "Action")); text(t, got) != text(t, want.Action) {
			t.Errorf("%s allows %s, the program calls %s", want.Sid, text(t, got), text(t, want.Action))
		}
		if got := list(at(s, "Resource")); text(t, got) != text(t, want.Resource) {
			t.Errorf("%s is of %s, the program says %s", want.Sid, text(t, got), text(t, want.Resource))
		}
		delete(given, want.Sid)
	}
	writes := func(action string) bool {
		return !slices.ContainsFunc([]string{":Get", ":List", ":Describe"}, func(verb string) bool { return strings.Contains(action, verb) })
	}
	for sid, s := range given {
		for _, action := range list(at(s, "Action")) {
			if resource := text(t, at(s, "Resource")); writes(action.(string)) && resource != `"${Findings.Arn}/*"` {
				t.Errorf("%s allows %s on %s", sid, action, resource)
			}
		}
	}
}

// The command line is one that the program takes, whichever parameters are given.
func TestCheckerIsCalledAsItCanBe(t *testing.T) {
	t.Parallel()
	page := read(t, "../docs/posture.md")
	for what, row := range map[string]struct {
		given settings
		want  string
	}{
		"defaults": {nil, "--regions eu-west-1 --bucket policies --policy s3://policies/egress.yaml --gate proxy.internal --archive s3://${Findings}/ --format emf --deployment gate-of-eu"},
		"options": {
			settings{"Regions": "eu-west-1,us-east-1", "AcceptKey": "accepted.yaml"},
			"--regions eu-west-1,us-east-1 --bucket policies --policy s3://policies/egress.yaml --gate proxy.internal --accept s3://policies/accepted.yaml --archive s3://${Findings}/ --format emf --deployment gate-of-eu",
		},
	} {
		var words []string
		command, _ := at(deployed(t, "posture.yaml", row.given).Resources["Task"].Properties, "ContainerDefinitions", 0, "Command").([]any)
		for _, word := range command {
			words = append(words, word.(string))
			if flag := word.(string); strings.HasPrefix(flag, "--") && !strings.Contains(page, "`"+flag+" ") {
				t.Errorf("the page of the checker has no %s", flag)
			}
		}
		if got := strings.Join(words, " "); got != row.want {
			t.Errorf("%s: %s, want %s", what, got, row.want)
		}
	}
}

// The alarms on the checker watch metrics that the page has, of this stack's own runs; that the
// page has what the program prints is a test of the program.
func TestAlarmsOfTheCheckerWatchWhatItPrints(t *testing.T) {
	t.Parallel()
	var told []string
	for _, row := range rows(t, read(t, "ecs/README.md"), "metric of the checker") {
		told = append(told, strings.Split(row[0], ", ")...)
	}
	s := deployed(t, "posture.yaml", settings{"AlarmTopicArn": "arn:aws:sns:eu-west-1:111122223333:a"})
	for name, missing := range map[string]string{"NewHighFindingAlarm": "notBreaching", "CheckerSilentAlarm": "breaching"} {
		alarm := s.Resources[name]
		if metric, _ := alarm.Properties["MetricName"].(string); !slices.Contains(told, metric) {
			t.Errorf("%s watches %q, which is not among %v", name, metric, told)
		}
		alarm.want(t, "Egress", "Namespace")
		alarm.want(t, []any{map[string]any{"Name": "Deployment", "Value": pseudo["AWS::StackName"]}}, "Dimensions")
		alarm.want(t, missing, "TreatMissingData")
		alarm.want(t, []any{"arn:aws:sns:eu-west-1:111122223333:a"}, "AlarmActions")
	}
	// A schedule that is taken has to fit into the time of silence.
	silent := s.Resources["CheckerSilentAlarm"].Properties
	if hours := silent["EvaluationPeriods"].(int) * silent["Period"].(int) / 3600; hours < 24 {
		t.Errorf("the alarm comes after %d hours, and a run each 12 is taken", hours)
	}
}

// The image has the clients of AWS, and is the proxy's in all else.
func TestImageOfTheCheckerReadsAccounts(t *testing.T) {
	t.Parallel()
	instructions := func(file string) (all []string) {
		for line := range strings.Lines(read(t, file)) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				all = append(all, line)
			}
		}
		return all
	}
	of := strings.NewReplacer("go build -trimpath", "go build -tags aws -trimpath", "/image/proxy ./cmd/proxy", "/image/posture ./cmd/posture", `["/proxy"]`, `["/posture"]`)
	var want []string
	for _, line := range instructions("../Dockerfile") {
		if !strings.HasPrefix(line, "EXPOSE") && !strings.HasPrefix(line, "CMD") {
			want = append(want, of.Replace(line))
		}
	}
	if got := instructions("posture/Dockerfile"); !slices.Equal(got, want) {
		t.Errorf("the image is made by\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
