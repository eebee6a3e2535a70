package format

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	mainText = "version: 1\ninclude:\n  - {file: teams/a.yaml, functions: [a], may: {ports: [443]}}\n  - {file: teams/b.yaml, functions: [b], may: {ports: [443]}}\n"
	teamA    = "# ours\nfunctions:\n    a:\n       identify: {sources: [ 10.0.1.0/24 ]}\n       allow: ['a.example' ] # one\n"
	teamB    = "functions:\n    b:\n       identify: {sources: [ 10.0.2.0/24 ]}\n       allow: [b.example]\ntests:\n - {function: b, allow: ['b.example:443']}\n"
)

// policyFolder is a policy of two teams, and returns where a file of it is.
func policyFolder(t *testing.T, b string) func(name string) string {
	t.Helper()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(os.Mkdir(at("teams"), 0o700), os.WriteFile(at("egress.yaml"), []byte(mainText), 0o600),
		os.WriteFile(at("teams/a.yaml"), []byte(teamA), 0o600), os.WriteFile(at("teams/b.yaml"), []byte(b), 0o600)); err != nil {
		t.Fatal(err)
	}
	return at
}

func TestIncludedFileIsLaidOutAsAPartOfItsPolicy(t *testing.T) {
	at := policyFolder(t, teamB)
	if err := os.Symlink(at("teams"), at("link")); err != nil {
		t.Fatal(err)
	}
	if _, err := File(at("teams/a.yaml")); err == nil || !strings.Contains(err.Error(), `the key "version" is missing`) {
		t.Errorf("by itself: %v", err)
	}
	all, err := Included(at("egress.yaml"), at("link/a.yaml"), at("teams/b.yaml"), at("egress.yaml"))
	if err != nil || len(all) != 3 {
		t.Fatalf("%v, %v", all, err)
	}
	for i, want := range []string{
		"# ours\nfunctions:\n  a:\n    identify: {sources: [10.0.1.0/24]}\n    allow: [\"a.example\"] # one\n",
		"functions:\n  b:\n    identify: {sources: [10.0.2.0/24]}\n    allow: [b.example]\ntests:\n  - {function: b, allow: [\"b.example:443\"]}\n",
		mainText,
	} {
		if all[i].Canonical != want || all[i].Changed != (i < 2) {
			t.Errorf("%s, changed %t:\n%s", all[i].File, all[i].Changed, all[i].Canonical)
		}
		if err := all[i].Write(); err != nil {
			t.Error(err)
		}
	}
	again, err := Included(at("egress.yaml"), at("teams/a.yaml"), at("teams/b.yaml"), at("link/a.yaml"))
	if err != nil || len(again) != 2 || again[0].Changed || again[1].Changed {
		t.Errorf("what is laid out changes again: %v", err)
	}
}

// One file of a team that is bad is an error of the policy, and nothing of it is laid out.
func TestNothingIsLaidOutOfAPolicyThatDoesNotLoad(t *testing.T) {
	for name, b := range map[string]string{
		"another file's error": strings.Replace(teamB, "allow: [b", "alow: [b", 1),
		"more than it may":     strings.Replace(teamB, "[b.example]", "['*.b.example']", 1),
		"a test that fails":    strings.Replace(teamB, "b.example:443", "c.example:443", 1),
	} {
		at := policyFolder(t, b)
		if all, err := Included(at("egress.yaml"), at("teams/a.yaml")); err == nil || all != nil || !strings.Contains(err.Error(), "teams/b.yaml:") {
			t.Errorf("%s: %v, %v", name, all, err)
		}
	}
	at := policyFolder(t, teamB)
	for path, want := range map[string]string{at("teams"): " does not include ", at("gone.yaml"): "no such file"} {
		if all, err := Included(at("egress.yaml"), path); err == nil || all != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v", path, all, err)
		}
	}
}
