package proxy_test

import (
	"flag"
	"fmt"
	"net"
	"os"
	"runtime"
	"runtime/pprof"
	"testing"
	"time"
)

// TestMain fails the run when goroutines or descriptors are left after it. It runs
// nothing where connections cannot come from all over 127.0.0.0/8.
func TestMain(m *testing.M) {
	ln, err := net.Listen("tcp", testsOwn+":0")
	if err != nil {
		fmt.Println("skipped: on Linux all of 127.0.0.0/8 is loopback, here it is not:", err)
		return
	}
	ln.Close()
	goroutines, files := runtime.NumGoroutine(), descriptors()
	code := m.Run()
	// The fuzzer keeps a goroutine of its own.
	fuzzing := flag.Lookup("test.fuzz").Value.String() != ""
	if code == 0 && !fuzzing && !settles(func() bool { return runtime.NumGoroutine() <= goroutines && descriptors() <= files+2 }) {
		fmt.Fprintf(os.Stderr, "left behind: goroutines %d, were %d; descriptors %d, were %d\n",
			runtime.NumGoroutine(), goroutines, descriptors(), files)
		_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
		code = 1
	}
	os.Exit(code)
}

// descriptors returns how many files the process has open; 0 where it cannot
// be told.
func descriptors() int {
	entries, _ := os.ReadDir("/proc/self/fd")
	return len(entries)
}

// settles gives a condition time to come true.
func settles(ok func() bool) bool {
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// checkEnd is what holds of every server after its end: no place is taken,
// nobody waits, and, where the records are complete, they and the metric of
// decisions add up to the same.
func (r *rig) checkEnd(complete bool) {
	if n := r.server.Open(); n != 0 {
		r.t.Errorf("%d places are still taken", n)
	}
	if n := r.server.Unidentified(); n != 0 {
		r.t.Errorf("%d connections are still counted as unidentified", n)
	}
	if n := r.server.Tunnels(); n != 0 {
		r.t.Errorf("%d tunnels are still open", n)
	}
	if complete {
		r.reconcile()
	}
}

// outcome is what decisions are counted by.
type outcome struct{ function, verdict, reason, protocol string }

// reconcile compares egress_decisions_total with the records.
func (r *rig) reconcile() {
	r.t.Helper()
	counted, recorded := r.decisions(), map[outcome]float64{}
	for _, m := range r.records.all(r.t) {
		switch m["event"] {
		case "challenged", "refused", "opened":
			if !r.has(text(m["function"])) {
				continue // a function that is gone has no series
			}
			suppressed, _ := m["suppressed"].(float64)
			recorded[outcome{text(m["function"]), text(m["verdict"]), text(m["reason"]), text(m["protocol"])}] += 1 + suppressed
		}
	}
	for o, n := range counted {
		if recorded[o] != n {
			r.t.Errorf("decisions of %+v: %v counted, %v recorded", o, n, recorded[o])
		}
	}
	for o, n := range recorded {
		if counted[o] != n {
			r.t.Errorf("decisions of %+v: %v recorded, %v counted", o, n, counted[o])
		}
	}
}

// has reports whether the policy in force has a function; nobody is always there.
func (r *rig) has(function string) bool {
	return function == "" || r.current.Load().policy.Function(function) != nil
}

// decisions returns egress_decisions_total.
func (r *rig) decisions() map[outcome]float64 {
	r.t.Helper()
	sums := map[outcome]float64{}
	r.eachSeries("egress_decisions_total", func(labels map[string]string, counter float64) {
		sums[outcome{labels["function"], labels["verdict"], labels["reason"], labels["protocol"]}] += counter
	})
	return sums
}

// eachSeries calls f for every series of a metric ("": of all) with its labels
// and the value of its counter or gauge.
func (r *rig) eachSeries(name string, f func(labels map[string]string, value float64)) {
	r.t.Helper()
	families, err := r.reg.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, family := range families {
		if name != "" && family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			f(labels, m.GetCounter().GetValue()+m.GetGauge().GetValue())
		}
	}
}

// text returns a string of a record, "" for null.
func text(v any) string {
	s, _ := v.(string)
	return s
}
