package exchange

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// step is a part of what a request waits for before it has its answer.
type step uint8

const (
	stepResolve step = iota // the lookup of the host
	stepDial                // the connection to the origin
	stepRecord              // the record of the decision
	stepTotal               // all of it, from the head of the request to the answer
	stepCount
)

// outcome is how a step ended.
type outcome uint8

const (
	succeeded outcome = iota
	refused           // by the policy, or for what the client did
	failed            // what is outside, or the proxy itself, could not
	timedOut          // what is outside did not answer in time
	outcomes
)

// The values of the labels.
var (
	stepNames    = [stepCount]string{"resolve", "dial", "record", "total"}
	outcomeNames = [outcomes]string{"ok", "refused", "failed", "timeout"}
)

// stepTimes observes how long steps take. A step has the outcomes that it can have.
type stepTimes [stepCount][outcomes]prometheus.Observer

// newStepTimes makes the metric, each of its series at 0.
func newStepTimes(f promauto.Factory) (all stepTimes) {
	v := f.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "egress_setup_seconds",
		Help:    "Time until a request has its answer, by step and how it ended: resolve, dial, record (of what has one of its own), and total, from the head of the request on.",
		Buckets: []float64{.0001, .0003, .001, .003, .01, .03, .1, .3, .5, 1, 2, 5, 10},
	}, []string{"step", "outcome"})
	for s := range stepCount {
		for o := range outcomes {
			if s == stepTotal || o != refused && (s != stepRecord || o != timedOut) {
				all[s][o] = v.WithLabelValues(stepNames[s], outcomeNames[o])
			}
		}
	}
	return all
}

// observe notes how long a step took.
func (t *stepTimes) observe(s step, o outcome, d time.Duration) { t[s][o].Observe(d.Seconds()) }

// outcomeOf returns how a request with that reason has ended.
func outcomeOf(r verdict.Reason) outcome {
	switch row := r.Row(); {
	case r == verdict.ReasonNone:
		return succeeded
	case row.Status.Code() == http.StatusGatewayTimeout:
		return timedOut
	case row.Fault == verdict.FaultOutside, row.Fault == verdict.FaultProxy:
		return failed
	}
	return refused
}

// Dialed observes a dial that succeeded.
func (m *Metrics) Dialed(took time.Duration) { m.steps.observe(stepDial, succeeded, took) }

// dialFailed observes a dial that did not.
func (m *Metrics) dialFailed(r verdict.Reason, took time.Duration) {
	o := failed
	if outcomeOf(r) == timedOut {
		o = timedOut
	}
	m.steps.observe(stepDial, o, took)
}

// Answered observes that the request has its answer now: it may pass.
func (x *Exchange) Answered() {
	x.shared.Metrics.steps.observe(stepTotal, succeeded, time.Since(x.Start))
}

// recorded observes how long n records took.
func (m *Metrics) recorded(n int, err error, took time.Duration) {
	o := succeeded
	if err != nil {
		o = failed
	}
	for range n {
		m.steps.observe(stepRecord, o, took)
	}
}
