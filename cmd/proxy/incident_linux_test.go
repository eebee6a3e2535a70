package main

import (
	"net/http"
	"sync"
	"testing"
)

// An output that takes nothing: records wait, and with them requests; the metrics travel by
// the same output. So CloudWatch has that nothing reports, and Prometheus that records wait.
func TestOutputThatStallsSetsOffTheAlarmOfNothingReportedAndThatOfRecordsThatWait(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	w.vars["on_failure"] = "refuse"
	s := unreadPipe(w)
	s.flags = []string{"--emf", "1s", "--emf-functions", "--emf-deployment", "eu"}
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
	in.setsInCloudWatch("NothingReports", 2, 6)
	in.setsInPrometheus("AuditSlow", 2, 6)
}
