package exchange

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/perfunction"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/tunnel"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// series are the metrics that a function's open tunnels touch: looking one up by its
// labels costs more than counting.
type series struct {
	allowed  *perfunction.Value // CONNECTs that were let through
	tunnels  *perfunction.Value
	up, down *perfunction.Value // bytes
	ended    [tunnel.Causes]*perfunction.Value
	dead     *perfunction.Value  // tunnels that were used when their origin had ended
	lasted   prometheus.Observer // of all functions
}

// newSeries makes the series of a function.
func (m *Metrics) newSeries(function string) *series {
	a := &series{
		allowed: m.of.Decisions.With(function, verdict.Allow.String(), "", protocolConnect),
		tunnels: m.of.Tunnels.With(function),
		up:      m.of.Bytes.With(function, "up"),
		down:    m.of.Bytes.With(function, "down"),
		dead:    m.of.DeadReuse.With(function),
		lasted:  m.lasted,
	}
	for c := range tunnel.Causes {
		a.ended[c] = m.of.Ended.With(function, c.String())
	}
	return a
}

// closed counts a tunnel that has ended.
func (a *series) closed(r tunnel.Result, lasted time.Duration) {
	a.tunnels.Add(-1)
	a.ended[r.Ended].Inc()
	if r.DeadReuse {
		a.dead.Inc()
	}
	a.lasted.Observe(lasted.Seconds())
}

// moved counts the bytes up to so many each way, but for those that are counted already.
func (a *series) moved(counted *perfunction.Moved, up, down int64) {
	counted.Count(a.up, a.down, up, down)
}

// Moved counts what has moved so far of a tunnel that is open.
func (o *Open) Moved(up, down int64) { o.usage.Data.(*series).moved(&o.counted, up, down) }

// Moved counts what has moved so far of what is open, and is no tunnel. It is not called
// once that has ended.
func (x *Exchange) Moved(up, down int64) { x.series().moved(&x.counted, up, down) }
