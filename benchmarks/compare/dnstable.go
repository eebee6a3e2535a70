package main

import (
	"fmt"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/benchmarks/internal/load"
)

// dnsTable returns the part of the page on lookups; "": nothing was measured.
// The goal is beside the Unbound that logs nothing, though our refusals are
// recorded before they are answered; the one that logs to a file does like work.
func (r *report) dnsTable() string {
	if len(r.resolvers) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("\n## Lookups\n\ndnsperf over UDP, the same 1,000 names allowed in each server, µs CPU of the server's process for a question. Ours records every\nrefusal, chained by SHA-256, before it is answered. Unbound logs nothing; the one that logs writes questions and answers to a file.\n\n")
	b.WriteString("| measure |")
	for _, t := range r.resolvers {
		fmt.Fprintf(&b, " %s |", t.Name)
	}
	b.WriteString(" goal beside Unbound |\n|---|" + strings.Repeat("---|", len(r.resolvers)+1) + "\n")
	for _, m := range load.LookupMeasures {
		r.dnsRow(&b, m)
	}
	b.WriteString("\n")
	for _, t := range r.resolvers {
		fmt.Fprintf(&b, "- %s: %s\n", t.Name, t.Version)
	}
	b.WriteString("- DNS, allowed and cached: the names are in every cache before the first round; no EDNS.\n- DNS, refused: refused by name; nothing goes upstream.\n")
	return b.String()
}

// dnsRow writes the row of one measure.
func (r *report) dnsRow(b *strings.Builder, m load.LookupMeasure) {
	ours, has := r.median(m.Name, r.resolvers[0].Name, 0)
	if !has {
		return
	}
	fmt.Fprintf(b, "| %s, µs CPU |", m.Name)
	for i, t := range r.resolvers {
		v, ok := r.median(m.Name, t.Name, 0)
		switch {
		case !ok:
			b.WriteString(" – |")
		case i == 0:
			fmt.Fprintf(b, " %s |", figure(v))
		default:
			fmt.Fprintf(b, " %s (%.2f) |", figure(v), ours/v)
		}
	}
	unbound, ok := r.median(m.Name, "Unbound", 0)
	if !ok {
		b.WriteString(" |\n")
		return
	}
	word := "missed"
	if ours/unbound <= m.MaxRatio {
		word = "met"
	}
	fmt.Fprintf(b, " ≤ %.2f: %s |\n", m.MaxRatio, word)
}
