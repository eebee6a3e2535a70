package main

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/net/html"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence"
)

// proxyCommand runs the program and returns what it prints.
func proxyCommand(t *testing.T, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.Command("proxy", args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), exitAtOnce}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	code = exitCode(cmd.Run())
	return out.String(), errs.String(), code
}

// reported returns the rows of one section of a report in CSV.
func reported(t *testing.T, report, section string) (all []map[string]string) {
	t.Helper()
	lines, err := csv.NewReader(strings.NewReader(report)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines {
		if line[0] != section {
			continue
		}
		row := map[string]string{}
		for i, key := range lines[0] {
			row[key] = line[i]
		}
		all = append(all, row)
	}
	return all
}

// requestsIn sums a report's requests by section.
func requestsIn(t *testing.T, report string, sections ...string) (sum uint64) {
	t.Helper()
	for _, section := range sections {
		for _, row := range reported(t, report, section) {
			n, err := strconv.ParseUint(row["requests"], 10, 64)
			if err != nil {
				t.Fatalf("section %s: %v", section, err)
			}
			sum += n
		}
	}
	return sum
}

func TestReportOfARunHasEveryRequestOfItsTotals(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }))
	t.Cleanup(web.Close)
	w.vars["http"], w.vars["closed"] = port(web.Listener), "1"
	for _, name := range []string{"open.test", "strict.test", "plain.test", "closed.test"} {
		w.names.set(name, "127.0.0.1")
	}
	w.names.set("private.test", "10.1.2.3")
	p := w.start(accountsPolicy)
	for range 3 {
		p.ask32(w.questions(), 100)
	}
	p.flood(60) // credentials that do not hold, beyond what has a record each
	p.signal(syscall.SIGTERM)
	p.wait()

	report, stderr, code := proxyCommand(t, "", "report", "--format", "csv", "--config", p.config, p.stdout)
	if code != 0 || stderr != "" {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	totals := lastTotals(t, p)
	sums := map[string]uint64{}
	for event, reasons := range totals {
		for _, n := range reasons {
			sums[event] += n
		}
	}
	for section, want := range map[string]uint64{"allowed": 0, "reported": 0} {
		if got := requestsIn(t, report, section); got == want {
			t.Errorf("the report has no requests in %s", section)
		}
	}
	for _, c := range []struct {
		what     string
		sections []string
		want     uint64
	}{
		{"let through", []string{"allowed", "reported"}, sums["opened"]},
		{"refused or challenged", []string{"refused", "unidentified"}, sums["refused"] + sums["challenged"]},
		{"refused over time", []string{"refusals_over_time"}, sums["refused"]},
	} {
		if got := requestsIn(t, report, c.sections...); got != c.want || c.want == 0 {
			t.Errorf("%s: the report has %d requests, the last record's totals %d", c.what, got, c.want)
		}
	}
	// What each function was answered, by the rig's own reading of the records.
	want := map[string]uint64{}
	for a, n := range p.recorded() {
		if a.function != "" {
			want[a.function] += uint64(n)
		}
	}
	got := map[string]uint64{}
	for _, section := range []string{"allowed", "reported", "refused"} {
		for _, row := range reported(t, report, section) {
			n, _ := strconv.ParseUint(row["requests"], 10, 64)
			got[row["function"]] += n
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("by function the report has %v, the records %v", got, want)
	}
	if unused := reported(t, report, "unused"); len(unused) == 0 || unused[0]["rule"] == "" {
		t.Errorf("rules that were never used: %v, want those that only refuse", unused)
	}
	for _, row := range reported(t, report, "unused") {
		if row["rule"] == "functions.billing.allow[0]" {
			t.Error("a rule that was used is listed as never used")
		}
	}
}

// lastTotals returns the totals of the last record.
func lastTotals(t *testing.T, p *running) map[string]map[string]uint64 {
	t.Helper()
	lines := bytes.Split(bytes.TrimSpace(p.stream()), []byte("\n"))
	r, err := evidence.Parse(lines[len(lines)-1])
	if err != nil || r.Event != "stopped" {
		t.Fatalf("the last record is %s, %v", r.Event, err)
	}
	return r.Totals
}

func TestReportIsWrittenInEachFormat(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	p := w.start(head + `functions: {billing: {identify: {${token_billing}}, allow: [api.test]}}` + "\n")
	p.connect("billing", "evil.test:443")
	p.signal(syscall.SIGTERM)
	p.wait()
	records := p.read(p.stdout)

	dir := t.TempDir()
	page := filepath.Join(dir, "report.html")
	stdout, stderr, code := proxyCommand(t, "", "report", "--format", "html", "--output", page, p.stdout)
	if code != 0 || stdout != "" || stderr != "" {
		t.Fatalf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	if _, err := html.Parse(strings.NewReader(p.read(page))); err != nil || !strings.Contains(p.read(page), "evil.test") {
		t.Errorf("the page: %v", err)
	}
	stdout, _, code = proxyCommand(t, records, "report", "-")
	if code != 0 || !strings.Contains(stdout, "| `evil.test` | 443 |") || !strings.Contains(stdout, "no policy file was given (--config)") {
		t.Errorf("from standard input: exit code %d: %s", code, stdout)
	}
	// Of a day in the past there is nothing, and the records are whole.
	stdout, _, code = proxyCommand(t, "", "report", "--to", "2020-01-31", p.stdout)
	if code != 0 || strings.Contains(stdout, "evil.test") || !strings.Contains(stdout, "to 2020-02-01T00:00:00Z (not included)") || !strings.Contains(stdout, "whole: ") {
		t.Errorf("of another period: exit code %d: %s", code, stdout)
	}
	// Records with a line less are said not to be whole, and are reported.
	_, rest, _ := strings.Cut(records, "\n")
	stdout, stderr, code = proxyCommand(t, rest, "report", "-")
	if code != 0 || !strings.Contains(stdout, "NOT whole") || !strings.Contains(stderr, "not whole") {
		t.Errorf("without the first record: exit code %d, stderr %q: %s", code, stderr, stdout)
	}
}

func TestReportNeverWritesOverWhatItReads(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	records, config, link := filepath.Join(dir, "records.jsonl"), filepath.Join(dir, "egress.yaml"), filepath.Join(dir, "link")
	for _, file := range []string{records, config} {
		if err := os.WriteFile(file, []byte("evidence\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(records, link); err != nil {
		t.Fatal(err)
	}
	for _, output := range []string{records, config, link} {
		_, stderr, code := proxyCommand(t, "", "report", "--config", config, "--output", output, records)
		if code != exitFailed || !strings.Contains(stderr, "would be written over") {
			t.Errorf("exit code %d: %s", code, stderr)
		}
	}
	for _, file := range []string{records, config} {
		if b, err := os.ReadFile(file); err != nil || string(b) != "evidence\n" {
			t.Errorf("%s holds %q, %v", file, b, err)
		}
	}
}

func TestReportTakesFilesInTheOrderOfTheirRecords(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	p := w.start(head + `functions: {billing: {identify: {${token_billing}}, allow: [{host: strict.test, ports: [${echo}], addresses: [127.0.0.0/8]}]}}` + "\n")
	w.names.set("strict.test", "127.0.0.1")
	r := p.connect("billing", "strict.test:"+w.vars["echo"])
	_, _ = io.WriteString(r.conn, "SSH-2.0-x\r\n")
	r.ends(t)
	p.signal(syscall.SIGTERM)
	p.wait()
	// The first file ends between opened and refused of one request.
	lines := strings.SplitAfter(p.read(p.stdout), "\n")
	dir := t.TempDir()
	first, second := filepath.Join(dir, "b"), filepath.Join(dir, "a")
	w.must(os.WriteFile(first, []byte(strings.Join(lines[:2], "")), 0o600))
	w.must(os.WriteFile(second, []byte(strings.Join(lines[2:], "")), 0o600))
	report, stderr, code := proxyCommand(t, "", "report", "--format", "csv", second, first)
	if code != 0 || stderr != "" {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	row := reported(t, report, "refused")
	if len(row) != 1 || row[0]["after_opening"] != "1" || row[0]["reason"] != "not_tls" {
		t.Errorf("refused: %v, want one that was opened before", row)
	}
}

// Each file of --probes is counted; what is doctored is told on standard error too, and no
// report is written over the evidence.
func TestReportCountsTheResultsOfProbes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	result := func(hour int, verdict, class string) string {
		return fmt.Sprintf(`{"time":"2026-01-31T%02d:00:00Z","verdict":%q,"headline":"h","tries":[{"way":"control","class":"works"},{"way":"ntp","class":%q},{"way":"control","class":"works"}]}`+"\n", hour, verdict, class)
	}
	files := map[string]string{"records": "", "a": result(1, "holds", "held") + result(2, "holds", "held"), "b": result(3, "hole", "hole") + result(4, "holds", "hole") + "{\n"}
	for name, text := range files {
		files[name] = filepath.Join(dir, name)
		if err := os.WriteFile(files[name], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	report, stderr, code := proxyCommand(t, "", "report", "--probes", files["a"], "--probes", files["b"], files["records"])
	const want = "probed 3 times, held 2; a way round the gate was open: 1; lines that count as no result: 2"
	if code != 0 || !strings.Contains(report, want) || !strings.Contains(stderr, want) {
		t.Errorf("exit code %d: %s %s", code, stderr, report)
	}
	if _, stderr, code := proxyCommand(t, "", "report", "--probes", files["a"], files["records"]); code != 0 || strings.Contains(stderr, "probe") {
		t.Errorf("each held: exit code %d: %s", code, stderr)
	}
	if _, stderr, code := proxyCommand(t, "", "report", "--probes", files["a"], "--output", files["a"], files["records"]); code != exitFailed || !strings.Contains(stderr, "is read too") {
		t.Errorf("over its own input: exit code %d: %s", code, stderr)
	}
}

func TestReportIsToldHowItIsCalled(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{}, exitUsage, "there is no FILE; call it as"},
		{[]string{"--format", "pdf", "x"}, exitUsage, "there are markdown, csv and html"},
		{[]string{"--from", "yesterday", "x"}, exitUsage, "--from: \"yesterday\" is neither a day"},
		{[]string{"--to", "2026-11-31", "x"}, exitUsage, "--to: "},
		{[]string{"--from", "2026-11-30", "--to", "2026-11-29", "x"}, exitUsage, "--from is not before --to"},
		{[]string{"missing.jsonl"}, exitFailed, "missing.jsonl: "},
		{[]string{"--config", "missing.yaml", "-"}, exitFailed, "missing.yaml: no such file"},
		{[]string{"--probes", "missing.jsonl", "-"}, exitFailed, "missing.jsonl: "},
		{[]string{"--output", "/nowhere/report.md", "-"}, exitFailed, "/nowhere/report.md"},
	} {
		stdout, stderr, code := proxyCommand(t, "", append([]string{"report"}, c.args...)...)
		if code != c.code || !strings.Contains(stderr, c.says) || stdout != "" {
			t.Errorf("%v: exit code %d, stderr %q, stdout %q; want %d and %q", c.args, code, stderr, stdout, c.code, c.says)
		}
	}
}
