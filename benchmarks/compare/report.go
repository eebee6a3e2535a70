package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/benchmarks/internal/load"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/benchmarks/internal/peers"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/benchmarks/internal/stats"
)

// report gathers what was measured.
type report struct {
	options options
	machine string
	commit  string // that is measured; asked before the results are written over
	targets []*load.Target
	// resolvers are what answers lookups, ours first; none: they are not measured.
	resolvers   []*load.Resolver
	missing     []string
	took        time.Duration
	samples     []sample
	reload      peers.Reload
	reloadError string // why there is none
	micro       string // table of the micro-benchmarks; "": not run
}

// sample is what one round measured of one target.
type sample struct {
	Round   int       `json:"round"`
	Measure string    `json:"measure"`
	Target  string    `json:"target"`
	Values  []float64 `json:"values"`
	Error   string    `json:"error,omitempty"`
}

// add keeps a sample. An error is kept with it: a peer that breaks under a load
// is a result.
func (r *report) add(s sample, err error) {
	if err != nil {
		s.Values, s.Error = nil, err.Error()
	}
	r.samples = append(r.samples, s)
	fmt.Printf("round %d  %-32s %-16s %v %s\n", s.Round+1, s.Measure, s.Target, rounded(s.Values), s.Error)
}

// median returns the median of one figure over the rounds; false where there
// is none.
func (r *report) median(measure, target string, part int) (float64, bool) {
	var v []float64
	for _, s := range r.samples {
		if s.Measure == measure && s.Target == target && part < len(s.Values) {
			v = append(v, s.Values[part])
		}
	}
	if len(v) == 0 {
		return 0, false
	}
	return stats.SpreadOf(v).Median, true
}

// rounded prints the figures of a sample.
func rounded(v []float64) []string {
	var s []string
	for _, f := range v {
		s = append(s, figure(f))
	}
	return s
}

// figure prints three digits or so.
func figure(f float64) string {
	switch {
	case f >= 100:
		return fmt.Sprintf("%.0f", f)
	case f >= 10:
		return fmt.Sprintf("%.1f", f)
	default:
		return fmt.Sprintf("%.2f", f)
	}
}

// machine describes where this runs.
func machine() string {
	cpu := "unknown CPU"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if name, model, ok := strings.Cut(line, ":"); ok && strings.HasPrefix(name, "model name") {
				cpu = strings.TrimSpace(model)
				break
			}
		}
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return fmt.Sprintf("%s, %d cores, Linux %s, %s", cpu, runtime.NumCPU(), strings.TrimSpace(string(kernel)), runtime.Version())
}

// commit returns the commit that was measured.
func commit() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value[:min(12, len(s.Value))]
			}
		}
	}
	if out, err := outputOf("git", "describe", "--always", "--dirty", "--abbrev=12"); err == nil {
		return out
	}
	return "unknown"
}

// write writes raw results, table and chart.
func (r *report) write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	raw, err := json.MarshalIndent(map[string]any{
		"machine": r.machine, "commit": r.commit, "rounds": r.options.rounds, "seconds": int(r.took.Seconds()),
		"versions": r.versions(), "missing": r.missing, "samples": r.samples, "reload": r.reload, "reload_error": r.reloadError,
	}, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "compare.json"), append(raw, '\n'), 0o644); err != nil {
		return err
	}
	table := r.markdown()
	fmt.Println(table)
	if err := os.WriteFile(filepath.Join(dir, "compare.md"), []byte(table), 0o644); err != nil {
		return err
	}
	return r.chart(filepath.Join(dir, "compare.svg"))
}

// versions returns what was compared.
func (r *report) versions() map[string]string {
	v := map[string]string{}
	for _, t := range r.targets {
		v[t.Name] = t.Version
	}
	for _, t := range r.resolvers {
		v[t.Name] = t.Version
	}
	return v
}

// writeFile writes a file of the results.
func writeFile(path, text string) error { return os.WriteFile(path, []byte(text), 0o644) }
