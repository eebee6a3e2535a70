package against

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/benchmarks/internal/load"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/benchmarks/internal/stats"
)

// sideNames are how the builds are called, in the order of every array of two.
var sideNames = [2]string{"old", "new"}

// order returns which build is first when something is done for the n-th time.
func order(n int) [2]int {
	if n%2 == 0 {
		return [2]int{0, 1}
	}
	return [2]int{1, 0}
}

// kind is one measurement.
type kind struct {
	name    string
	figures []string
	apart   bool // it starts a program of its own, with no other beside it
	sample  func(*side) ([]float64, error)
}

// turns returns which build is measured when within a round: twice each, so that
// what changes steadily meanwhile falls on both alike, but once where each time
// takes long.
func (k kind) order(n int) []int {
	first := order(n)
	if k.apart {
		return first[:]
	}
	return []int{first[0], first[1], first[1], first[0]}
}

// kinds returns what is measured.
func (l *lab) kinds(o Options) (all []kind) {
	add := func(k kind) {
		if strings.Contains(k.name, o.Only) {
			all = append(all, k)
		}
	}
	scale := o.Scale
	if o.Quick {
		scale *= quickScale
	}
	for _, m := range load.Measures {
		if m.EveryRound && !m.PeersAlone {
			add(kind{name: m.Name, figures: m.Figures(), sample: func(s *side) ([]float64, error) {
				return m.Sample(s.target, l.servers.Origins, scale)
			}})
		}
	}
	for _, m := range load.LookupMeasures {
		if l.questions != nil {
			add(kind{name: m.Name, figures: []string{m.Name + ", " + load.LookupUnit}, sample: func(s *side) ([]float64, error) {
				return l.questions.Sample(m, s.filter, scale)
			}})
		}
	}
	add(l.idle(load.WholeIdle(2500, "2,500 idle tunnels")))
	if !o.Quick {
		add(l.idle(load.WholeIdle(9000, "9,000 idle tunnels")))
		add(kind{name: "reload of 1,000,000 rules", apart: true, sample: reload,
			figures: []string{"reload of 1,000,000 rules, s", "reload of 1,000,000 rules, p99 of a CONNECT meanwhile, ms"}})
	}
	return all
}

// idle measures tunnels of a program that was just started.
func (l *lab) idle(m load.Measure) kind {
	return kind{name: m.Name, figures: m.Figures(), apart: true, sample: func(s *side) ([]float64, error) {
		t, err := s.bench.StartOurs()
		if err != nil {
			return nil, err
		}
		defer t.Proc.Stop()
		return m.Sample(t, l.servers.Origins, 1)
	}}
}

// reload measures a reload under load.
func reload(s *side) ([]float64, error) {
	r, err := s.bench.Reload()
	return []float64{r.Seconds, r.During}, err
}

// samples are what was collected.
type samples struct {
	kinds  []kind
	rounds int
	pairs  map[string][]stats.Pair // by the name of the figure
	errors []string
}

// collect measures all kinds in rounds for as long as more agrees, or until the
// context is over, which is an error. A round in which one side fails gives no
// pair.
func collect(ctx context.Context, kinds []kind, open func(round int) ([2]*side, func(), func(), error), more func(done int) bool, progress io.Writer) (*samples, error) {
	all := &samples{kinds: kinds, pairs: map[string][]stats.Pair{}}
	for ; more(all.rounds); all.rounds++ {
		sides, end, clean, err := open(all.rounds)
		if err == nil {
			all.measure(ctx, sides, false, progress)
		}
		end()
		if err == nil {
			all.measure(ctx, sides, true, progress)
		}
		clean()
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// measure takes one pair of each kind that is apart, or of each that is not.
func (all *samples) measure(ctx context.Context, sides [2]*side, apart bool, progress io.Writer) {
	for i, k := range all.kinds {
		if k.apart != apart || ctx.Err() != nil {
			continue
		}
		pairs, failed := k.pairs(sides, all.rounds+i)
		if failed != nil {
			all.errors = append(all.errors, fmt.Sprintf("round %d, %s, %v", all.rounds+1, k.name, failed))
			fmt.Fprintln(progress, all.errors[len(all.errors)-1])
			continue
		}
		for f, name := range k.figures {
			all.pairs[name] = append(all.pairs[name], pairs[f])
			fmt.Fprintf(progress, "round %d  %-60s old %-8s new %s\n", all.rounds+1, name, digits(pairs[f].Old), digits(pairs[f].New))
		}
	}
}

// pairs measures both builds and returns a pair for each figure: the means of
// what was measured of each build. The error names the build.
func (k kind) pairs(sides [2]*side, n int) ([]stats.Pair, error) {
	pairs := make([]stats.Pair, len(k.figures))
	order := k.order(n)
	part := 2 / float64(len(order))
	for _, which := range order {
		figures, err := k.sample(sides[which])
		if err == nil && len(figures) != len(pairs) {
			err = fmt.Errorf("%d figures, not %d", len(figures), len(pairs))
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", sideNames[which], err)
		}
		for f, cost := range figures {
			if which == 0 {
				pairs[f].Old += part * cost
			} else {
				pairs[f].New += part * cost
			}
		}
	}
	return pairs, nil
}

// figures returns what the samples show.
func (all *samples) figures() (figures []Figure) {
	for _, k := range all.kinds {
		for _, name := range k.figures {
			f := Figure{Name: name, Pairs: all.pairs[name]}
			var err error
			if f.Ratio, err = stats.RatioOf(f.Pairs); err != nil {
				f.Error = err.Error()
			}
			figures = append(figures, f)
		}
	}
	return figures
}
