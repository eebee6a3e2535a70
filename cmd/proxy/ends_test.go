package main

import (
	"fmt"
	"syscall"
	"testing"
)

// The metrics say what ended tunnels as the records do, and a cause that has not been met
// is there at 0.
func TestEndsOfTunnelsAreCountedByTheirCause(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	p := w.start(only("before.test"))
	for _, r := range p.open(3) {
		_ = r.conn.Close()
	}
	ended := func(cause string, n int) {
		t.Helper()
		series := fmt.Sprintf(`egress_tunnels_ended_total{ended=%q,function="billing"}`, cause)
		w.eventually(fmt.Sprintf("%d ended as %s", n, cause), func() bool { return p.metric(series) == fmt.Sprint(n) })
	}
	ended("client", 3)
	ended("revoked", 0)
	open := p.open(2)
	w.write(p.config, only("after.test"))
	p.signal(syscall.SIGHUP)
	for _, r := range open {
		r.ends(t)
	}
	ended("revoked", 2)
	ended("client", 3)
	if got := p.metric("egress_tunnel_duration_seconds_count"); got != "5" {
		t.Errorf("%s durations, want 5", got)
	}
}
