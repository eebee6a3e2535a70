package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest/alarms"
)

// linuxIncidents are those that need a pipe of a known size, a cgroup, or what the kernel says
// of a process.
func linuxIncidents() []played {
	return []played{
		{"no processor left", []string{"Cpu"}, busyProcessor},
		{"memory near its limit", []string{"Memory"}, fullMemory},
		{"an output that stalls", []string{"NothingReports", "AuditSlow"}, stalledOutput},
		{"an output that is slow", []string{"AuditSlow"}, slowOutput},
		{"records that are lost", []string{"AuditLost"}, lostRecords},
		{"a log that nobody reads", []string{"LogLinesDropped"}, lostLogLines},
	}
}

// No row of the table stands there on somebody's word.
func TestEachAlarmIsPlayed(t *testing.T) {
	t.Parallel()
	about := map[string]bool{}
	for _, p := range slices.Concat(linuxIncidents(), incidents()) {
		for _, name := range p.alarms {
			about[name] = true
		}
	}
	for _, a := range alarms.Read(t, "../../deploy/alarms.yaml", yaml.Unmarshal) {
		if !about[a.Name] {
			t.Errorf("no incident is about %s", a.Name)
		}
		delete(about, a.Name)
	}
	if len(about) > 0 {
		t.Errorf("the table has no alarm %v", about)
	}
}

// An output that takes nothing: records wait, and with them requests; the metrics travel by
// the same output. So CloudWatch has that nothing reports, and Prometheus that records wait.
func stalledOutput(t *testing.T) {
	w := newEchoWorld(t)
	w.vars["on_failure"] = "refuse"
	s := unreadPipe(w)
	s.flags = emfFlags
	in := watchIncident(w.startOn(s, sinkPolicy), s.files[0])
	in.minutes(2, in.calls)
	s.fail()
	in.stalled = true
	var asking sync.WaitGroup
	t.Cleanup(asking.Wait)
	w.eventually("an output that nobody reads is full", func() bool {
		asking.Go(func() { _, _ = in.tryConnect("billing", "before.test:"+w.vars["echo"]) })
		return in.number("egress_audit_pending_seconds") > 0
	})
	in.above("egress_audit_pending_seconds", 1)
	in.minutes(4, func() {})
	w.eventually("it is not ready", func() bool { code, _ := in.get("/readyz"); return code == http.StatusServiceUnavailable })
	s.mend()
	in.stalled = false
	w.eventually("records are written again", func() bool { return in.allows("before.test") && in.number("egress_audit_pending_seconds") < 1 })
	in.minutes(5, func() { _ = in.allows("before.test") })
	in.setsInCloudWatch("NothingReports", 2, 6, 3)
	in.setsInPrometheus("AuditSlow", 2, 6, 1)
}

// An output that takes a line now and then: all is recorded, late, and so are the metrics
// that travel by it.
func slowOutput(t *testing.T) {
	const rest = 550 * time.Millisecond
	w := newEchoWorld(t)
	w.vars["on_failure"] = "refuse"
	r, out := w.pipe()
	path := filepath.Join(t.TempDir(), "read")
	d := w.newDrain(r, path, time.Millisecond)
	in := watchIncident(w.startOn(&sink{flags: emfFlags[:2], stdout: out, output: "stdout", files: []string{path}, rest: func() { <-d.done }}, sinkPolicy), path)
	in.minutes(2, in.calls)
	d.slow.Store(int64(rest))
	stop := make(chan struct{})
	var asking sync.WaitGroup
	end := sync.OnceFunc(func() { close(stop); asking.Wait() })
	t.Cleanup(func() { d.slow.Store(0); end() })
	for range 3 {
		asking.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if c, err := in.tryConnect("billing", "before.test:"+w.vars["echo"]); err == nil && c.conn != nil {
					_ = c.conn.Close()
				}
			}
		})
	}
	in.above("egress_audit_pending_seconds", 1)
	in.minutes(4, func() { time.Sleep(rest) }) // a scrape sees now this line wait, now that
	if lost := in.lost(); lost != 0 {
		t.Errorf("%d records are lost: the output is slow, and no worse", lost)
	}
	w.eventually("the log says it", func() bool { return slices.Contains(in.told("records_slow"), "WARN") })
	d.slow.Store(0)
	end()
	w.eventually("records are written at once", func() bool { return in.allows("before.test") && in.number("egress_audit_pending_seconds") < 1 })
	in.minutes(5, in.calls)
	in.sets("AuditSlow", 2, 6)
	in.page("AuditSlow", "`egress_audit_pending_seconds`", "`records_slow`")
}

// Nobody reads the FIFO that records go to, and the file lets events pass without one.
func lostRecords(t *testing.T) {
	w := newEchoWorld(t)
	w.vars["on_failure"] = "count"
	s := leftFIFO(w)
	s.flags = emfFlags
	printed := filepath.Join(t.TempDir(), "printed")
	var err error
	s.stdout, err = os.Create(printed)
	w.must(err)
	in := watchIncident(w.startOn(s, sinkPolicy), printed)
	in.minutes(2, in.calls)
	s.fail()
	in.minutes(4, in.calls)
	w.eventually("the log says it", func() bool { return slices.Contains(in.told("records_lost"), "WARN") })
	s.mend()
	w.eventually("it works again", func() bool { return in.logged("audit output works again") })
	in.minutes(5, in.calls)
	in.sets("AuditLost", 2, 6)
	in.page("AuditLost", "`lost`", "`records_lost`")
	lost := in.lost()
	in.end()
	in.wholeButFor(lost)
}

// The file has many functions in report mode, each load says so of each of them, and nobody
// reads standard error.
func lostLogLines(t *testing.T) {
	w := newEchoWorld(t)
	policy := only("before.test")
	for i := range 200 {
		policy += fmt.Sprintf("  f%d: {mode: report, report_until: 2999-12-31, identify: {sources: [198.18.%d.%d/32]}, allow: []}\n", i, i/250, i%250)
	}
	p, m := w.startMute(policy, emfFlags...)
	in := watchIncident(p, p.stdout)
	in.minutes(2, in.calls)
	m.start()
	loads := func() {
		in.calls()
		p.signal(syscall.SIGHUP)
	}
	w.eventually("lines are lost", func() bool { loads(); return in.number("egress_log_lines_dropped_total") > 0 })
	in.minutes(4, loads)
	m.stop()
	w.eventually("the log says how many lines are missing", func() bool {
		return in.logged("lines of this log were lost: standard error did not take them")
	})
	in.minutes(7, in.calls)
	in.sets("LogLinesDropped", 2, 6)
	in.page("LogLinesDropped", "`egress_log_lines_dropped_total`", "says how many lines are missing")
}
