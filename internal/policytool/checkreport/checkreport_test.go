package checkreport_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/checkreport"
)

// noon is when these tests look at policies.
var noon = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// results are those of a file with an error, of one that is odd, and of one that is not there.
func results(lints bool) []checkreport.Result {
	var all []checkreport.Result
	for _, f := range []struct{ name, text string }{
		{"bad.yaml", "version: 2\nfunctions: {f: {identify: {sources: [10.0.1.0/24]}, allow: []}}\n"},
		{"odd.yaml", "version: 1\nsets: {s: [a.example]}\nfunctions: {f: {owner: o, identify: {sources: [10.0.1.0/24]}, allow: [{host: b.example, expires: 2026-12-01}]}}\n"},
	} {
		cfg, err := config.Parse(f.name, []byte(f.text), nil)
		all = append(all, checkreport.Of(f.name, cfg, err, noon, lints))
	}
	return append(all, checkreport.Of("gone.yaml", nil, errors.New("opening gone.yaml: it is not there"), noon, lints))
}

// write returns what Write writes.
func write(t *testing.T, format string, all []checkreport.Result) string {
	t.Helper()
	var b strings.Builder
	if err := checkreport.Write(&b, format, all); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

const (
	wrong  = "2 is not a version of this format; write 1"
	unused = "no rule names it; take it out, or name it in a rule"
	ends   = `the rule of "f" in line 3 ends at 2026-12-02T00:00:00Z: what it allows is refused then; ask its owner, and take it out or give it another day`
)

func TestTextAndWorkflowCommandsNameEveryFindingWithItsPlace(t *testing.T) {
	for _, c := range []struct {
		format string
		lints  bool
		want   string
	}{
		{"text", false, "bad.yaml:1: version: " + wrong + "\nodd.yaml: ok: 1 functions, 1 rules\nodd.yaml: note: " + ends + "\nopening gone.yaml: it is not there\n"},
		{"text", true, "bad.yaml:1: version: " + wrong + "\nodd.yaml: ok: 1 functions, 1 rules\nodd.yaml:2: sets.s: " + unused + " [unused-set]\n" +
			"odd.yaml:3: functions.f: " + ends + " [ends-soon]\nopening gone.yaml: it is not there\n"},
		{"github", true, "::error file=bad.yaml,line=1,title=error::version: " + wrong + "\n::warning file=odd.yaml,line=2,title=unused-set::sets.s: " + unused + "\n" +
			"::notice file=odd.yaml,line=3,title=ends-soon::functions.f: " + ends + "\n::error file=gone.yaml,title=error::opening gone.yaml: it is not there\n"},
	} {
		if got := write(t, c.format, results(c.lints)); got != c.want {
			t.Errorf("%s, lint %v: got\n%swant\n%s", c.format, c.lints, got, c.want)
		}
	}
	if got, want := write(t, "text", results(false)[1:2]), "ok: 1 functions, 1 rules\nnote: "+ends+"\n"; got != want {
		t.Errorf("one file: got\n%swant\n%s", got, want)
	}
}

// What stands in a file must not end a workflow command and begin another one.
func TestAWorkflowCommandStaysOne(t *testing.T) {
	r := checkreport.Of("a,line=9:%b.yaml", nil, errors.New("50%\r\n::stop-commands::x"), noon, false)
	if got, want := write(t, "github", []checkreport.Result{r}), "::error file=a%2Cline=9%3A%25b.yaml,title=error::50%25%0D%0A::stop-commands::x\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestJSONHasEveryFileAndFinding(t *testing.T) {
	var got struct{ Files []checkreport.Result }
	if err := json.Unmarshal([]byte(write(t, "json", results(true))), &got); err != nil || len(got.Files) != 3 {
		t.Fatalf("%v, %+v", err, got)
	}
	bad, odd, gone := got.Files[0], got.Files[1], got.Files[2]
	if bad.OK || !odd.OK || gone.OK || odd.Functions != 1 || odd.Rules != 1 || len(bad.Findings) != 1 || len(odd.Findings) != 2 || len(gone.Findings) != 1 {
		t.Fatalf("got %+v", got)
	}
	want := checkreport.Finding{File: "odd.yaml", Line: 2, Path: "sets.s", Level: checkreport.Warning, Kind: "unused-set", Text: unused}
	if odd.Findings[0] != want || odd.Findings[1].Level != checkreport.Notice || bad.Findings[0].Level != checkreport.Error {
		t.Errorf("got %+v", got)
	}
	if none := write(t, "json", nil); !strings.Contains(none, `"files": []`) {
		t.Errorf("of no file: %s", none)
	}
}

// The members are those of SARIF 2.1.0, sections 3.13 to 3.30, that a viewer needs.
func TestSARIFHasARuleForEachKindAndAPlaceForEachFinding(t *testing.T) {
	type place struct {
		PhysicalLocation struct {
			ArtifactLocation struct{ URI string }
			Region           *struct{ StartLine int }
		}
	}
	var got struct {
		Version string
		Runs    []struct {
			Tool struct {
				Driver struct {
					Name  string
					Rules []struct{ ID string }
				}
			}
			Results []struct {
				RuleID, Level string
				Message       struct{ Text string }
				Locations     []place
			}
		}
	}
	if err := json.Unmarshal([]byte(write(t, "sarif", results(true))), &got); err != nil || got.Version != "2.1.0" || len(got.Runs) != 1 {
		t.Fatalf("%v, %+v", err, got)
	}
	run := got.Runs[0]
	if len(run.Results) != 4 || len(run.Tool.Driver.Rules) != 3 || run.Tool.Driver.Name == "" {
		t.Fatalf("got %+v", run)
	}
	r := run.Results[1]
	where := r.Locations[0].PhysicalLocation
	if r.RuleID != "unused-set" || r.Level != "warning" || r.Message.Text != "sets.s: "+unused || where.ArtifactLocation.URI != "odd.yaml" || where.Region == nil || where.Region.StartLine != 2 {
		t.Errorf("got %+v", r)
	}
	if last := run.Results[3]; last.Level != "error" || last.Locations[0].PhysicalLocation.Region != nil {
		t.Errorf("a file that cannot be read has a line: %+v", last)
	}
	if none := write(t, "sarif", nil); !strings.Contains(none, `"results": []`) || !strings.Contains(none, `"rules": []`) {
		t.Errorf("of no file: %s", none)
	}
}
