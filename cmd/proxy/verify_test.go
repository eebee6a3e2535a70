package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence"
)

// verify runs `proxy verify` and returns its exit code and what it says.
func (w *world) verify(stdin string, args ...string) (code int, stdout, stderr string) {
	w.t.Helper()
	cmd := exec.Command("proxy", append([]string{"verify"}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), exitAtOnce}
	code = exitCode(cmd.Run())
	return code, out.String(), errs.String()
}

// kill ends the program by SIGKILL, so that finish has nothing to look at.
func (p *running) kill() {
	p.t.Helper()
	p.finished = true
	p.signal(syscall.SIGKILL)
	p.wait()
}

// lastLine is the verdict.
func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

// recordsOfTwoBoots returns the records of a program that was killed and of one
// that was stopped.
func recordsOfTwoBoots(t *testing.T) (w *world, killed, stopped string) {
	t.Helper()
	w = newEchoWorld(t)
	p := w.start(only("before.test"))
	p.open(2)
	for range 5 {
		p.connect("billing", "evil.test:443")
	}
	p.kill()
	q := w.start(only("before.test"))
	q.connect("billing", "evil.test:443")
	q.finish()
	return w, string(p.output()), string(q.output())
}

func TestVerifyTakesTheRecordsOfTheProgramAndSeesEveryRemovedLine(t *testing.T) {
	t.Parallel()
	w, killed, stopped := recordsOfTwoBoots(t)
	code, out, errs := w.verify(killed+stopped, "-")
	if code != exitOK || errs != "" || !strings.HasPrefix(lastLine(out), "whole: ") || !strings.HasSuffix(lastLine(out), " of 2 boots") {
		t.Fatalf("exit %d: %s%s", code, out, errs)
	}
	if !strings.Contains(out, "what a SIGKILL may have cut is after seq 8 ") || !strings.Contains(out, "ended: it stopped orderly") {
		t.Errorf("what is said of the ends: %s", out)
	}
	if code, out, _ := w.verify(killed+stopped, "--strict", "-"); code != exitFailed || !strings.HasPrefix(lastLine(out), "NOT whole: ") {
		t.Errorf("--strict: exit %d: %s", code, out)
	}
	if code, _, _ := w.verify(stopped, "--strict", "-"); code != exitOK {
		t.Errorf("--strict of what is complete: exit %d", code)
	}
	lines := strings.SplitAfter(stopped, "\n")
	for i := range len(lines) - 2 { // but for the last one, behind which there is nothing
		text := strings.Join(lines[:i], "") + strings.Join(lines[i+1:], "")
		if code, out, _ := w.verify(text, "-"); code != exitFailed || !strings.HasPrefix(lastLine(out), "NOT whole: ") {
			t.Errorf("line %d is removed: exit %d: %s", i+1, code, out)
		}
	}
}

func TestVerifyDeclaresATornLineAndTheBootBehindIt(t *testing.T) {
	t.Parallel()
	w, killed, stopped := recordsOfTwoBoots(t)
	text := killed[:len(killed)-40] + "\n" + stopped
	code, out, _ := w.verify(text, "-")
	if code != exitOK || !strings.Contains(out, "after seq 7 (torn lines: 1)") || !strings.Contains(out, "-: 1 lines cannot be read, the first is line 8") {
		t.Errorf("exit %d: %s", code, out)
	}
}

func TestVerifyPrintsOneDocument(t *testing.T) {
	t.Parallel()
	w, killed, stopped := recordsOfTwoBoots(t)
	for _, c := range []struct {
		args  []string
		whole bool
	}{{[]string{"--json", "-"}, true}, {[]string{"--json", "--strict", "-"}, false}} {
		code, out, _ := w.verify(killed+stopped, c.args...)
		var res evidence.Result
		dec := json.NewDecoder(strings.NewReader(out))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&res); err != nil || dec.More() {
			t.Fatalf("%v: %s", err, out)
		}
		if res.Whole != c.whole || (code == exitOK) != c.whole || len(res.Processes) != 2 || res.Processes[0].Tail == nil || res.Processes[1].Tail != nil {
			t.Errorf("%v: exit %d: %s", c.args, code, out)
		}
	}
	for _, key := range []string{"whole", "complete", "records", "foreign", "unreadable", "files", "boots", "findings", "boot", "from", "to", "first", "last",
		"last_hash", "tail", "after", "torn", "totals", "lost", "policies", "policy", "seq", "more", "name", "first_unreadable"} {
		if _, out, _ := w.verify(killed, "--json", "-"); !strings.Contains(out, `"`+key+`":`) {
			t.Errorf("the document has no %s: %s", key, out)
		}
	}
}

func TestVerifyFailsOnWhatItCannotReadAndOnNothing(t *testing.T) {
	t.Parallel()
	w, _, stopped := recordsOfTwoBoots(t)
	dir := t.TempDir()
	good, empty := filepath.Join(dir, "good"), filepath.Join(dir, "empty\x1b[31m")
	w.write(good, stopped)
	w.write(empty, "")
	for _, c := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"no file", nil, exitUsage, "there is no FILE; call it as"},
		{"an unknown flag", []string{"--soon", good}, exitUsage, "unknown flag"},
		{"a missing file", []string{good, filepath.Join(dir, "missing")}, exitFailed, "missing: no such file or directory"},
		{"an empty file beside a good one", []string{good, empty}, exitFailed, `empty\x1b[31m": a file without any record`},
		{"an empty input", []string{"-"}, exitFailed, "NOT whole: 0 records of 0 boots"},
		{"a good file", []string{good}, exitOK, "whole: "},
	} {
		code, out, errs := w.verify("", c.args...)
		if code != c.code || !strings.Contains(out+errs, c.says) || strings.Contains(out+errs, "\x1b") {
			t.Errorf("%s: exit %d: %s%s", c.name, code, out, errs)
		}
	}
}
