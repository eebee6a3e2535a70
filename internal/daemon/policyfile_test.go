package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
)

// testFile is a policy file that has been loaded once, as the program does.
type testFile struct {
	*policyFile
	t       *testing.T
	log     bytes.Buffer
	records string // path
}

func newTestFile(t *testing.T, text string) *testFile {
	t.Helper()
	dir := t.TempDir()
	f := &testFile{t: t, records: filepath.Join(dir, "records")}
	f.policyFile = newPolicyFile(filepath.Join(dir, "egress.yaml"), slog.New(slog.NewJSONHandler(&f.log, nil)),
		newMetrics(prometheus.NewRegistry(), "", ""))
	var err error
	if f.audit, err = audit.Open(f.records, audit.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.audit.Close() })
	f.write(text)
	first, err := f.read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f.running = first.cfg
	f.activate(first)
	return f
}

func (f *testFile) write(text string) {
	f.t.Helper()
	if err := os.WriteFile(f.path, []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// reloaded loads another text and returns what was logged meanwhile.
func (f *testFile) reloaded(text string) string {
	f.t.Helper()
	f.write(text)
	f.log.Reset()
	f.reload(f.t.Context())
	return f.log.String()
}

// policyOf returns a policy with more keys.
func policyOf(keys string) string {
	return "version: 1\n" + keys + "\nfunctions: {billing: {identify: {sources: [192.0.2.1/32]}, allow: [api.example.com, www.example.com]}}\n"
}

func TestReportModeIsLoggedWithItsLastDay(t *testing.T) {
	f := newTestFile(t, `version: 1
functions: {billing: {mode: report, report_until: 2999-12-31, identify: {sources: [192.0.2.1/32]}, allow: []}}
`)
	if log := f.log.String(); !strings.Contains(log, `"function":"billing","until":"2999-12-31"`) {
		t.Error(log)
	}
}

func TestChangesThatNeedARestartAreThoseToWhatRuns(t *testing.T) {
	const warning = "changes that take effect at the next start"
	f := newTestFile(t, policyOf("limits: {tunnels: 100}"))
	for _, step := range []struct {
		name, keys string
		want       string // of the warning; "": there is none
	}{
		{"nothing of that kind", "limits: {tunnels: 100}\ndeny: [evil.example]", ""},
		{"another limit", "limits: {tunnels: 200}", `"keys":["limits"]`},
		{"the limit still differs", "limits: {tunnels: 200}\ndeny: [evil.example]", `"keys":["limits"]`},
		{"the limit is what runs again", "limits: {tunnels: 100}", ""},
		{"a default that is written out", "limits: {tunnels: 100, unidentified: 4096}", ""},
	} {
		log := f.reloaded(policyOf(step.keys))
		if got := strings.Contains(log, warning); got != (step.want != "") || !strings.Contains(log, step.want) {
			t.Errorf("%s: logged %s", step.name, log)
		}
	}
}

func TestReloadThatFailedIsRecordedWithThePolicyThatStays(t *testing.T) {
	f := newTestFile(t, policyOf(""))
	f.reloaded("version: 2\n")
	b, err := os.ReadFile(f.records)
	if err != nil {
		t.Fatal(err)
	}
	var r struct {
		Event, Policy    string
		Functions, Rules int
	}
	if err := json.Unmarshal(b, &r); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	p, _ := f.Current()
	if r.Event != "reload_failed" || r.Policy != p.Hash() || r.Functions != 1 || r.Rules != 2 {
		t.Errorf("%+v, want the 1 function and 2 rules of %s", r, p.Hash())
	}
}

func TestLimitsThatTheFileDoesNotHaveAreTheServersOwn(t *testing.T) {
	for keys, want := range map[string][2]int{
		"":                          {0, 0},
		"limits: {tunnels: 20000}":  {20000, 0},
		"limits: {unidentified: 7}": {0, 7},
		"limits: {tunnels: 100, unidentified: 7}": {100, 7},
	} {
		cfg, err := config.Parse("egress.yaml", []byte(policyOf(keys)), nil)
		if err != nil {
			t.Fatal(err)
		}
		if l := proxyLimits(cfg.Limits); l.Tunnels != want[0] || l.Unidentified != want[1] {
			t.Errorf("%q: %d tunnels and %d unidentified, want %v", keys, l.Tunnels, l.Unidentified, want)
		}
	}
}

func TestLoadKeepsTheCompiledRulesAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "egress.yaml")
	const file = `version: 1
sets: {names: [api.example.com]}
functions: {billing: {identify: {sources: [192.0.2.1/32]}, allow: [{set: names}]}}
`
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := (&policyFile{path: path}).read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.cfg.Sets != nil || s.cfg.Functions != nil {
		t.Error("the text of the file stays in memory beside the policy")
	}
	if n := s.policy.Rules(); n != 1 {
		t.Errorf("the policy has %d rules, want 1", n)
	}
}

// A load that hangs is given up, and costs neither the policy nor the loads after it,
// of which none begins while it still runs.
func TestALoadThatHangsIsGivenUp(t *testing.T) {
	f := newTestFile(t, policyOf(""))
	synctest.Test(t, func(t *testing.T) {
		hangs := make(chan struct{})
		var calls atomic.Int32
		f.loading = make(chan struct{}, 1) // of this bubble
		read := func(ctx context.Context) (*snapshot, error) {
			if calls.Add(1) == 1 {
				<-hangs
			}
			return f.read(ctx)
		}
		old := f.current.Load()
		for _, want := range []string{"took longer than 1m0s, and was given up", "so was the one before it, which has not ended yet"} {
			began := time.Now()
			_, err := f.load(t.Context(), read)
			if err == nil || !strings.Contains(err.Error(), want) || time.Since(began) != loadTimeout {
				t.Errorf("after %v: %v, want %q", time.Since(began), err, want)
			}
		}
		if calls.Load() != 1 || f.current.Load() != old {
			t.Errorf("%d loads began", calls.Load())
		}
		close(hangs)
		synctest.Wait()
		if s, err := f.load(t.Context(), read); err != nil || s == nil || calls.Load() != 2 {
			t.Errorf("the load after it: %v, %d began", err, calls.Load())
		}
		stopped, stop := context.WithCancel(t.Context())
		stop()
		if f.reload(stopped) {
			t.Error("a program that stops has reloaded")
		}
	})
}
