package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence"
)

// lost returns egress_audit_lost_total.
func (p *running) lost() int {
	p.t.Helper()
	n, err := strconv.Atoi(p.metric("egress_audit_lost_total"))
	p.world.must(err)
	return n
}

// statusOf returns the status of a path of the admin listener.
func (p *running) statusOf(path string) int {
	status, _ := p.get(path)
	return status
}

func TestOutputThatFailsRefusesEverythingUntilItWorksAgain(t *testing.T) {
	t.Parallel()
	for _, row := range sinks {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newEchoWorld(t)
			s := row.make(w)
			w.vars["on_failure"] = "refuse"
			p := w.startOn(s, sinkPolicy)
			if s.fail != nil {
				p.wantRefused(403, "host_not_allowed")
				s.fail()
			}
			// What a pipe still holds is recorded; then nothing passes, and nothing
			// waits for ever.
			unavailable := 0
			w.eventually("a refusal is not given without its record", func() bool {
				if p.connect("billing", "evil.test:443").StatusCode == 503 {
					unavailable++
				}
				return unavailable > 0
			})
			for range 3 {
				p.wantRefused(503, "audit_unavailable")
			}
			if r := p.connect("billing", "before.test:"+w.vars["echo"]); r.StatusCode != 503 || r.reason() != "audit_unavailable" {
				t.Errorf("what is allowed: %s", r.Status)
			}
			unavailable += 4
			if status, text := p.get("/readyz"); status != 503 || !strings.Contains(text, "records cannot be written") {
				t.Errorf("/readyz: %d %q", status, text)
			}
			// The check of a container must not end it: the task in its place could not write either.
			w.eventually("it is alive", func() bool { code, text := p.healthcheck("--live"); return code == exitOK && text == "ok\n" })
			if got := p.metric(`egress_decisions_total{function="billing",protocol="connect",reason="audit_unavailable",verdict="deny"}`); got != strconv.Itoa(unavailable) {
				t.Errorf("audit_unavailable is counted %s times, want %d", got, unavailable)
			}
			if p.lost() == 0 {
				t.Error("nothing is counted as lost")
			}
			w.eventually("the log tells", func() bool { return p.logged("audit output fails") })
			p.mended(s)
		})
	}
}

// wantRefused asks for what is not allowed and checks the answer.
func (p *running) wantRefused(status int, reason string) {
	p.t.Helper()
	if r := p.connect("billing", "evil.test:443"); r.StatusCode != status || r.reason() != reason {
		p.t.Errorf("got %s, want %d %s", r.Status, status, reason)
	}
}

// mended mends the sink and checks that all works again by itself and that the
// stream is whole. Where it cannot be mended the program must end all the same.
func (p *running) mended(s *sink) {
	p.t.Helper()
	if s.mend == nil {
		p.finished = true
		p.signal(syscall.SIGTERM)
		if code := p.wait(); code != 0 {
			p.t.Errorf("exit code %d", code)
		}
		return
	}
	s.mend()
	// No request is needed for it.
	p.world.eventually("it is ready again", func() bool {
		return p.statusOf("/readyz") == 200 && p.logged("audit output works again")
	})
	p.wantRefused(403, "host_not_allowed")
	lost := p.lost()
	p.end()
	p.wholeButFor(lost)
}

// end stops the program and checks what holds of every run.
func (p *running) end() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	p.wait()
	p.finish()
}

// wholeButFor checks that the records are whole but for so many that the
// stream itself says are lost.
func (p *running) wholeButFor(lost int) {
	p.t.Helper()
	r := p.world.verified(p.recordFiles...)
	if len(r.Processes) != 1 || len(r.Findings) != 0 || r.Unreadable != 0 || r.Processes[0].Tail != nil {
		p.t.Fatalf("the records: %+v", r)
	}
	b := r.Processes[0]
	for _, f := range b.Findings {
		if f.Kind != evidence.KindLost {
			p.t.Errorf("the records: %+v", f)
		}
	}
	if b.Lost != uint64(lost) || (lost > 0) != (len(b.Findings) == 1) {
		p.t.Errorf("the records say that %d are lost in %+v, the metric %d", b.Lost, b.Findings, lost)
	}
}

func TestOutputThatFailsIsLetThroughAndCountedWhereTheFileSaysSo(t *testing.T) {
	t.Parallel()
	for _, row := range sinks {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newEchoWorld(t)
			s := row.make(w)
			w.vars["on_failure"] = "count"
			p := w.startOn(s, sinkPolicy)
			events := 1 // that it started
			if s.fail != nil {
				p.wantRefused(403, "host_not_allowed")
				events++
				s.fail()
			}
			before := p.lost()
			w.eventually("a record is lost", func() bool {
				p.wantRefused(403, "host_not_allowed")
				events++
				return p.lost() > before
			})
			for range 5 {
				p.wantRefused(403, "host_not_allowed")
				r := p.connect("billing", "before.test:"+w.vars["echo"])
				r.carries(t)
				_ = r.conn.Close()
				events += 3 // opened and closed
			}
			w.eventually("the tunnels have ended", func() bool { return p.metric(`egress_tunnels{function="billing"}`) == "0" })
			if status := p.statusOf("/readyz"); status != 200 {
				t.Errorf("/readyz: %d", status)
			}
			if s.mend == nil {
				// A terminal takes records and is gone with them: that the program
				// started, and the refusal before. All that came later is lost.
				taken := 0
				if s.fail != nil {
					taken = 2
				}
				w.eventually("every event is lost or was taken", func() bool { return p.lost() == events-taken })
			}
			p.mendedCount(s, events)
		})
	}
}

// mendedCount is mended where nothing was refused: each event is a record or
// is lost.
func (p *running) mendedCount(s *sink, events int) {
	p.t.Helper()
	if s.mend == nil {
		p.mended(s)
		return
	}
	s.mend()
	p.world.eventually("it works again", func() bool { return p.logged("audit output works again") })
	p.wantRefused(403, "host_not_allowed")
	events++
	lost := p.lost()
	p.end()
	p.wholeButFor(lost)
	recorded := 0
	for _, r := range p.records() {
		if r.Event != "heartbeat" && r.Event != "stopped" {
			recorded++
		}
	}
	if recorded+lost != events {
		p.t.Errorf("%d records and %d lost are not %d events", recorded, lost, events)
	}
}

func TestSlowOutputSlowsTheAnswersAndLosesNothing(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	w.vars["on_failure"] = "refuse"
	r, out := w.pipe()
	path := filepath.Join(t.TempDir(), "read")
	d := w.newDrain(r, path, 20*time.Millisecond)
	p := w.startOn(&sink{stdout: out, output: "stdout", files: []string{path}, rest: func() { <-d.done }}, sinkPolicy)
	// Of an answer the record is read, is being read, or is in the pipe, which
	// holds no more than that many.
	const shortest = 400
	var answered atomic.Int64
	s := newSeen()
	ask := func() {
		var asking sync.WaitGroup
		defer asking.Wait()
		for range 6 {
			asking.Go(func() {
				for range 5 {
					r, err := p.tryConnect("billing", "evil.test:443")
					if err != nil || r.StatusCode != 403 {
						t.Errorf("%+v, %v", r.Response, err)
					}
					if n := answered.Add(1); n > d.begun.Load()+4096/shortest {
						t.Errorf("%d answers, and the reader has begun %d lines", n, d.begun.Load())
					}
					s.add(r, "billing", "connect")
				}
			})
		}
	}
	// It shows in the metrics: of thirty lines a pipe holds ten at most, and a
	// write waits until all ten are read. On a machine where nobody asks that
	// fast it takes more of them.
	w.eventually("writes have taken a second in all", func() bool {
		ask()
		spent, err := strconv.ParseFloat(p.metric("egress_audit_write_seconds_sum"), 64)
		w.must(err)
		return spent >= 1
	})
	if status := p.statusOf("/readyz"); status != 200 {
		t.Errorf("/readyz: %d", status)
	}
	if p.lost() != 0 {
		t.Errorf("%d lost", p.lost())
	}
	p.end()
	p.wholeAndStopped()
	if ids := s.missing(p.records()); len(ids) > 0 || len(s.reasons) != int(answered.Load()) {
		t.Errorf("of %d refusals %d are no record", len(s.reasons), len(ids))
	}
}

func TestFileThatIsMovedAwayWithoutASignalIsFollowed(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	w.vars["on_failure"] = "refuse"
	dir := t.TempDir()
	file, moved := filepath.Join(dir, "records.json"), filepath.Join(dir, "records.json.1")
	p := w.startOn(&sink{output: file, files: []string{moved, file}}, sinkPolicy)
	p.wantRefused(403, "host_not_allowed")
	w.must(os.Rename(file, moved))
	p.wantRefused(403, "host_not_allowed") // goes to one of the two, and is not lost
	// That it is there does not mean yet that it is written to.
	w.eventually("the new file is there", func() bool { _, err := os.Stat(file); return err == nil })
	asked := 2
	w.eventually("a refusal is in the new file", func() bool {
		p.wantRefused(403, "host_not_allowed")
		asked++
		return strings.Contains(p.read(file), `"refused"`)
	})
	p.finish()
	p.wholeAndStopped()
	if n := len(p.of("refused")); n != asked {
		t.Errorf("%d refusals in both files, want %d", n, asked)
	}
}

func TestProgramDoesNotStartWhereItsFileCannotBeWritten(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	dir := w.smallDisk()
	w.must(unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	w.vars["on_failure"], w.vars["output"] = "count", filepath.Join(dir, "records.json")
	config := filepath.Join(t.TempDir(), "egress.yaml")
	w.write(config, sinkPolicy)
	var stderr bytes.Buffer
	cmd := exec.Command("proxy", "run", "--config", config)
	cmd.Stderr = &stderr
	if code := exitCode(cmd.Run()); code != 1 || !strings.Contains(stderr.String(), "read-only file system") {
		t.Errorf("exit code %d: %s", code, &stderr)
	}
}
