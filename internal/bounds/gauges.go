package bounds

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Unmeasured are the rows of All that have no gauges, with the reason.
var Unmeasured = map[string]string{
	"pipes":             "nobody is refused one: a tunnel without it copies",
	"refusal_records":   "each caller has a budget of its own, and what is over it is counted",
	"remembered_tokens": "nobody is refused one: a token that is forgotten is verified again, which is counted",
	"file_calls":        "a call that hangs is the end of a load, which the log and a record tell",
}

// Measure registers the gauges of a row: how many there are, how many of them one caller
// may have where nobody else takes any (0: there is no such bound), and how many are in
// use, which is asked for with each scrape. reg may be nil.
func Measure(reg prometheus.Registerer, name string, size, perCaller int, used func() int) {
	f := promauto.With(reg)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name:        "egress_bound_used",
		Help:        "How much of what is bounded is in use, by the rows of the page on limits.",
		ConstLabels: prometheus.Labels{"bound": name},
	}, func() float64 { return float64(used()) })
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name:        "egress_bound_size",
		Help:        "How much there is of it, cut to what the process may have.",
		ConstLabels: prometheus.Labels{"bound": name},
	}, func() float64 { return float64(size) })
	if perCaller == 0 {
		return
	}
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name:        "egress_bound_share",
		Help:        "How much of it one caller may have where nobody else takes any; no series where there is no such bound.",
		ConstLabels: prometheus.Labels{"bound": name},
	}, func() float64 { return float64(perCaller) })
}

// Refuses reports whether somebody is turned away where all of a row is taken.
func Refuses(name string) bool {
	for _, b := range All {
		if b.Name == name {
			return b.Refuses
		}
	}
	return false
}
