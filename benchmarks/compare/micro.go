package main

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// micro are the micro-benchmarks that stand in the report; they live beside
// the code that they measure.
var micro = []struct{ pkg, pattern string }{
	{"./internal/policy", "Decide$|Compile"},
	{"./internal/identity", "."},
	{"./internal/hello", "Parse|Read$"},
	{"./internal/audit", "."},
	{"./internal/resolve", "Hit$"},
}

// runMicro runs them and returns their lines as a table.
func runMicro() string {
	var b strings.Builder
	b.WriteString("\n## Micro-benchmarks\n\nOne run each, on the same machine after the loads; `go test -bench` lines. The matcher stands beside one\n`map[string]struct{}` lookup of the same keys.\n\n| benchmark | ns/op | other |\n|---|---|---|\n")
	for _, m := range micro {
		ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
		out, err := exec.CommandContext(ctx, "go", "test", "-run=^$", "-bench="+m.pattern, "-benchmem", "-benchtime=200ms", m.pkg).CombinedOutput()
		cancel()
		if err != nil {
			fmt.Fprintf(&b, "| %s | – | failed: %v |\n", m.pkg, err)
			continue
		}
		for line := range strings.Lines(string(out)) {
			if f := strings.Fields(line); len(f) > 3 && strings.HasPrefix(f[0], "Benchmark") && f[3] == "ns/op" {
				fmt.Fprintf(&b, "| %s %s | %s | %s |\n", strings.TrimPrefix(m.pkg, "./"), strings.TrimPrefix(f[0], "Benchmark"), f[2], strings.Join(f[4:], " "))
			}
		}
	}
	return b.String()
}
