package load

import "time"

// Measure is one thing that is measured.
type Measure struct {
	Name       string
	Unit       string
	Parts      []string // names of the figures; nil: one without a name
	Remark     string   // what the figure is of, and what it leaves out
	MaxRatio   float64  // at most this ratio to Squid is the goal; 0: none
	Against    string   // another measure of ours, to which that ratio is instead; "": to Squid
	EveryRound bool     // else in the first alone
	Can        func(*Target) bool
	// Sample drives the target and returns one figure, or those of the parts.
	// Scale is how large the load is, beside the usual.
	Sample func(t *Target, o *Origins, scale float64) ([]float64, error)
}

// Figures returns the names of the figures, each with its unit.
func (m Measure) Figures() []string {
	if m.Parts == nil {
		return []string{m.Name + ", " + m.Unit}
	}
	all := make([]string, len(m.Parts))
	for i, part := range m.Parts {
		if part == "" {
			part = m.Unit
		}
		all[i] = m.Name + ", " + part
	}
	return all
}

// tunnels reports whether the target speaks CONNECT; a blind relay does not.
func tunnels(t *Target) bool { return !t.Raw }

// keepsPlain reports whether the target forwards plain HTTP and keeps the
// client's connection.
func keepsPlain(t *Target) bool { return tunnels(t) && !t.Closes }

// refuses reports whether the target has a list.
func refuses(t *Target) bool { return t.Refused != "" }

// holdsMany reports whether the target can hold thousands of tunnels with the
// settings it has.
func holdsMany(t *Target) bool { return tunnels(t) && !t.Threads }

// refusesPlain reports whether the target has a list and forwards plain HTTP.
func refusesPlain(t *Target) bool { return refuses(t) && keepsPlain(t) }

// anyone is every target.
func anyone(*Target) bool { return true }

// each returns microseconds of CPU for each item counted.
func each(o outcome) float64 {
	return float64(o.cpu.Nanoseconds()) / 1000 / float64(o.count)
}

// Measures are all that is measured of proxies, in the order of the report.
var Measures = []Measure{
	{
		Name: "allowed CONNECT", Unit: "µs CPU", MaxRatio: 0.75, EveryRound: true, Can: anyone, Parts: []string{"", "p50 ms", "p99 ms"},
		Remark: "dial, CONNECT with a ClientHello up and 64 bytes down, close; 16 at once. HAProxy relays without a CONNECT.",
		Sample: func(t *Target, o *Origins, scale float64) ([]float64, error) {
			out, err := t.allowed(o, int(4000*scale))
			return []float64{each(out), Milliseconds(Percentile(out.latencies, .5)), Milliseconds(Percentile(out.latencies, .99))}, err
		},
	},
	{
		Name: "refused CONNECT", Unit: "µs CPU", MaxRatio: 0.8, EveryRound: true, Can: refuses,
		Remark: "one refusal a connection, recorded; the peers log it.",
		Sample: func(t *Target, o *Origins, scale float64) ([]float64, error) {
			out, err := t.refusals(o, int(5000*scale))
			return []float64{each(out)}, err
		},
	},
	{
		Name: "plain GET", Unit: "µs CPU", MaxRatio: 0.6, EveryRound: true, Can: keepsPlain, Parts: []string{"", "p50 ms", "p99 ms"},
		Remark: "64 bytes a response, 16 kept connections; no cache.",
		Sample: func(t *Target, o *Origins, scale float64) ([]float64, error) {
			out, err := t.gets(o, int(8000*scale))
			return []float64{each(out), Milliseconds(Percentile(out.latencies, .5)), Milliseconds(Percentile(out.latencies, .99))}, err
		},
	},
	{
		Name: "refused GET", Unit: "µs CPU", MaxRatio: 0.5, EveryRound: true, Can: refusesPlain,
		Remark: "16 kept connections; each refusal recorded; the peers log it.",
		Sample: func(t *Target, o *Origins, scale float64) ([]float64, error) {
			out, err := t.refusedGets(o, int(5000*scale))
			return []float64{each(out)}, err
		},
	},
	{
		Name: "TLS handshake and request", Unit: "µs CPU", EveryRound: true, Can: tunnels, Parts: []string{"", "p50 ms"},
		Remark: "TLS 1.3 between client and origin through the tunnel; the origin's CPU is not counted.",
		Sample: func(t *Target, o *Origins, scale float64) ([]float64, error) {
			out, err := t.handshakes(o, int(1000*scale))
			return []float64{each(out), Milliseconds(Percentile(out.latencies, .5))}, err
		},
	},
	{
		Name: "64-byte round trip, 64 tunnels", Unit: "µs CPU", MaxRatio: 1.1, EveryRound: true, Can: tunnels,
		Remark: "tunnels that are open already.",
		Sample: func(t *Target, o *Origins, scale float64) ([]float64, error) {
			out, err := t.roundTrips(o, int(40000*scale))
			return []float64{each(out)}, err
		},
	},
	{
		Name: "bulk down", Unit: "s CPU/GB", MaxRatio: 0.5, EveryRound: true, Can: tunnels,
		Remark: "one tunnel, 1 GB.",
		Sample: func(t *Target, o *Origins, scale float64) ([]float64, error) { return gigabyte(t, o, scale, false) },
	},
	{
		Name: "bulk up", Unit: "s CPU/GB", MaxRatio: 0.5, EveryRound: true, Can: tunnels,
		Remark: "one tunnel, 1 GB.",
		Sample: func(t *Target, o *Origins, scale float64) ([]float64, error) { return gigabyte(t, o, scale, true) },
	},
	{
		Name: "plain GET of a gigabyte", Unit: "s CPU/GB", MaxRatio: 1.1, Against: "bulk down", EveryRound: true, Can: keepsPlain,
		Remark: "one response of 1 GB.",
		Sample: func(t *Target, o *Origins, scale float64) ([]float64, error) { return content(t, o, scale, false) },
	},
	{
		Name: "plain PUT of a gigabyte", Unit: "s CPU/GB", MaxRatio: 1.1, Against: "bulk up", EveryRound: true, Can: keepsPlain,
		Remark: "one request with content of 1 GB.",
		Sample: func(t *Target, o *Origins, scale float64) ([]float64, error) { return content(t, o, scale, true) },
	},
	{
		Name: "2,500 idle tunnels", Unit: "KB RSS", Can: holdsMany, Parts: []string{"", "descriptors"},
		Remark: "what a tunnel adds three seconds after it was opened.",
		Sample: func(t *Target, o *Origins, _ float64) ([]float64, error) { return adds(t, o, 2500) },
	},
	{
		Name: "9,000 idle tunnels", Unit: "KB RSS", Can: holdsMany, Parts: []string{"", "descriptors"},
		Remark: "as above; 20,000 descriptors are what a process may have here.",
		Sample: func(t *Target, o *Origins, _ float64) ([]float64, error) { return adds(t, o, 9000) },
	},
}

// Milliseconds turns a latency into the unit of the reports.
func Milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// gigabyte moves 1 GB, or that part of it, and returns the CPU of a whole one.
func gigabyte(t *Target, o *Origins, scale float64, up bool) ([]float64, error) {
	n := int64(1e9 * scale)
	out, err := t.bulk(o, n, up)
	return []float64{perGigabyte(out)}, err
}

// content moves 1 GB, or that part of it, as the content of one plain request or response,
// and returns the CPU of a whole one.
func content(t *Target, o *Origins, scale float64, up bool) ([]float64, error) {
	out, err := t.content(o, int64(1e9*scale), up)
	return []float64{perGigabyte(out)}, err
}

// perGigabyte returns the seconds of CPU for each gigabyte of those counted.
func perGigabyte(o outcome) float64 { return o.cpu.Seconds() / (float64(o.count) / 1e9) }

// adds returns what each of n idle tunnels adds to what the target held before.
func adds(t *Target, o *Origins, n int) ([]float64, error) {
	before, with, err := t.idle(o, n)
	return []float64{(with.bytes - before.bytes) / float64(n) / 1024, (with.descriptors - before.descriptors) / float64(n)}, err
}

// WholeIdle is n idle tunnels as two builds of one program are compared by them:
// what a tunnel adds may be nothing, of which there is no ratio, but what the
// whole program holds is something.
func WholeIdle(n int, name string) Measure {
	return Measure{
		Name: name, Unit: "MB RSS in all", Parts: []string{"", "descriptors in all"}, Can: holdsMany,
		Remark: "all that a program holds that was just started, three seconds after the tunnels were opened.",
		Sample: func(t *Target, o *Origins, _ float64) ([]float64, error) {
			_, with, err := t.idle(o, n)
			return []float64{with.bytes / (1 << 20), with.descriptors}, err
		},
	}
}
