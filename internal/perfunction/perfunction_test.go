package perfunction

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// shown returns the series of a scrape, each "a,b number".
func shown(t *testing.T, v *Vec) (all []string) {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	Register(reg, v)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			all = append(all, fmt.Sprintf("%s %g", strings.Join(labels, ","), m.GetCounter().GetValue()+m.GetGauge().GetValue()))
		}
	}
	slices.Sort(all)
	return all
}

// desc is of a metric whose other label sorts behind that of the function.
func desc() *prometheus.Desc {
	return prometheus.NewDesc("egress_test_total", "A test.", []string{"function", "way"}, nil)
}

func TestFunctionsOfThePolicyAloneHaveSeriesAndHaveThemAtZero(t *testing.T) {
	policy := []string{"a", "b"}
	v := New(desc(), prometheus.CounterValue, func() []string { return policy }, []string{"up"}, []string{"down"})
	for _, step := range []struct {
		do   func()
		want []string
	}{
		{func() {}, []string{"a,down 0", "a,up 0", "b,down 0", "b,up 0"}},
		{func() { v.With("a", "up").Add(3); v.With("a", "aside").Inc(); v.With("", "up").Inc() }, []string{",up 1", "a,aside 1", "a,down 0", "a,up 3", "b,down 0", "b,up 0"}},
		{func() { policy = []string{"b", "c"} }, []string{",up 1", "b,down 0", "b,up 0", "c,down 0", "c,up 0"}},
		{func() { v.With("a", "up").Inc() }, []string{",up 1", "b,down 0", "b,up 0", "c,down 0", "c,up 0"}},
		{func() { policy = []string{"a"} }, []string{",up 1", "a,aside 1", "a,down 0", "a,up 4"}},
		{func() { policy = nil }, []string{",up 1"}},
	} {
		step.do()
		if got := shown(t, v); !slices.Equal(got, step.want) {
			t.Errorf("%q, want %q", got, step.want)
		}
	}
}

// A tunnel of a function that is gone is open until it has ended.
func TestGaugeOfAFunctionThatIsGoneShowsUntilItIsZero(t *testing.T) {
	v := New(prometheus.NewDesc("egress_test", "A test.", []string{"function"}, nil), prometheus.GaugeValue, func() []string { return []string{"a"} }, nil)
	v.With("gone").Add(2)
	if got, want := shown(t, v), []string{"a 0", "gone 2"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	v.With("gone").Add(-2)
	if got, want := shown(t, v), []string{"a 0"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestEveryoneWhoCountsAtTheSameTimeIsCounted(t *testing.T) {
	v := New(desc(), prometheus.CounterValue, func() []string { return []string{"f0"} })
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := range 1000 {
				v.With("f0", fmt.Sprint(n%10)).Inc()
				if n%100 == 0 {
					shown(t, v)
				}
			}
			v.With(fmt.Sprint("f", i), "late").Inc()
		})
	}
	all.Wait()
	for n := range 10 {
		if got := v.With("f0", fmt.Sprint(n)).n.Load(); got != 800 {
			t.Errorf("%d: %d", n, got)
		}
	}
}

// What nothing is counted of costs a scrape, and no memory between two.
func BenchmarkScrapeOfTenThousandFunctions(b *testing.B) {
	names := make([]string, 10_000)
	for i := range names {
		names[i] = fmt.Sprintf("function-with-a-name-%05d", i)
	}
	var causes [][]string
	for c := range 7 {
		causes = append(causes, []string{fmt.Sprint("cause-", c)})
	}
	reg := prometheus.NewRegistry()
	Register(reg, New(desc(), prometheus.CounterValue, func() []string { return names }, causes...))
	for b.Loop() {
		if _, err := reg.Gather(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
}
