package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// unmarshal reads a YAML file of the repository.
func unmarshal(t *testing.T, path string, into any) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(path)))
	if err == nil {
		err = yaml.Unmarshal(b, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// pre-commit calls the entry with the names of the files that are committed. It takes a
// hook that changes a file for one that fails.
func TestHooksOfPreCommitDoWhatTheySay(t *testing.T) {
	var hooks []struct{ ID, Entry, Language string }
	unmarshal(t, ".pre-commit-hooks.yaml", &hooks)
	policy := "version: 1\nfunctions: {a: {identify: {sources: [10.0.1.0/24]}, allow:   []}}\n"
	for _, h := range hooks {
		dir := t.TempDir()
		good, bad := filepath.Join(dir, "good.yaml"), filepath.Join(dir, "bad.yaml")
		if err := os.WriteFile(good, []byte(policy), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(bad, []byte(strings.Replace(policy, "allow", "alow", 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		entry := strings.Fields(h.Entry)
		if out, err := exec.Command(entry[0], append(entry[1:len(entry):len(entry)], good, good)...).CombinedOutput(); err != nil || h.Language != "golang" {
			t.Errorf("%s: %v, %s", h.ID, err, out)
		}
		if out, err := exec.Command(entry[0], append(entry[1:], good, bad)...).CombinedOutput(); exitCode(err) != exitFailed || !strings.Contains(string(out), "did you mean \"allow\"?") {
			t.Errorf("%s: %v, %s", h.ID, err, out)
		}
		is, err := os.ReadFile(good)
		if changed := string(is) != policy; err != nil || changed != (h.ID == "egress-fmt") {
			t.Errorf("%s: the file is changed: %t, %v", h.ID, changed, err)
		}
	}
	if len(hooks) != 2 {
		t.Errorf("%d hooks", len(hooks))
	}
}

// The steps of the workflow that are ours run in a repository with two versions.
func TestWorkflowComparesThePolicyOfAPullRequest(t *testing.T) {
	needs(t, "bash")
	var workflow struct {
		Jobs struct {
			Review struct {
				Steps []struct{ Name, Run string }
			}
		}
	}
	unmarshal(t, "deploy/github/policy-review.yaml", &workflow)
	scripts := map[string]string{}
	for _, s := range workflow.Jobs.Review.Steps {
		scripts[s.Name] = s.Run
	}
	const policy = "version: 1\nfunctions:\n  a:\n    identify: {sources: [10.0.1.0/24]}\n    allow: [x.example]\n"
	// A team's file stands behind the marker.
	const marker = "-- teams/a.yaml --\n"
	teams := "version: 1\ninclude: [{file: teams/a.yaml, functions: [a], may: {ports: [443]}}]\n" + marker + strings.TrimPrefix(policy, "version: 1\n")
	for _, c := range []struct{ name, was, is, diff, check string }{
		{"a team's host is new", teams, strings.Replace(teams, "x.example", "x.example, y.example", 1), "| `a` | **gains** | `y.example on port 443` |", ""},
		{"a team oversteps", teams, strings.Replace(teams, "x.example", "'*.x.example'", 1), "", "file=teams/a.yaml,line=4"},
		{"a team gets a file", policy, teams, "no function gains or loses anything", ""},
		{"a host is new", policy, strings.Replace(policy, "x.example", "x.example, y.example", 1), "| `a` | **gains** | `y.example on port 443` |", ""},
		{"nothing changes", policy, policy + "# why\n", "no function gains or loses anything", ""},
		{"the file is new", "", policy, "The policy is new.", ""},
		{"the file is bad", policy, strings.Replace(policy, "allow", "alow", 1), "", "file=egress.yaml,line=5"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			run := func(script string, environment ...string) (string, int) {
				// As GitHub runs them: bash -e.
				cmd := exec.Command("bash", "-e", "-c", script)
				cmd.Dir = dir
				cmd.Env = append(os.Environ(), append(environment, "FILE=egress.yaml", "GITHUB_STEP_SUMMARY="+filepath.Join(dir, "summary"), "TMPDIR="+filepath.Join(dir, "tmp"),
					"GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_SYSTEM="+os.DevNull)...)
				out, err := cmd.CombinedOutput()
				return string(out), exitCode(err)
			}
			write := func(text string) {
				main, team, _ := strings.Cut(text, marker)
				if err := errors.Join(os.WriteFile(filepath.Join(dir, "egress.yaml"), []byte(main), 0o600), os.MkdirAll(filepath.Join(dir, "teams"), 0o700),
					os.WriteFile(filepath.Join(dir, "teams/a.yaml"), []byte(team), 0o600), os.MkdirAll(filepath.Join(dir, "tmp"), 0o700)); err != nil {
					t.Fatal(err)
				}
			}
			if c.was != "" {
				write(c.was)
			}
			if out, code := run("git init -q . && git add . && git -c user.name=t -c user.email=t@example.org commit -q --allow-empty -m first"); code != 0 {
				t.Fatal(out)
			}
			write(c.is)
			if out, code := run(scripts["check"]); code != map[bool]int{true: exitFailed}[c.check != ""] || !strings.Contains(out, c.check) {
				t.Fatalf("check: %d, %s", code, out)
			}
			if c.check != "" {
				return // GitHub stops at the first step that fails
			}
			if out, code := run(scripts["compare"], "BASE=HEAD"); code != 0 {
				t.Fatalf("compare: %d, %s", code, out)
			}
			for _, name := range []string{"diff.md", "summary"} {
				if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !strings.Contains(string(b), c.diff) {
					t.Errorf("%s: %v, %s", name, err, b)
				}
			}
			if left, err := filepath.Glob(filepath.Join(dir, "tmp/*")); err != nil || len(left) > 0 {
				t.Errorf("%v is left, %v", left, err)
			}
		})
	}
}
