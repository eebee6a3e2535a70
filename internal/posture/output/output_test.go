package output

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode"

	"golang.org/x/net/html"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/finding"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/snapshot"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/summary"
)

// hostile is a name that somebody may have given: it acts on a terminal, in Markdown and in
// a page, where it is let.
const hostile = "x\x1b[2J\u202e`|<script>alert(1)</script>\"'\r\n# h"

// report is one with a finding of each kind.
func report() *Report {
	set := &snapshot.Set{Snapshots: []snapshot.Snapshot{{ID: "111122223333", Regions: []snapshot.Region{{Name: "r", Functions: []snapshot.Function{{Name: hostile}, {Name: "b"}}}}}}}
	found := []finding.Finding{
		{ID: "P02", Title: "route", Owner: "111122223333", Region: "r", Resource: hostile, Evidence: hostile, Consequence: "so", Cure: hostile, Functions: []string{hostile}},
		{ID: "P06", Title: "settings", Severity: finding.Medium, Owner: "111122223333", Region: "r", Resource: "arn", Evidence: "e", Consequence: "so", Cure: "c", Accepted: hostile},
		{ID: "P11", Title: "triggers", Severity: finding.Info, Owner: "111122223333", Region: "r", Resource: "arn", Evidence: "e", Consequence: "so", Cure: "c"},
		{ID: finding.Unread, Title: "could not be read", Owner: "111122223333", Resource: "iam:X", Evidence: "AccessDenied", Consequence: "so", Cure: "c"},
	}
	s := summary.Of(set, found)
	return &Report{Made: "2026-01-31T00:00:00Z", Version: "v1.2.3", Headline: s.Headline(), Summary: s, Findings: found}
}

// written returns a report in a format.
func written(t *testing.T, f Format) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, report(), f); err != nil {
		t.Fatalf("%s: %v", f, err)
	}
	return b.String()
}

func TestEveryFormatSaysAllOfIt(t *testing.T) {
	t.Parallel()
	for _, word := range Formats() {
		text := written(t, Format(word))
		for _, want := range []string{"P02", "P06", "P11", "unread", "AccessDenied", "111122223333"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s has no %s", word, want)
			}
		}
		if word != string(OCSF) && !strings.Contains(text, "1 of 2 functions are behind the gate; not everything could be read") {
			t.Errorf("%s has no headline:\n%s", word, text)
		}
	}
	if err := Write(&bytes.Buffer{}, report(), "pdf"); err == nil {
		t.Error("pdf is written")
	}
}

// What somebody called a resource acts on nothing.
func TestNamesActOnNothing(t *testing.T) {
	t.Parallel()
	for _, word := range Formats() {
		for _, r := range written(t, Format(word)) {
			if !unicode.IsPrint(r) && r != '\n' {
				t.Errorf("%s has %U", word, r)
				break
			}
		}
	}
	for line := range strings.Lines(written(t, Markdown)) {
		if strings.HasPrefix(line, "| ") && strings.Contains(line, "alert") && strings.Count(line, "|") != 6 {
			t.Errorf("the name ends its cell: %s", line)
		}
		if strings.Contains(line, "alert") && strings.Count(line, "`")%2 != 0 {
			t.Errorf("the name ends its span: %s", line)
		}
	}
}

func TestThePageHasOneScriptAndNothingFromElsewhere(t *testing.T) {
	t.Parallel()
	page := written(t, HTML)
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	scripts, rows := 0, 0
	for n := range root.Descendants() {
		if n.Data == "script" {
			scripts++
		}
		for _, a := range n.Attr {
			if slices.Contains([]string{"src", "href", "action", "onclick", "onload"}, a.Key) {
				t.Errorf("<%s %s=%q>", n.Data, a.Key, a.Val)
			}
			if n.Data == "tr" && a.Key == "class" && strings.HasPrefix(a.Val, "row ") {
				rows++
			}
		}
	}
	if scripts != 1 || rows != 6 || !strings.Contains(page, "default-src 'none'") || strings.Contains(page, "@import") || strings.Contains(page, "url(") {
		t.Errorf("%d scripts, %d rows:\n%s", scripts, rows, page)
	}
}

// The picture has an arrow for the gate, and one for each way round it.
func TestThePictureHasEachWay(t *testing.T) {
	t.Parallel()
	arrows := picture(report().Summary)
	if len(arrows) != 2 || !arrows[0].Behind || arrows[0].Count != 1 || arrows[1].Label != "P02 NAT gateway" || arrows[1].Count != 1 || arrows[1].Y <= arrows[0].Y {
		t.Errorf("%+v", arrows)
	}
}

// What OCSF 1.6.0 requires of class 2003, and the captions that belong to its numbers.
func TestEventsAreComplianceFindings(t *testing.T) {
	t.Parallel()
	var uids []string
	for i, line := range strings.Split(strings.TrimSpace(written(t, OCSF)), "\n") {
		var e map[string]any
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"activity_id", "category_uid", "class_uid", "compliance", "finding_info", "metadata", "severity_id", "time", "type_uid"} {
			if e[key] == nil {
				t.Errorf("%s is missing: %s", key, line)
			}
		}
		compliance, info := e["compliance"].(map[string]any), e["finding_info"].(map[string]any)
		if e["class_uid"] != 2003.0 || e["type_uid"] != 200301.0 || e["time"] != 1769817600000.0 || len(compliance["standards"].([]any)) == 0 || info["title"] == "" {
			t.Errorf("%s", line)
		}
		uids = append(uids, info["uid"].(string))
		want := []struct {
			severity, status, compliance string
		}{{"High", "New", "Fail"}, {"Medium", "Suppressed", "Fail"}, {"Informational", "New", "Pass"}, {"High", "New", "Warning"}}[i]
		if e["severity"] != want.severity || e["status"] != want.status || compliance["status"] != want.compliance {
			t.Errorf("%d: %s, want %+v", i, line, want)
		}
	}
	if slices.Sort(uids); len(slices.Compact(uids)) != 4 {
		t.Errorf("uids %q", uids)
	}
}

// A reader elsewhere gets an empty list, not null.
func TestJSONOfNothingHasAnEmptyList(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	r := report()
	r.Findings = nil
	if err := Write(&b, r, JSON); err != nil || !strings.Contains(b.String(), `"findings": []`) {
		t.Errorf("%v %s", err, b.String())
	}
}

// full fails as a full disk does.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, os.ErrInvalid }

func TestAWriterThatFailsIsToldOf(t *testing.T) {
	t.Parallel()
	for _, word := range Formats() {
		if err := Write(full{}, report(), Format(word)); err == nil {
			t.Errorf("%s: no error", word)
		}
	}
}
