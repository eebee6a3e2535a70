package result

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/probe"
)

// made is when every probe of the tests was made.
var made = time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC)

// report is a probe with one try beside the control, whose target was chosen to be
// mistaken for a terminal's command.
func report(t *testing.T, o probe.Outcome) *probe.Report {
	t.Helper()
	tries, err := probe.Plan("allowed.test:443", probe.Targets{probe.ICMP: {}})
	if err != nil {
		t.Fatal(err)
	}
	control := probe.Judge(&tries[0], &probe.Outcome{Connected: true, Answered: true, Match: true, Detail: "fine"})
	try := probe.Try{Way: probe.NTP, Target: "192.0.2.1:123", Method: probe.MethodNTP}
	return probe.Conclude(made, []probe.Finding{control, probe.Judge(&try, &o), control}, []probe.Way{probe.ICMP}, nil)
}

// hostile is a detail as somebody who answers may choose it.
const hostile = "\x1b[2Jcertificate for \u202eevil"

// written writes a report.
func written(t *testing.T, r *probe.Report, f Format) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, r, f, &About{Version: "1", Deployment: "blue"}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestEveryFormatSaysTheVerdictAndActsOnNoTerminal(t *testing.T) {
	t.Parallel()
	hole := report(t, probe.Outcome{Answered: true, Match: true, Detail: hostile})
	for _, format := range Formats() {
		out := written(t, hole, Format(format))
		if strings.ContainsAny(out, "\x1b\u202e") || (format != string(Text) && strings.Count(out, "\n") != 1) {
			t.Errorf("%s: %q", format, out)
		}
	}
	text := written(t, hole, Text)
	for _, want := range []string{"the fence has a hole: ntp", "cure: let UDP port 123", "not tried  icmp"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in:\n%s", want, text)
		}
	}
	var read probe.Report
	if err := json.Unmarshal([]byte(written(t, hole, JSON)), &read); err != nil || read.Verdict != probe.Hole || read.Findings[1].Detail != hostile {
		t.Errorf("%v %+v", err, read)
	}
}

// A probe that can say nothing has no FenceHolds: neither 1, which would be an all-clear,
// nor 0, which would name a hole that nobody saw.
func TestMetricsAndEventOfEachVerdict(t *testing.T) {
	t.Parallel()
	nothing := probe.Conclude(made, []probe.Finding{{Try: probe.Try{Way: probe.Control}, Class: probe.Failed}}, nil, nil)
	for name, row := range map[string]struct {
		r                *probe.Report
		holds, control   any
		severity, status string
	}{
		"holds":   {report(t, probe.Outcome{}), 1.0, 1.0, "Informational", "Pass"},
		"hole":    {report(t, probe.Outcome{Answered: true, Match: true}), 0.0, 1.0, "High", "Fail"},
		"unclear": {report(t, probe.Outcome{Answered: true}), 0.0, 1.0, "Medium", "Warning"},
		"unknown": {nothing, nil, 0.0, "Medium", "Warning"},
	} {
		var metrics, e map[string]any
		if err := errors.Join(json.Unmarshal([]byte(written(t, row.r, EMF)), &metrics), json.Unmarshal([]byte(written(t, row.r, OCSF)), &e)); err != nil {
			t.Fatal(err)
		}
		if metrics["FenceHolds"] != row.holds || metrics["ProbeControl"] != row.control || metrics["Deployment"] != "blue" || metrics["_aws"] == nil {
			t.Errorf("%s: %v", name, metrics)
		}
		// What OCSF 1.6.0 requires of class 2003.
		for _, key := range []string{"activity_id", "category_uid", "class_uid", "compliance", "finding_info", "metadata", "severity_id", "time", "type_uid"} {
			if e[key] == nil {
				t.Errorf("%s: %s is missing: %v", name, key, e)
			}
		}
		if e["severity"] != row.severity || e["compliance"].(map[string]any)["status"] != row.status || e["finding_info"].(map[string]any)["uid"] != "fence/blue" || e["time"] != 1769817600000.0 {
			t.Errorf("%s: %v", name, e)
		}
	}
}

// full fails as a full disk does.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("full") }

func TestAWriterThatFailsAndAFormatThatIsNoneAreToldOf(t *testing.T) {
	t.Parallel()
	for _, format := range append(Formats(), "html") {
		if err := Write(full{}, report(t, probe.Outcome{}), Format(format), &About{}); err == nil {
			t.Errorf("%s: no error", format)
		}
	}
}
