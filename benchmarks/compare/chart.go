package main

import (
	"fmt"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/benchmarks/internal/load"
)

// group is the bars of one measure, ours first.
type group struct {
	title string
	bars  []bar
}

// bar is what one target costs.
type bar struct {
	name string
	cost float64
}

// groups returns what the chart shows: for each measure of CPU what every
// target costs.
func (r *report) groups() (all []group) {
	add := func(measure, unit string, targets []string) {
		g := group{title: measure + ", " + unit}
		for _, t := range targets {
			if v, ok := r.median(measure, t, 0); ok {
				g.bars = append(g.bars, bar{t, v})
			}
		}
		if len(g.bars) > 0 {
			all = append(all, g)
		}
	}
	var proxies, resolvers []string
	for _, t := range r.targets {
		proxies = append(proxies, t.Name)
	}
	for _, t := range r.resolvers {
		resolvers = append(resolvers, t.Name)
	}
	for _, m := range load.Measures {
		add(m.Name, m.Unit, proxies)
	}
	for _, m := range load.LookupMeasures {
		add(m.Name, load.LookupUnit, resolvers)
	}
	return all
}

// chart draws the groups one below the other, each to its own scale.
func (r *report) chart(path string) error {
	const (
		width, label, thick, gap = 900, 300, 16, 18
		scale                    = 480.0
	)
	var b strings.Builder
	y := 60
	for _, g := range r.groups() {
		most := 0.0
		for _, one := range g.bars {
			most = max(most, one.cost)
		}
		fmt.Fprintf(&b, `<text x="16" y="%d" class="m">%s</text>`+"\n", y, g.title)
		y += 8
		for i, one := range g.bars {
			class, long := "peer", max(1, one.cost/most*scale)
			if i == 0 {
				class = "ours"
			}
			fmt.Fprintf(&b, `<text x="%d" y="%d" class="l">%s</text><rect x="%d" y="%d" width="%.0f" height="%d" class="%s"/><text x="%.0f" y="%d">%s</text>`+"\n",
				label-8, y+thick-4, one.name, label, y, long, thick-2, class, label+long+6, y+thick-4, figure(one.cost))
			y += thick
		}
		y += gap
	}
	svg := fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">
<style>text{fill:#222}.m{font-weight:bold}.l{text-anchor:end}.ours{fill:#0a7d4f}.peer{fill:#9aa5b1}rect.bg{fill:#fff}</style>
<rect class="bg" width="100%%" height="100%%"/>
<text x="16" y="28" font-size="16">Cost beside its peers: shorter is cheaper</text>
%s</svg>
`, width, y, b.String())
	return writeFile(path, svg)
}
