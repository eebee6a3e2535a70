package learn

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
)

// teams is a policy with one function of its own and one of a team's file.
func teams(t *testing.T, may, team string) (path string) {
	t.Helper()
	dir := t.TempDir()
	path = filepath.Join(dir, "egress.yaml")
	text := "version: 1\ninclude:\n  - {file: teams/a.yaml, functions: [a], owner: team-a, may: " + may + "}\nfunctions:\n  f: {mode: report, report_until: 2026-12-31, identify: {sources: [10.0.1.0/24]}, allow: []}\n"
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "teams"), 0o700), os.WriteFile(path, []byte(text), 0o600),
		os.WriteFile(filepath.Join(dir, "teams/a.yaml"), []byte(team), 0o600)); err != nil {
		t.Fatal(err)
	}
	return path
}

const teamFile = "functions:\n    a: # ours\n      mode: report\n      report_until: 2026-12-31\n      identify: {sources: [10.0.2.0/24]}\n      allow: [a.example]\n"

// learnTeams adds what x.example:port asks for both functions, and returns both files then.
func learnTeams(t *testing.T, path string, port int) (added []Added, main, team string, err error) {
	t.Helper()
	cfg := load(t, path)
	c := &egresstest.Chain{Process: "b", Policy: cfg.Hash()}
	c.Started(noon)
	for _, f := range []string{"a", "f"} {
		c.Add(egresstest.Request{At: noon, Function: f, Host: "x.example", Port: port, Verdict: "report", Reason: "host_not_allowed"})
	}
	p, err := Propose(Query{Config: cfg, File: path, Traffic: records(t, c), Now: noon})
	if err != nil {
		t.Fatal(err)
	}
	added, err = p.AddTo(path)
	is, err1 := os.ReadFile(path)
	its, err2 := os.ReadFile(filepath.Join(filepath.Dir(path), "teams/a.yaml"))
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return added, string(is), string(its), err
}

func TestRulesAreAddedToTheFileThatHasTheFunction(t *testing.T) {
	path := teams(t, "{ports: [443], report: true}", teamFile)
	added, main, team, err := learnTeams(t, path, 443)
	if want := []Added{{filepath.Join(filepath.Dir(path), "teams/a.yaml"), 1}, {path, 1}}; err != nil || !slices.Equal(added, want) {
		t.Fatalf("%v, %v", added, err)
	}
	const rule = "- x.example # 1 requests on 1 days, 2026-11-02 to 2026-11-02\n"
	if want := "functions:\n  a: # ours\n    mode: report\n    report_until: 2026-12-31\n    identify: {sources: [10.0.2.0/24]}\n    allow:\n      - a.example\n      " + rule; team != want {
		t.Errorf("the team's file:\n%s", team)
	}
	if strings.Count(main, rule) != 1 || !strings.Contains(main, "  - {file: teams/a.yaml, functions: [a], owner: team-a,") {
		t.Errorf("the policy:\n%s", main)
	}
	if cfg := load(t, path); len(cfg.Functions[0].Allow) != 1 || len(cfg.Functions[1].Allow) != 2 {
		t.Errorf("%+v", cfg.Functions)
	}
}

// What report mode let through is no reason to open what the policy withholds from a team.
func TestNoFileChangesWhereOneWouldHaveMoreThanItMay(t *testing.T) {
	path := teams(t, "{ports: [443], report: true}", teamFile)
	was, _ := os.ReadFile(path)
	added, main, team, err := learnTeams(t, path, 8443)
	if err == nil || added != nil || main != string(was) || team != teamFile ||
		!strings.Contains(err.Error(), "teams/a.yaml:8: functions.a.allow[1].ports: may.ports of ") || !strings.Contains(err.Error(), "it has no 8443") {
		t.Errorf("%v, %v:\n%s\n%s", added, err, main, team)
	}
}
