package proxy_test

import (
	"runtime"
	"testing"
)

// slack is how many goroutines and descriptors may come and go by themselves.
const slack = 5

// state is what a server holds of the process.
type state struct{ goroutines, files int }

// hold returns what the process holds now. A test that compares must not run
// beside others.
func hold() state { return state{runtime.NumGoroutine(), descriptors()} }

// unharmed is what has to hold after every abuse, once the clients have gone: the
// server has what it had before, no place is taken, nothing panicked, and a
// client that means well is served.
func (r *rig) unharmed(before state, target string) {
	r.t.Helper()
	eventually(r.t, "as many goroutines and descriptors as before", func() bool {
		now := hold()
		return now.goroutines <= before.goroutines+slack && now.files <= before.files+slack
	})
	eventually(r.t, "no place taken", func() bool {
		return r.server.Open() == 0 && r.server.Tunnels() == 0 && r.server.Unidentified() == 0 && r.server.Seats() == 0 && r.server.Kept() == 0
	})
	if n := r.value("egress_panics_total"); n != 0 {
		r.t.Errorf("egress_panics_total = %v", n)
	}
	if n := r.value("egress_dials"); n != 0 {
		r.t.Errorf("%v dials are under way", n)
	}
	c, br := r.send(connectAs("billing", target))
	wantEstablished(r.t, br)
	_ = c.Close()
	eventually(r.t, "that tunnel ended too", func() bool { return r.server.Open() == 0 })
}

// value returns the sum of a metric's series.
func (r *rig) value(name string) (sum float64) {
	r.t.Helper()
	r.eachSeries(name, func(_ map[string]string, n float64) { sum += n })
	return sum
}

// shed returns how often something was refused for want of a thing.
func (r *rig) shed(cause string) (n float64) {
	r.t.Helper()
	r.eachSeries("egress_shed_total", func(labels map[string]string, v float64) {
		if labels["cause"] == cause {
			n += v
		}
	})
	return n
}

// closes closes what a test has opened, at once.
func closes[C interface{ Close() error }](t testing.TB, all []C) {
	t.Helper()
	for _, c := range all {
		_ = c.Close()
	}
}
