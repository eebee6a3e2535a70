package report

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence"
)

// probeLine is result i, of one way, so long after began: "hole", "unclear" or "holds".
func probeLine(i int, after time.Duration, verdict, way, headline string) evidence.Line {
	class := map[string]string{"hole": "hole", "holds": "held", "unclear": "captive"}[verdict]
	control := map[string]string{"way": "control", "class": "works"}
	b, err := json.Marshal(map[string]any{
		"time": began.Add(after), "verdict": verdict, "headline": headline,
		"tries": []any{control, map[string]string{"way": way, "class": class}, control},
	})
	if err != nil {
		panic(err)
	}
	return evidence.Line{File: "probes.jsonl", Number: i + 1, Raw: b}
}

// probesOf is a report of the story with lines of probes.
func probesOf(t *testing.T, lines ...evidence.Line) *Report {
	t.Helper()
	b := New(Options{Probes: true, Generated: began.Add(1_000 * time.Hour)})
	feed(b, "records.jsonl", story(t))
	for _, l := range lines {
		if err := b.AddProbe(l); err != nil {
			t.Fatal(err)
		}
	}
	return b.Report()
}

func TestTheReportSaysHowOftenTheFenceWasProbedAndHeld(t *testing.T) {
	t.Parallel()
	var lines []evidence.Line
	for i := range 720 {
		lines = append(lines, probeLine(i, time.Duration(i)*time.Hour, "holds", "ntp", "the fence holds"))
	}
	held := probesOf(t, lines...)
	for _, f := range []Format{Markdown, CSV, HTML} {
		if got := held.written(t, f); strings.Count(got, "probed 720 times, held 720") < 2 { // on top, and where controls are
			t.Errorf("%v: %s", f, got)
		}
	}
	if held.Probes != "" {
		t.Errorf("each held, and %q", held.Probes)
	}
	has(t, rowsOf(t, held.written(t, CSV), "probe_times")[0], "gap", "1h0m0s")
	lines[7] = probeLine(7, 7*time.Hour, "hole", "ipv6", "the fence has a hole: ipv6")
	lines[8] = probeLine(8, 8*time.Hour, "unclear", "ipv6", "something answers")
	lines[9].Raw = []byte(strings.Replace(string(lines[7].Raw), `"verdict":"hole"`, `"verdict":"holds"`, 1))
	lines[10].Raw = lines[10].Raw[:20]
	broken := probesOf(t, lines...)
	const want = "probed 718 times, held 716; a way round the gate was open: 1; unclear: 1; lines that count as no result: 2"
	got := broken.written(t, CSV)
	if broken.Probes != want || !strings.Contains(got, want) {
		t.Errorf("%q, want %q", broken.Probes, want)
	}
	has(t, pick(t, rowsOf(t, got, "probe_ways"), "way", "ipv6"), "open", "1", "unclear", "1", "held", "0", "first_seen", began.Add(7*time.Hour).Format(time.RFC3339))
	has(t, pick(t, rowsOf(t, got, "probes_not_held"), "verdict", "hole"), "headline", "the fence has a hole: ipv6", "line_number", "8")
	has(t, pick(t, rowsOf(t, got, "probe_faults"), "line_number", "10"), "detail", "its verdict does not follow from its tries")
	has(t, pick(t, rowsOf(t, got, "probe_faults"), "line_number", "11"), "detail", "it is no JSON object, or part of one")
}

// Files without a result are no proof, and a report without probes says nothing of them.
func TestNoResultIsNoProof(t *testing.T) {
	t.Parallel()
	if r := probesOf(t); r.Probes != "no result that counts was read" || !strings.Contains(r.written(t, Markdown), r.Probes) {
		t.Errorf("%q", r.Probes)
	}
	other := evidence.Line{File: "f", Number: 1, Raw: []byte(`{"verdict":"holds"}`)}
	if r := probesOf(t, other); r.Probes != "no result that counts was read" {
		t.Errorf("%q", r.Probes)
	}
	if r := reportOf(t, Options{}, story(t)); r.Probes != "" || strings.Contains(fmt.Sprint(r.written(t, Markdown), r.written(t, CSV)), "robes of") {
		t.Error("nobody asked for probes")
	}
}
