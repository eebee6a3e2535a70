package ocsf_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/ocsf"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/finding"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/output"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/probe"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/probe/result"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/summary"
)

// whole is a Compliance Finding with everything that one can have.
func whole() *ocsf.Compliance {
	return &ocsf.Compliance{
		Time: time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC), Product: "posture", Version: "1.2.3", UID: "1", Title: "a title", Desc: "a description", Types: []string{"P01"},
		Message: "a message", Severity: ocsf.High, Result: ocsf.Failed, Suppressed: "somebody", Standards: []string{"a standard"}, Control: "P01", Remediation: "a cure",
		Owner: "111122223333", Region: "eu-west-1", Resources: []string{"r"}, Unmapped: map[string]int{"n": 1},
	}
}

// fits checks events against the schema, a line each, and returns how many there are.
func fits(t *testing.T, lines string) int {
	t.Helper()
	s := loadSchema(t)
	all := strings.Split(strings.TrimSuffix(lines, "\n"), "\n")
	for _, l := range all {
		for _, wrong := range s.check([]byte(l)) {
			t.Errorf("%s\nin %s", wrong, l)
		}
	}
	return len(all)
}

func TestComplianceFindingsFitTheSchemaWhateverIsLeftOut(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(c *ocsf.Compliance){
		"everything": func(*ocsf.Compliance) {}, "no cloud": func(c *ocsf.Compliance) { c.Owner = "" }, "no region": func(c *ocsf.Compliance) { c.Region = "" },
		"no resource": func(c *ocsf.Compliance) { c.Resources = nil }, "no cure": func(c *ocsf.Compliance) { c.Remediation = "" }, "nobody": func(c *ocsf.Compliance) { c.Suppressed = "" },
		"nothing else": func(c *ocsf.Compliance) { c.Unmapped, c.Types, c.Desc, c.Control, c.Version = nil, nil, "", "", "" },
		"no severity":  func(c *ocsf.Compliance) { c.Severity = 0 }, "no result": func(c *ocsf.Compliance) { c.Result = 0 },
		"informational": func(c *ocsf.Compliance) { c.Severity, c.Result = ocsf.Informational, ocsf.Passed }, "low": func(c *ocsf.Compliance) { c.Severity, c.Result = ocsf.Low, ocsf.NoResult },
		"medium": func(c *ocsf.Compliance) { c.Severity = ocsf.Medium },
	} {
		c := whole()
		change(c)
		line, err := c.Line()
		if err != nil {
			t.Fatal(err)
		}
		if !t.Run(name, func(t *testing.T) { fits(t, string(line)) }) {
			continue
		}
		if strings.Contains(string(line), `"status":"Pass"`) != (c.Result == ocsf.Passed) {
			t.Errorf("%s: %s", name, line)
		}
	}
	// What the check is for it finds in this class too.
	s, line := loadSchema(t), func() string { b, _ := whole().Line(); return string(b) }()
	for _, row := range []struct{ old, new, want string }{
		{`"finding_info":{"uid":"1",`, `"finding_info":{`, "finding_info.uid is required"}, {`"compliance":{`, `"compliances":{`, "compliance is required"},
		{`"standards":["a standard"],`, ``, "compliance.standards is required"}, {`"status_id":3,"status":"Fail"`, `"status_id":1,"status":"Fail"`, "the caption of 1 is Pass"},
		{`"profiles":["cloud"]`, `"profiles":[]`, "is of the profile cloud"}, {`"resources":[{"uid":"r",`, `"resources":[{`, "none of [name uid]"},
		{`"cloud":{"provider":"AWS",`, `"cloud":{`, "cloud.provider is required"}, {`"cloud":{`, `"clouds":{`, "cloud is required"},
		{`"type_uid":200301`, `"type_uid":200302`, "type_uid 200302"}, {`"category_uid":2`, `"category_uid":4`, "category_uid: 4 is not in the enumeration"},
	} {
		broken := strings.Replace(line, row.old, row.new, 1)
		if found := strings.Join(s.check([]byte(broken)), "\n"); broken == line || !strings.Contains(found, row.want) {
			t.Errorf("%s for %s: found %q, want %q", row.new, row.old, found, row.want)
		}
	}
}

// Both programs write events of this class, and each of theirs fits.
func TestWhatThePostureAndItsProbeWriteFitsTheSchema(t *testing.T) {
	t.Parallel()
	report := &output.Report{Made: "2026-01-31T00:00:00Z", Version: "1.2.3", Summary: &summary.Summary{}}
	for _, severity := range []finding.Severity{finding.High, finding.Medium, finding.Low, finding.Info} {
		for _, id := range []string{"P01", finding.Unread, finding.Acceptance} {
			for _, accepted := range []string{"", "somebody, for a reason"} {
				for _, cure := range []string{"", "a command"} {
					for _, account := range []string{"", "111122223333"} {
						report.Findings = append(report.Findings, finding.Finding{ID: id, Title: "t", Severity: severity, Owner: account, Region: "eu-west-1", Resource: "r", Cure: cure, Accepted: accepted})
					}
				}
			}
		}
	}
	var b bytes.Buffer
	if err := output.Write(&b, report, output.OCSF); err != nil {
		t.Fatal(err)
	}
	if n := fits(t, b.String()); n != 96 {
		t.Errorf("%d events", n)
	}
	b.Reset()
	control := probe.Finding{Try: probe.Try{Way: probe.Control}, Class: probe.Works}
	for _, class := range []probe.Class{probe.Open, probe.Held, probe.Captive, probe.NotTried} {
		found := []probe.Finding{control, {Try: probe.Try{Way: probe.NTP}, Class: class, Cure: "close it"}, {Try: probe.Try{Way: probe.NTP}, Class: class, Cure: "close it"}, control}
		for _, deployment := range []string{"", "blue"} {
			if err := result.Write(&b, probe.Conclude(time.Unix(1, 0), found, nil, nil), result.OCSF, &result.About{Deployment: deployment}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := fits(t, b.String()); n != 8 || strings.Count(b.String(), `"remediation":{"desc":"ntp: close it"}`) != 2 {
		t.Errorf("%d events: %s", n, b.String())
	}
}

// What somebody chose acts on no terminal, and reads as it was.
func TestTextOfAComplianceFindingIsInert(t *testing.T) {
	t.Parallel()
	const hostile = "\x1b[2J\u202e<script>\n"
	c := whole()
	c.Title, c.Resources, c.Unmapped = hostile, []string{hostile}, map[string]string{"n": hostile}
	line, err := c.Line()
	if err != nil || bytes.ContainsAny(line, "\x1b\u202e") || bytes.Count(line, []byte("\n")) != 1 {
		t.Fatalf("%v %q", err, line)
	}
	var e map[string]any
	if err := json.Unmarshal(line, &e); err != nil || e["finding_info"].(map[string]any)["title"] != hostile {
		t.Errorf("%v %v", err, e)
	}
	if _, err := (&ocsf.Compliance{Unmapped: func() {}}).Line(); err == nil {
		t.Error("what is no JSON was encoded")
	}
}
