package main

import (
	"fmt"
	"os"
	"strings"
)

// explanation stands before the table.
const explanation = `# Requests lost to a freeze

Written by ` + "`go run ./benchmarks/freeze`" + `, which [benchmarks](../README.md#requests-lost-to-a-freeze) explains. %d pooled connections, of which each carries a request before the freeze and one behind it; each figure is of two freezes,
in which the client thaws before the extension and behind it, as percent of their %d requests, which are made %v behind the thaw. The origin closes idle connections after %v, the proxy idle tunnels after %v. The clients try nothing twice that they do not try twice by themselves; the two of AWS have their second attempts switched off.

| client | frozen | without a proxy, %% | by the proxy, %% | by the extension, %% | of these client first, extension first | the extension's goal |
|---|---|---|---|---|---|---|
`

// row is what the cells of one client and one freeze have lost.
type row struct {
	lost   [ways]int
	orders [2]int // by the extension: client first, extension first
	failed error
}

// allowance is how many points more than without a proxy may be lost by the extension.
const allowance = 1.0

// write writes the table where the options say.
func (o options) write(cells []*cell) error {
	var keys []string
	rows := map[string]*row{}
	for _, c := range cells {
		key := fmt.Sprintf("%s | %v", c.client.name, c.frozen)
		if rows[key] == nil {
			keys, rows[key] = append(keys, key), &row{}
		}
		rows[key].add(c)
	}
	var b strings.Builder
	fmt.Fprintf(&b, explanation, o.connections, 2*o.connections, o.event, originIdle, proxyIdle)
	for _, key := range keys {
		b.WriteString("| " + key + rows[key].text(2*o.connections) + " |\n")
	}
	if o.out == "-" {
		_, err := os.Stdout.WriteString(b.String())
		return err
	}
	if err := os.WriteFile(o.out, []byte(b.String()), 0o644); err != nil {
		return fmt.Errorf("writing the table: %w", err)
	}
	return nil
}

// add adds a cell.
func (r *row) add(c *cell) {
	r.lost[c.way] += c.lost
	if c.err != nil {
		r.failed = c.err
	}
	if c.way == extended && c.clientFirst {
		r.orders[0] += c.lost
	} else if c.way == extended {
		r.orders[1] += c.lost
	}
}

// text returns the columns behind the first two, of so many requests.
func (r *row) text(requests int) string {
	if r.failed != nil {
		return " | failed: " + r.failed.Error() + " | | | | "
	}
	var b strings.Builder
	var percent [ways]float64
	for way, lost := range r.lost {
		percent[way] = 100 * float64(lost) / float64(requests)
		fmt.Fprintf(&b, " | %.1f", percent[way])
	}
	fmt.Fprintf(&b, " | %d, %d", r.orders[0], r.orders[1])
	if percent[extended] <= percent[direct] && percent[extended] <= percent[without]+allowance {
		b.WriteString(" | met")
	} else {
		b.WriteString(" | missed")
	}
	return b.String()
}
