package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/summary"
)

// metricsOf reads the one line of metrics that a command has printed.
func metricsOf(t *testing.T, stdout string) (m map[string]any) {
	t.Helper()
	if err := json.Unmarshal([]byte(stdout), &m); err != nil || strings.Count(stdout, "\n") != 1 {
		t.Fatalf("%v: %s", err, stdout)
	}
	return m
}

// A schedule runs this: the first run calls all that is high new, the next nothing, and what is
// kept of each can be read by an OCSF reader.
func TestANewHighFindingIsCountedOnce(t *testing.T) {
	t.Parallel()
	from, dir := snapshotFile(t), t.TempDir()
	for i, fresh := range []float64{1, 0} {
		code, stdout, stderr := posture(t, "--from", from, "--archive", dir, "--format", "emf", "--deployment", "blue")
		if code != exitOK {
			t.Fatalf("run %d ends with %d: %s", i, code, stderr)
		}
		m := metricsOf(t, stdout)
		if m["FindingsHighNew"] != fresh || m["FindingsHigh"] != 1.0 || m["Functions"] != 1.0 || m["FunctionsBehindTheGate"] != 0.0 || m["Deployment"] != "blue" {
			t.Errorf("run %d: %v", i, m)
		}
	}
	kept, err := filepath.Glob(filepath.Join(dir, "*.ocsf.jsonl"))
	if err != nil || len(kept) != 1 { // the snapshot is one and the same
		t.Fatalf("%v, %v", kept, err)
	}
	data, err := os.ReadFile(kept[0])
	if err != nil || !strings.Contains(string(data), `"class_uid":2003`) {
		t.Errorf("%s, %v", data, err)
	}
	for _, page := range []string{"../../docs/posture.md", "../../deploy/ecs/README.md"} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for name := range metrics(&summary.Summary{}, &[]string{}) {
			if !strings.Contains(string(text), "`"+name+"`") {
				t.Errorf("%s has no %s", page, name)
			}
		}
	}
	// Without an archive nobody has compared, and says nothing of it.
	_, stdout, _ := posture(t, "--from", from, "--format", "emf")
	if _, there := metricsOf(t, stdout)["FindingsHighNew"]; there {
		t.Errorf("without an archive: %s", stdout)
	}
}

// What cannot be kept or compared fails, without metrics: their absence is what wakes somebody.
func TestARunThatCannotCompareSaysNothing(t *testing.T) {
	t.Parallel()
	damaged := t.TempDir()
	if err := os.WriteFile(filepath.Join(damaged, "state.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, where := range []string{damaged, filepath.Join(damaged, "nowhere"), "s3://"} {
		code, stdout, stderr := posture(t, "--from", snapshotFile(t), "--archive", where, "--format", "emf")
		if code != exitFailed || stdout != "" || stderr == "" {
			t.Errorf("--archive %s ends with %d: %s%s", where, code, stdout, stderr)
		}
	}
	if code, _, stderr := posture(t, "--from", snapshotFile(t), "--deployment", ":x"); code != exitUsage || !strings.Contains(stderr, "--deployment") {
		t.Errorf("%d %s", code, stderr)
	}
}
