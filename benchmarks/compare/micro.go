package main

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/benchmarks/internal/stats"
)

// micro are the micro-benchmarks that stand in the report; they live beside
// the code that they measure.
var micro = []struct{ pkg, pattern string }{
	{"./internal/policy", "Decide$|Compile"},
	{"./internal/identity", "."},
	{"./internal/hello", "Parse|Read$"},
	{"./internal/audit", "."},
	{"./internal/audit/record", "."},
	{"./internal/resolve", "Hit$"},
	{"./dnsfilter", "."},
}

// microRuns is how often each runs: one run beside a busy neighbour says little.
const microRuns = 3

// microResult is the median of the runs of one benchmark.
type microResult struct {
	name  string // package and benchmark
	ns    float64
	other string // of the last run
}

// runMicro runs them and returns their results as tables.
func runMicro() string {
	var b strings.Builder
	var all []microResult
	for _, m := range micro {
		ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
		out, err := exec.CommandContext(ctx, "go", "test", "-run=^$", "-bench="+m.pattern, "-benchmem", "-benchtime=100ms",
			fmt.Sprintf("-count=%d", microRuns), m.pkg).CombinedOutput()
		cancel()
		if err != nil {
			fmt.Fprintf(&b, "| %s | – | failed: %v |\n", m.pkg, err)
		}
		all = append(all, microResults(strings.TrimPrefix(m.pkg, "./"), string(out))...)
	}
	for _, r := range all {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", r.name, figure(r.ns), r.other)
	}
	return fmt.Sprintf("\n## Micro-benchmarks\n\n`go test -bench`, the median of %d runs, on the same machine after the loads.\n\n", microRuns) +
		matcherTable(all) + "\n| benchmark | ns/op | other |\n|---|---|---|\n" + b.String()
}

// microResults reads what `go test -bench` prints of a package.
func microResults(pkg, out string) (all []microResult) {
	runs := map[string][]float64{}
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) <= 3 || !strings.HasPrefix(f[0], "Benchmark") || f[3] != "ns/op" {
			continue
		}
		ns, err := strconv.ParseFloat(f[2], 64)
		if err != nil {
			continue
		}
		name := pkg + " " + strings.TrimPrefix(f[0], "Benchmark")
		if runs[name] == nil {
			all = append(all, microResult{name: name, other: strings.Join(f[4:], " ")})
		}
		runs[name] = append(runs[name], ns)
	}
	for i := range all {
		all[i].ns = stats.SpreadOf(runs[all[i].name]).Median
	}
	return all
}

// matcherTable puts each decision beside one lookup of the same keys in a Go
// map, which is what the goal is beside.
func matcherTable(all []microResult) string {
	const maxRatio = 2
	var b strings.Builder
	b.WriteString("The matcher beside one `map[string]struct{}` lookup of the same keys:\n\n| decision | ns | map, ns | ratio | goal |\n|---|---|---|---|---|\n")
	for _, r := range all {
		what, _, ok := strings.Cut(strings.TrimPrefix(r.name, "internal/policy Decide/"), "/of=decide")
		i := slices.IndexFunc(all, func(o microResult) bool { return strings.HasPrefix(o.name, "internal/policy Decide/"+what+"/of=map") })
		if !ok || i < 0 {
			continue
		}
		verdict := ""
		if ratio := r.ns / all[i].ns; strings.Contains(what, "rules=1000000/") && ratio <= maxRatio {
			verdict = fmt.Sprintf("≤ %d: met", maxRatio)
		} else if strings.Contains(what, "rules=1000000/") {
			verdict = fmt.Sprintf("≤ %d: missed", maxRatio)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %.2f | %s |\n", what, figure(r.ns), figure(all[i].ns), r.ns/all[i].ns, verdict)
	}
	return b.String()
}
