package alarms_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest/alarms"
)

// table returns the table of alarms.
func table(t *testing.T) []alarms.Alarm {
	t.Helper()
	return alarms.Read(t, "../../../deploy/alarms.yaml", yaml.Unmarshal)
}

// well is a scrape of a task that is well, with a series or two beside.
func well(more ...string) string {
	text := `# TYPE egress_config_last_reload_successful gauge
egress_config_last_reload_successful 1
egress_audit_lost_total 0
egress_audit_pending_seconds 0
`
	for _, line := range more {
		text += line + "\n"
	}
	return text
}

func TestPromtoolSaysWhichAlarmsFireAndSinceWhen(t *testing.T) {
	t.Parallel()
	s := alarms.NewScrapes(table(t))
	other := func(text string) { s.Add(map[string]string{"a": text, "b": well()}) }
	ends := time.Now().Add(3 * 24 * time.Hour).Unix()
	for range 4 {
		other(well())
	}
	for range 4 {
		other(well(fmt.Sprintf("egress_rule_expiry_timestamp_seconds{function=\"a\"} %d", ends)) + "egress_dns_upstream_up{upstream=\"192.0.2.53:53\"} 0\n")
	}
	other("")
	firing := s.Firing(t)
	want := [][]string{nil, nil, nil, nil, {"RuleEnds"}, {"RuleEnds"}, {"ResolverDown", "RuleEnds"}, {"ResolverDown", "RuleEnds"}, nil}
	for i := range want {
		if !slices.Equal(firing[i], want[i]) {
			t.Errorf("at the scrape %d there fire %v, want %v", i, firing[i], want[i])
		}
	}
}

// line is a line of the task with metrics.
func line(members map[string]float64) string {
	metrics := []map[string]string{}
	all := map[string]any{"Deployment": "egress-proxy"}
	for name, value := range members {
		metrics = append(metrics, map[string]string{"Name": name, "Unit": "Count"})
		all[name] = value
	}
	all["_aws"] = map[string]any{"Timestamp": 0, "CloudWatchMetrics": []any{map[string]any{"Namespace": "Egress", "Dimensions": [][]string{{"Deployment"}}, "Metrics": metrics}}}
	b, err := json.Marshal(all)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// decisions is a line of decisions of a function.
func decisions(function, reason string, n int) string {
	return fmt.Sprintf(`{"Deployment":"egress-proxy","Function":%q,"Verdict":"deny","Reason":%q,"Decisions":%d,"_aws":{"Timestamp":0,"CloudWatchMetrics":[{"Namespace":"Egress","Dimensions":[["Deployment","Function","Verdict","Reason"]],"Metrics":[{"Name":"Decisions","Unit":"Count"}]}]}}`, function, reason, n)
}

// Each row is what tasks print in so many minutes, one string a minute.
func TestEvaluatorTellsAlarmsFromBlips(t *testing.T) {
	t.Parallel()
	fine := line(map[string]float64{"LastReloadSuccessful": 1})
	many := map[string]float64{"Requests": 100, "OriginsFailed": 30}
	for what, row := range map[string]struct {
		minutes []string
		want    []string
	}{
		"all is well":                                 {[]string{fine, fine, fine}, nil},
		"nothing in one minute":                       {[]string{fine, fine, "", fine}, nil},
		"nothing in two minutes":                      {[]string{fine, "", ""}, []string{"NothingReports"}},
		"a load has failed":                           {[]string{fine, line(map[string]float64{"LastReloadSuccessful": 0})}, []string{"Reload"}},
		"origins fail in one minute":                  {[]string{fine, line(many)}, nil},
		"origins fail in two minutes":                 {[]string{line(many), line(many)}, []string{"OriginsFailing"}},
		"a few of many origins fail":                  {[]string{line(map[string]float64{"Requests": 100, "OriginsFailed": 20}), line(map[string]float64{"Requests": 100, "OriginsFailed": 20})}, nil},
		"all of two requests a minute come to naught": {[]string{line(map[string]float64{"Requests": 2, "OriginsFailed": 2}), line(map[string]float64{"Requests": 2, "OriginsFailed": 2})}, nil},
		"an event is lost":                            {[]string{fine, line(map[string]float64{"AuditLost": 1})}, []string{"AuditLost"}},
		"a certificate has ended":                     {[]string{line(map[string]float64{"CertificateDaysLeft": -0.5})}, []string{"CertificateEnds", "CertificateExpired"}},
		"a function is refused":                       {[]string{decisions("a", "host_not_allowed", 4), decisions("a", "port_not_allowed", 2), fine, fine, fine}, []string{"FunctionRefusals"}},
		"two functions are refused a little":          {[]string{decisions("a", "host_not_allowed", 4), decisions("b", "port_not_allowed", 4), fine, fine, fine}, nil},
		"a function's origins fail":                   {[]string{decisions("a", "dial_timeout", 40), fine, fine, fine, fine}, nil},
		"a function has its share":                    {[]string{decisions("a", "limit_function", 40), fine, fine, fine, fine}, nil},
		"Java begins":                                 {[]string{decisions("a", "identity_required", 40), fine, fine, fine, fine}, nil},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			h := alarms.NewHistory(table(t))
			began := time.Unix(0, 0).Add(time.Hour)
			at := began.Add(-10 * time.Minute)
			for ; at.Before(began); at = at.Add(time.Minute) {
				h.Line(t, fine, at)
			}
			for _, said := range row.minutes {
				if said != "" {
					h.Line(t, said, at.Add(30*time.Second))
				}
				at = at.Add(time.Minute)
			}
			for minute := began.Add(-10 * time.Minute); minute.Before(at); minute = minute.Add(time.Minute) {
				for _, name := range []string{"HealthyHostCount", "UnHealthyHostCount"} {
					h.Observe("AWS/NetworkELB", name, minute, map[string]float64{"HealthyHostCount": 2}[name])
				}
			}
			if got := h.Firing(at); !slices.Equal(got, row.want) {
				t.Errorf("there fire %v, want %v", got, row.want)
			}
		})
	}
}
