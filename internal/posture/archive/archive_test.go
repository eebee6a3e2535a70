package archive

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/finding"
)

// found makes a finding.
func found(id string, severity finding.Severity, accepted string) finding.Finding {
	return finding.Finding{ID: id, Severity: severity, Owner: "o", Resource: "r", Accepted: accepted}
}

func TestAFindingIsNewOnceAndAgainWhenItComesBack(t *testing.T) {
	t.Parallel()
	store, ctx := Folder(t.TempDir()), t.Context()
	p01, p02 := found("P01", finding.High, ""), found("P02", finding.High, "")
	for i, run := range []struct {
		found []finding.Finding
		want  []string
	}{
		{[]finding.Finding{p01}, []string{"P01/o//r"}}, // nobody has looked before
		{[]finding.Finding{p01}, nil},
		{[]finding.Finding{p01, p02, found("P12", finding.Medium, "")}, []string{"P02/o//r"}},
		{[]finding.Finding{p02, found("P01", finding.High, "by a until b")}, nil},
		{[]finding.Finding{p01, p02}, []string{"P01/o//r"}}, // the acceptance has ended
		{nil, nil},
		{[]finding.Finding{p02, p02}, []string{"P02/o//r"}},
		{[]finding.Finding{found("P02", finding.Low, "")}, nil},
		{[]finding.Finding{p02}, []string{"P02/o//r"}}, // it has become worse
	} {
		last, err := Last(ctx, store)
		if err != nil || (last == nil) != (i == 0) {
			t.Fatalf("run %d: %+v, %v", i, last, err)
		}
		if got := last.New(run.found); !slices.Equal(got, run.want) {
			t.Errorf("run %d: %v is new, want %v", i, got, run.want)
		}
		if err := Remember(ctx, store, "2026-01-31T00:00:00Z", run.found); err != nil {
			t.Fatal(err)
		}
	}
}

// A state that is damaged is neither an all-clear nor a reason to call everything new.
func TestAStateThatCannotBeReadIsAnError(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "{", "null", `{"format":2,"made":"","high":[]}`, `{"format":1,"low":[]}`, "[]"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, stateName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if last, err := Last(t.Context(), Folder(dir)); err == nil {
			t.Errorf("%q is read as %+v", text, last)
		}
	}
}

// Whoever keeps the findings of each run has them all, and nobody else can read them.
func TestEachRunKeepsItsOwn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, made := range []string{"2026-01-31T00:00:00Z", "2026-01-31T06:00:00Z"} {
		if err := Save(t.Context(), Folder(dir), made, []byte(made)); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Fatalf("%v, %v", entries, err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", e.Name(), info.Mode(), err)
		}
	}
	if err := Save(t.Context(), Folder(filepath.Join(dir, "nowhere")), "a", nil); err == nil {
		t.Error("what could not be kept is no error")
	}
}
