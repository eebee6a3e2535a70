package doc

import (
	"fmt"
	"testing"
)

func TestWhatHasNoColourIsDrawnAsTheOthers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		series, legend int
		last           string // title of the highest rectangle
	}{
		{1, 1, "day 0: 1"}, {7, 7, "day 6: 7"}, {8, 7, "day others: 15"}, {12, 7, "day others: 57"},
	} {
		var names []string
		stack := Stack{Name: "day"}
		total := 0
		for i := range tt.series {
			names, stack.Values = append(names, fmt.Sprint(i)), append(stack.Values, uint64(i+1))
			total += i + 1
		}
		c := Stacked("By day", "others", names, []Stack{stack})
		if len(c.Legend) != tt.legend || len(c.Bars) != tt.legend || c.Bars[len(c.Bars)-1].Title != tt.last || c.Labels[0].Text != fmt.Sprint(total) {
			t.Errorf("of %d series there are %d in the legend and the bars %v below %s", tt.series, len(c.Legend), c.Bars, c.Labels[0].Text)
		}
		colours := map[string]bool{}
		for i, bar := range c.Bars {
			colours[bar.Class] = true
			if below := plotHeight + 20; i == 0 && bar.Y+bar.H != below || i > 0 && bar.Y+bar.H != c.Bars[i-1].Y {
				t.Errorf("bar %d of %d does not stand on the one below: %v", i, tt.series, c.Bars)
			}
		}
		if len(colours) != len(c.Bars) {
			t.Errorf("%d bars have %d colours", len(c.Bars), len(colours))
		}
	}
}

func TestRanksAreAsLongAsTheirNumbers(t *testing.T) {
	t.Parallel()
	c := Ranked("Most", []Rank{{"a", 100}, {"b", 50}, {"a name that is longer than there is room for on the left side", 1}})
	if c.Bars[0].W != 2*c.Bars[1].W || c.Bars[2].W < 1 || c.Bars[2].Y <= c.Bars[1].Y {
		t.Errorf("bars %v", c.Bars)
	}
	if short := []rune(c.Labels[4].Text); len(short) != maxLabelText || short[len(short)-1] != '…' {
		t.Errorf("the label is %q", string(short))
	}
}
