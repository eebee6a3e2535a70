// Package perfunction counts by function, for metrics whose label is the name of one.
//
// What it does: a [Vec] is a Prometheus metric with the label function, or another that
// holds such a name, and with what other labels it has. A scrape shows the series of every
// function of the policy in force, those that alarms read at 0 from the load on, and of no
// function that the policy has no more. What nothing was counted of takes no memory.
//
// What it does not do: it knows no policy, and forgets nothing: a function that comes back
// goes on where it was. So it holds as many functions as files have named.
//
//	decisions := perfunction.New(desc, prometheus.CounterValue, names, []string{"allow", ""})
//	reg.MustRegister(decisions)
//	decisions.With("billing", "allow", "").Inc()
package perfunction

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// Names returns the functions of the policy in force, sorted. It is called with each scrape.
type Names func() []string

// Vec is one metric. Make one with New. Safe for concurrent use.
type Vec struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	names Names
	zeros [][]string

	mu sync.RWMutex
	of map[string][]*Value
}

// Value is the number of one series.
type Value struct {
	labels []string // but for the function
	n      atomic.Int64
}

// New returns a metric, whose first label is the function. zeros are the values of the other
// labels of the series that a function has from the beginning.
func New(desc *prometheus.Desc, kind prometheus.ValueType, names Names, zeros ...[]string) *Vec {
	return &Vec{desc: desc, kind: kind, names: names, zeros: zeros, of: map[string][]*Value{}}
}

// Register registers metrics; a nil reg registers none.
func Register(reg prometheus.Registerer, all ...*Vec) {
	for _, v := range all {
		if reg != nil {
			reg.MustRegister(v)
		}
	}
}

// Add adds to the number.
func (v *Value) Add(n int64) { v.n.Add(n) }

// Inc adds one.
func (v *Value) Inc() { v.n.Add(1) }

// With returns the value of a function, "" where none is known, with other labels.
func (v *Vec) With(function string, labels ...string) *Value {
	v.mu.RLock()
	value := find(v.of[function], labels)
	v.mu.RUnlock()
	if value != nil {
		return value
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if value = find(v.of[function], labels); value == nil {
		value = &Value{labels: slices.Clone(labels)}
		v.of[function] = append(v.of[function], value)
	}
	return value
}

// find returns the value with the labels, which are few; nil: there is none.
func find(all []*Value, labels []string) *Value {
	for _, value := range all {
		if slices.Equal(value.labels, labels) {
			return value
		}
	}
	return nil
}

// Describe implements prometheus.Collector.
func (v *Vec) Describe(ch chan<- *prometheus.Desc) { ch <- v.desc }

// Collect implements prometheus.Collector. A gauge of a function that is gone shows as long
// as it is not 0: what is open still is open.
func (v *Vec) Collect(ch chan<- prometheus.Metric) {
	names := v.names()
	for _, name := range names {
		values := v.values(name)
		for _, value := range values {
			v.send(ch, name, value.labels, value.n.Load())
		}
		for _, labels := range v.zeros {
			if find(values, labels) == nil {
				v.send(ch, name, labels, 0)
			}
		}
	}
	for _, name := range v.others(names) {
		for _, value := range v.values(name) {
			if n := value.n.Load(); name == "" || n != 0 {
				v.send(ch, name, value.labels, n)
			}
		}
	}
}

// values returns the values of a function.
func (v *Vec) values(name string) []*Value {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.of[name]
}

// others returns those who are shown and are no function of the policy: nobody, and of a
// gauge who is gone.
func (v *Vec) others(names []string) (all []string) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	for name := range v.of {
		if name == "" || v.kind == prometheus.GaugeValue {
			if _, there := slices.BinarySearch(names, name); !there {
				all = append(all, name)
			}
		}
	}
	return all
}

// send sends one series.
func (v *Vec) send(ch chan<- prometheus.Metric, name string, labels []string, n int64) {
	var buf [8]string
	ch <- prometheus.MustNewConstMetric(v.desc, v.kind, float64(n), append(append(buf[:0], name), labels...)...)
}
