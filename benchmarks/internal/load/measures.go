package load

import (
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/benchmarks/internal/stats"
)

// Measure is one thing that is measured.
type Measure struct {
	Name       string
	Unit       string
	Parts      []string // names of the figures; nil: one without a name
	Remark     string   // what the figure is of, and what it leaves out
	MaxRatio   float64  // at most this ratio to Squid is the goal; 0: none
	Peer       string   // another peer, to which that ratio is instead; "": to Squid
	Against    string   // another measure of ours, to which that ratio is instead; "": to a peer
	EveryRound bool     // else in the first alone
	PeersAlone bool     // two builds of ours are not compared by it: older ones are not set up for it
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

// costs samples so many of these: the CPU of each item counted, and the middle and the 99th of
// a hundred of the latencies. n is the usual count.
func costs(figures int, n float64, load func(*Target, *Origins, int) (outcome, error)) func(*Target, *Origins, float64) ([]float64, error) {
	return func(t *Target, o *Origins, scale float64) ([]float64, error) {
		out, err := load(t, o, int(n*scale))
		return []float64{each(out), Milliseconds(stats.Percentile(out.latencies, .5)), Milliseconds(stats.Percentile(out.latencies, .99))}[:figures], err
	}
}

// Measures are all that is measured of proxies, in the order of the report.
var Measures = []Measure{
	{
		Name: "allowed CONNECT", Unit: "µs CPU", MaxRatio: 0.75, EveryRound: true, Can: anyone, Parts: []string{"", "p50 ms", "p99 ms"},
		Remark: "dial, CONNECT with a ClientHello up and 64 bytes down, close; 16 at once. HAProxy relays without a CONNECT.",
		Sample: costs(3, 4000, (*Target).allowed),
	},
	{
		Name: "allowed CONNECT, attested", Unit: "µs CPU", MaxRatio: 1.05, Against: "allowed CONNECT", EveryRound: true, PeersAlone: true, Can: attests, Parts: []string{"", "p50 ms", "p99 ms"},
		Remark: "the same by a token of AWS that was verified before.",
		Sample: costs(3, 4000, (*Target).remembered),
	},
	{
		Name: "attested callers", Unit: "p99 ms", EveryRound: true, PeersAlone: true, Can: attests,
		Remark: "an allowed CONNECT, 4 at once with 2 ms between; one in ten shows a new token.",
		Sample: func(t *Target, o *Origins, scale float64) ([]float64, error) {
			return t.honest(o, int(2000*scale), false)
		},
	},
	{
		Name: "attested callers beside forged tokens", Unit: "p99 ms", MaxRatio: 1.5, Against: "attested callers", EveryRound: true, PeersAlone: true, Can: attests,
		Remark: "the same, while others at the same address show forged tokens, 2 at once with 1 ms between. They take the processor too.",
		Sample: func(t *Target, o *Origins, scale float64) ([]float64, error) {
			return t.honest(o, int(2000*scale), true)
		},
	},
	{
		Name: "handshake with the proxy, CONNECT", Unit: "µs CPU", MaxRatio: 1.3, Peer: "HAProxy (TCP)", EveryRound: true, PeersAlone: true, Can: secures, Parts: []string{"", "p50 ms"},
		Remark: "an allowed CONNECT by TLS 1.3 to the proxy itself: a whole handshake by X25519 with a certificate on P-256 for each; 16 at once. HAProxy ends TLS and relays, without a CONNECT.",
		Sample: costs(2, 2000, (*Target).secured),
	},
	{
		Name: "refused CONNECT", Unit: "µs CPU", MaxRatio: 0.8, EveryRound: true, Can: refuses,
		Remark: "one refusal a connection, recorded; the peers log it.",
		Sample: costs(1, 5000, (*Target).refusals),
	},
	{
		Name: "plain GET", Unit: "µs CPU", MaxRatio: 0.6, EveryRound: true, Can: keepsPlain, Parts: []string{"", "p50 ms", "p99 ms"},
		Remark: "64 bytes a response, 16 kept connections; no cache.",
		Sample: costs(3, 8000, (*Target).gets),
	},
	{
		Name: "plain GET, 1,000 a second", Unit: "µs CPU", EveryRound: true, Can: keepsPlain, Parts: []string{"", "p50 ms", "p99 ms"},
		Remark: "the same at one pace for all; each latency counts from when its request was due.",
		Sample: costs(3, 2000, (*Target).pacedGets),
	},
	{
		Name: "refused GET", Unit: "µs CPU", MaxRatio: 0.5, EveryRound: true, Can: refusesPlain,
		Remark: "16 kept connections; each refusal recorded; the peers log it.",
		Sample: costs(1, 5000, (*Target).refusedGets),
	},
	{
		Name: "TLS handshake and request", Unit: "µs CPU", EveryRound: true, Can: tunnels, Parts: []string{"", "p50 ms"},
		Remark: "TLS 1.3 between client and origin through the tunnel; the origin's CPU is not counted.",
		Sample: costs(2, 1000, (*Target).handshakes),
	},
	{
		Name: "64-byte round trip, 64 tunnels", Unit: "µs CPU", MaxRatio: 1.1, EveryRound: true, Can: tunnels,
		Remark: "tunnels that are open already.",
		Sample: costs(1, 40000, (*Target).roundTrips),
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
