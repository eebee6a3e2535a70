package main

import (
	"fmt"
	"time"
)

// measure is one thing that is compared.
type measure struct {
	name   string
	unit   string
	leaves string  // what the figure leaves out
	goal   float64 // at most this ratio to Squid; 0: none
	every  bool    // in every round; else in the first alone
	can    func(*target) bool
	take   func(*target, *origins, float64) ([]float64, error) // one figure, or the figures of parts
	parts  []string                                            // names of the figures; nil: one without a name
}

// tunnels reports whether the target speaks CONNECT; a blind relay does not.
func tunnels(t *target) bool { return !t.raw }

// keepsPlain reports whether the target forwards plain HTTP and keeps the
// client's connection; tinyproxy closes it.
func keepsPlain(t *target) bool {
	return tunnels(t) && t.name != "io.Copy floor" && t.name != "tinyproxy"
}

// refuses reports whether the target has a list.
func refuses(t *target) bool { return t.refused != "" }

// anyone is every target.
func anyone(*target) bool { return true }

// each returns microseconds of CPU for each item counted.
func each(o outcome) float64 {
	return float64(o.cpu.Microseconds()) / float64(o.count)
}

// measures are all that is compared, in the order of the report.
var measures = []measure{
	{
		name: "allowed CONNECT", unit: "µs CPU", goal: 0.75, every: true, can: anyone, parts: []string{"", "p50 ms", "p99 ms"},
		leaves: "dial, CONNECT with a ClientHello up and 64 bytes down, close; 16 at once. HAProxy relays without a CONNECT.",
		take: func(t *target, o *origins, scale float64) ([]float64, error) {
			out, err := t.allowed(o, int(4000*scale))
			return []float64{each(out), ms(percentile(out.latencies, .5)), ms(percentile(out.latencies, .99))}, err
		},
	},
	{
		name: "refused CONNECT", unit: "µs CPU", goal: 0.8, every: true, can: refuses,
		leaves: "one refusal a connection, recorded; the peers log it.",
		take: func(t *target, o *origins, scale float64) ([]float64, error) {
			out, err := t.refusals(o, int(5000*scale))
			return []float64{each(out)}, err
		},
	},
	{
		name: "plain GET", unit: "µs CPU", goal: 0.8, every: true, can: keepsPlain,
		leaves: "64 bytes a response, 16 kept connections; no cache.",
		take: func(t *target, o *origins, scale float64) ([]float64, error) {
			out, err := t.gets(o, int(8000*scale))
			return []float64{each(out)}, err
		},
	},
	{
		name: "TLS handshake and request", unit: "µs CPU", every: true, can: tunnels, parts: []string{"", "p50 ms"},
		leaves: "TLS 1.3 between client and origin through the tunnel; the origin's CPU is not counted.",
		take: func(t *target, o *origins, scale float64) ([]float64, error) {
			out, err := t.handshakes(o, int(1000*scale))
			return []float64{each(out), ms(percentile(out.latencies, .5))}, err
		},
	},
	{
		name: "64-byte round trip, 64 tunnels", unit: "µs CPU", goal: 1.1, every: true, can: tunnels,
		leaves: "tunnels that are open already.",
		take: func(t *target, o *origins, scale float64) ([]float64, error) {
			out, err := t.roundTrips(o, int(40000*scale))
			return []float64{each(out)}, err
		},
	},
	{
		name: "bulk down", unit: "s CPU/GB", goal: 0.5, every: true, can: tunnels,
		leaves: "one tunnel, 1 GB.",
		take:   func(t *target, o *origins, scale float64) ([]float64, error) { return gigabyte(t, o, scale, false) },
	},
	{
		name: "bulk up", unit: "s CPU/GB", goal: 0.5, every: true, can: tunnels,
		leaves: "one tunnel, 1 GB.",
		take:   func(t *target, o *origins, scale float64) ([]float64, error) { return gigabyte(t, o, scale, true) },
	},
	{
		name: "2,500 idle tunnels", unit: "KB RSS", can: many(2500), parts: []string{"", "descriptors"},
		leaves: "what a tunnel adds three seconds after it was opened.",
		take:   func(t *target, o *origins, _ float64) ([]float64, error) { return held(t, o, 2500) },
	},
	{
		name: "9,000 idle tunnels", unit: "KB RSS", can: many(9000), parts: []string{"", "descriptors"},
		leaves: "as above; 20,000 descriptors are what a process may have here.",
		take:   func(t *target, o *origins, _ float64) ([]float64, error) { return held(t, o, 9000) },
	},
}

// many tells which targets can hold n tunnels with the settings they have:
// Apache needs a thread and tinyproxy a process or thread for each.
func many(n int) func(*target) bool {
	return func(t *target) bool {
		return !t.raw && (t.name != "Apache" && t.name != "tinyproxy" || n < 200)
	}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func gigabyte(t *target, o *origins, scale float64, up bool) ([]float64, error) {
	n := int64(1e9 * scale)
	out, err := t.bulk(o, n, up)
	return []float64{out.cpu.Seconds() / (float64(n) / 1e9)}, err
}

func held(t *target, o *origins, n int) ([]float64, error) {
	memory, descriptors, err := t.idle(o, n)
	if err != nil {
		return nil, fmt.Errorf("holding %d tunnels: %w", n, err)
	}
	return []float64{memory / 1024, descriptors}, nil
}
