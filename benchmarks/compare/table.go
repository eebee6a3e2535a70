package main

import (
	"cmp"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/benchmarks/internal/load"
)

// outputOf runs a short command and returns what it prints.
func outputOf(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).Output()
	return strings.TrimSpace(string(out)), err
}

// markdown returns the report as a page.
func (r *report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Beside its peers\n\n%s. Commit %s. %d rounds, interleaved; medians. %d s in all.\n\n",
		r.machine, r.commit, r.options.rounds, int(r.took.Seconds()))
	for _, t := range r.targets {
		fmt.Fprintf(&b, "- %s: %s\n", t.Name, t.Version)
	}
	for _, name := range r.missing {
		fmt.Fprintf(&b, "- %s: missing on this machine\n", name)
	}
	b.WriteString("\nThe CPU is that of the proxy process alone. Our proxy runs with 1,000 functions, a token, a list of 1,001\nnames, cached DNS, the ClientHello check and records to a file; Squid with the same list and its access log; the\nothers as they come. In brackets the ratio of this proxy to the peer: below 1 is cheaper.\n\n")
	b.WriteString("| measure |")
	for _, t := range r.targets {
		fmt.Fprintf(&b, " %s |", t.Name)
	}
	b.WriteString(" goal beside Squid |\n|---|" + strings.Repeat("---|", len(r.targets)+1) + "\n")
	for _, m := range load.Measures {
		r.rows(&b, m)
	}
	if r.reload.Before > 0 {
		word := "missed"
		if r.reload.During <= 3*r.reload.Before {
			word = "met"
		}
		fmt.Fprintf(&b, "\nReload of 1,000,000 rules under load: %.1f s; p99 of a CONNECT %s ms before, %s ms during it (%d requests), ratio %.2f; goal ≤ 3: %s.\n",
			r.reload.Seconds, figure(r.reload.Before), figure(r.reload.During), r.reload.Requests, r.reload.During/r.reload.Before, word)
	}
	b.WriteString("\nWhat each figure is of, and what it leaves out:\n\n")
	for _, m := range load.Measures {
		fmt.Fprintf(&b, "- %s: %s\n", m.Name, m.Remark)
	}
	b.WriteString(r.dnsTable())
	b.WriteString(r.micro)
	return b.String()
}

// rows writes the rows of one measure.
func (r *report) rows(b *strings.Builder, m load.Measure) {
	for i, name := range m.Figures() {
		ours, has := r.median(m.Name, r.targets[0].Name, i)
		if !has {
			continue
		}
		fmt.Fprintf(b, "| %s |", name)
		for _, t := range r.targets {
			v, ok := r.median(m.Name, t.Name, i)
			switch {
			case !ok:
				b.WriteString(" – |")
			case t == r.targets[0]:
				fmt.Fprintf(b, " %s |", figure(v))
			default:
				fmt.Fprintf(b, " %s (%.2f) |", figure(v), ours/v)
			}
		}
		b.WriteString(r.verdict(m, ours, i))
	}
}

// verdict writes the last cell: the goal and whether it is met.
func (r *report) verdict(m load.Measure, ours float64, i int) string {
	other, ok := r.median(m.Name, cmp.Or(m.Peer, "Squid"), i)
	of := ""
	if m.Peer != "" {
		of = " of " + m.Peer
	}
	if m.Against != "" {
		other, ok = r.median(m.Against, r.targets[0].Name, i)
		of = " of " + m.Against
	}
	if m.MaxRatio == 0 || i > 0 || !ok {
		return " |\n"
	}
	word := "missed"
	if ours/other <= m.MaxRatio {
		word = "met"
	}
	return fmt.Sprintf(" ≤ %.2f%s: %s |\n", m.MaxRatio, of, word)
}
