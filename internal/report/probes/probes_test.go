package probes_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/probe"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/probe/result"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/report/probes"
)

// noon is when the first probe of the tests was made.
var noon = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

// found is a finding of a probe.
func found(way probe.Way, class probe.Class) probe.Finding {
	return probe.Finding{Try: probe.Try{Way: way, Target: "192.0.2.1:123"}, Class: class}
}

// report is a probe with one try of each class between two controls.
func report(at time.Time, classes ...probe.Class) *probe.Report {
	all := []probe.Finding{found(probe.Control, probe.Works)}
	for i, c := range classes {
		all = append(all, found(probe.Table[i].Way, c))
	}
	return probe.Conclude(at, append(all, found(probe.Control, probe.Works)), []probe.Way{probe.Endpoint}, nil)
}

// line is what the program writes of a probe, in one format.
func line(t *testing.T, r *probe.Report, f result.Format) string {
	t.Helper()
	var b bytes.Buffer
	if err := result.Write(&b, r, f, &result.About{Deployment: "blue"}); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// sums counts lines.
func sums(t *testing.T, o probes.Options, lines ...string) probes.Sums {
	t.Helper()
	c := probes.New(o)
	for i, l := range lines {
		if err := c.Add(evidence.Line{File: "probes.jsonl", Number: i + 1, Raw: []byte(l)}); err != nil {
			t.Fatal(err)
		}
	}
	return c.Sums()
}

// The log of a function has the results in three forms, and lines of Lambda's between them.
func TestResultsAreCountedOnceOfWhatAFunctionHasInItsLog(t *testing.T) {
	t.Parallel()
	var lines []string
	for i, r := range []*probe.Report{
		report(noon, probe.Held, probe.Held, probe.NotTried),
		report(noon.Add(time.Hour), probe.Held),
		report(noon.Add(2*time.Hour), probe.Open, probe.Held),
		report(noon.Add(5*time.Hour), probe.Captive, probe.Connected),
		probe.Conclude(noon.Add(6*time.Hour), []probe.Finding{found(probe.Control, probe.Failed)}, nil, nil),
		report(noon.Add(7*time.Hour), probe.Open, probe.Open),
	} {
		lines = append(lines, fmt.Sprintf("START RequestId: %d Version: $LATEST", i), line(t, r, result.JSON), line(t, r, result.OCSF), line(t, r, result.EMF),
			fmt.Sprintf("END RequestId: %d", i), fmt.Sprintf("REPORT RequestId: %d\tDuration: 1 ms", i))
	}
	s := sums(t, probes.Options{Now: noon.Add(24 * time.Hour)}, lines...)
	if s.Held != 2 || s.Hole != 2 || s.Unclear != 1 || s.Unknown != 1 || s.Probed() != 6 || s.Other != 30 || s.Faulty+s.Repeated+s.Outside != 0 {
		t.Errorf("%+v", s)
	}
	if !s.First.Equal(noon) || !s.Last.Equal(noon.Add(7*time.Hour)) || s.Gap != 3*time.Hour || !s.GapFrom.Equal(noon.Add(2*time.Hour)) {
		t.Errorf("from %v to %v, %v without one from %v", s.First, s.Last, s.Gap, s.GapFrom)
	}
	if len(s.NotHeld) != 4 || s.NotHeld[0].Verdict != probes.Hole || !strings.Contains(s.NotHeld[0].Detail, string(probe.Table[0].Way)) || s.NotHeld[0].Line != 14 {
		t.Errorf("%+v", s.NotHeld)
	}
	at := slices.IndexFunc(s.Ways, func(w probes.Way) bool { return w.Name == string(probe.Table[0].Way) })
	if w := s.Ways[at]; w.Held != 2 || w.Open != 2 || w.Unclear != 1 || !w.FirstOpen.Equal(noon.Add(2*time.Hour)) || !w.LastOpen.Equal(noon.Add(7*time.Hour)) {
		t.Errorf("%+v", w)
	}
	if at := slices.IndexFunc(s.Ways, func(w probes.Way) bool { return w.Name == string(probe.Endpoint) }); s.Ways[at].Untried != 5 {
		t.Errorf("%+v", s.Ways)
	}
}

// Whatever a probe has found, its verdict is made anew as the program made it.
func TestVerdictsAreThoseOfTheProgramThatWroteThem(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 1))
	classes := []probe.Class{probe.Open, probe.Held, probe.Captive, probe.Connected, probe.NotTried, probe.Works, probe.Failed}
	counted := map[probe.Verdict]uint64{}
	var lines []string
	for i := range 4_000 {
		var all []probe.Finding
		for range random.IntN(5) {
			way, class := probe.Table[random.IntN(len(probe.Table))].Way, classes[random.IntN(len(classes)*2-1)%len(classes)]
			if random.IntN(2) == 0 {
				way = probe.Control
			}
			all = append(all, found(way, class))
		}
		if random.IntN(3) > 0 {
			all = append(append([]probe.Finding{found(probe.Control, probe.Works)}, all...), found(probe.Control, probe.Works))
		}
		r := probe.Conclude(noon.Add(time.Duration(i)*time.Second), all, nil, []probe.Way{probe.NTP})
		if all == nil {
			continue // such a report has no tries at all, and no program makes one
		}
		counted[r.Verdict]++
		lines = append(lines, line(t, r, result.JSON))
	}
	s := sums(t, probes.Options{}, lines...)
	if s.Held != counted[probe.Sound] || s.Hole != counted[probe.Hole] || s.Unclear != counted[probe.Unclear] || s.Unknown != counted[probe.Unknown] || s.Faulty != 0 || len(counted) != 4 {
		t.Errorf("%+v, want %v", s, counted)
	}
}

// A result with a hole is made to look like one without, or to count twice, in many ways. None
// of them is counted as a fence that holds.
func TestDoctoredAndUnreadableLinesAreToldOfAndNeverHeld(t *testing.T) {
	t.Parallel()
	hole, held := line(t, report(noon, probe.Open, probe.Held), result.JSON), line(t, report(noon, probe.Held), result.JSON)
	change := func(s, old, new string) string {
		if !strings.Contains(s, old) {
			t.Fatalf("%s is not in %s", old, s)
		}
		return strings.ReplaceAll(s, old, new)
	}
	for name, lines := range map[string][]string{
		"another verdict":                  {change(hole, `"verdict":"hole"`, `"verdict":"holds"`)},
		"a verdict that is none":           {change(held, `"verdict":"holds"`, `"verdict":"HOLDS"`)},
		"no verdict":                       {change(held, `"verdict":"holds",`, ``)},
		"a verdict that is a number":       {change(held, `"verdict":"holds"`, `"verdict":1`)},
		"a class that is none":             {change(change(hole, `"verdict":"hole"`, `"verdict":"holds"`), `"class":"hole"`, `"class":"fine"`)},
		"a second verdict":                 {change(hole, `"verdict":"hole"`, `"verdict":"hole","verdict":"holds"`)},
		"a second list of tries":           {change(held, `"tries":[`, `"tries":[{"way":"ntp","class":"hole"}],"tries":[`)},
		"a verdict in capitals beside it":  {change(hole, `"verdict":"hole"`, `"verdict":"hole","Verdict":"holds"`), hole + "x"},
		"no tries":                         {`{"time":"2026-01-31T12:00:00Z","verdict":"holds","headline":"the fence holds"}`},
		"tries that are none":              {`{"time":"2026-01-31T12:00:00Z","verdict":"holds","headline":"","tries":null}`},
		"an empty list of tries":           {`{"time":"2026-01-31T12:00:00Z","verdict":"holds","headline":"","tries":[]}`},
		"no control":                       {change(held, `"way":"control"`, `"way":"ntp"`)},
		"a control that failed":            {change(held, `"class":"works"`, `"class":"failed"`)},
		"nothing but the control":          {change(held, `"class":"held"`, `"class":"not tried"`)},
		"no time":                          {change(held, `"time":"2026-01-31T12:00:00Z",`, ``)},
		"a time that has not come":         {line(t, report(noon.Add(48*time.Hour), probe.Held), result.JSON)},
		"a time beyond all times":          {change(held, `2026-01-31T12:00:00Z`, `9999-01-31T12:00:00Z`)},
		"half of a line":                   {held[:len(held)/2]},
		"more behind it":                   {held + held},
		"an array":                         {"[" + held + "]"},
		"words":                            {"the fence holds"},
		"another result of the same time":  {held, hole},
		"another result, the other first":  {hole, held},
		"three of the same time":           {held, hole, held + " ", held},
		"ways not tried that are no words": {change(held, `"not_tried":["endpoint"]`, `"not_tried":[1]`)},
	} {
		s := sums(t, probes.Options{Now: noon.Add(24 * time.Hour)}, lines...)
		if s.Held != 0 || s.Faulty == 0 || len(s.Faults) == 0 || s.Faults[0].Detail == "" || s.Faults[0].Line == 0 {
			t.Errorf("%s: %+v", name, s)
		}
	}
	if s := sums(t, probes.Options{}, held, held, held); s.Held != 1 || s.Repeated != 2 {
		t.Errorf("one result three times: %+v", s)
	}
	if s := sums(t, probes.Options{}, `{"verdict":"holds"}`, `{"time":"2026-01-31T12:00:00Z","event":"refused","verdict":"deny"}`, `{"FenceHolds":1}`); s.Probed() != 0 || s.Other != 3 {
		t.Errorf("lines of something else: %+v", s)
	}
}

// One changed byte makes no pass of a hole.
func TestNoByteOfAHoleMakesItHeld(t *testing.T) {
	t.Parallel()
	hole := line(t, report(noon, probe.Open, probe.Held), result.JSON)
	for i := range len(hole) {
		for _, by := range []byte{1, 2, 0x20, 0x80} {
			b := []byte(hole)
			b[i] ^= by
			if s := sums(t, probes.Options{}, string(b)); s.Held != 0 {
				t.Errorf("byte %d: %s", i, b)
			}
		}
	}
}

func TestThePeriodAndItsEndsAreHeldTo(t *testing.T) {
	t.Parallel()
	var lines []string
	for hour := range 10 {
		lines = append(lines, line(t, report(noon.Add(time.Duration(hour)*time.Hour), probe.Held), result.JSON))
	}
	at := func(hours int) time.Time { return noon.Add(time.Duration(hours) * time.Hour) }
	for name, row := range map[string]struct {
		o             probes.Options
		held, outside uint64
		gap           time.Duration
		from          time.Time
	}{
		"all":                          {probes.Options{Now: at(100)}, 10, 0, time.Hour, at(0)},
		"the end is not in it":         {probes.Options{From: at(2), To: at(5), Now: at(100)}, 3, 7, time.Hour, at(2)},
		"it began before the first":    {probes.Options{From: at(-6), To: at(5), Now: at(100)}, 5, 5, 6 * time.Hour, at(-6)},
		"it ended behind the last":     {probes.Options{From: at(0), To: at(24), Now: at(100)}, 10, 0, 15 * time.Hour, at(9)},
		"what has not come is no gap":  {probes.Options{From: at(0), To: at(99), Now: at(10)}, 10, 0, time.Hour, at(0)},
		"none is of it":                {probes.Options{From: at(50)}, 0, 10, 0, time.Time{}},
		"until now, where it is open":  {probes.Options{From: at(0), Now: at(12)}, 10, 0, 3 * time.Hour, at(9)},
		"the order of lines is theirs": {probes.Options{}, 10, 0, time.Hour, at(0)},
	} {
		if strings.HasPrefix(name, "the order") {
			slices.Reverse(lines)
		}
		s := sums(t, row.o, lines...)
		if s.Held != row.held || s.Outside != row.outside || s.Gap != row.gap || !s.GapFrom.Equal(row.from) || s.Faulty != 0 {
			t.Errorf("%s: %+v, want %+v", name, s, row)
		}
	}
}

// Names are whoever's who wrote the file, so they are bounded, as lists are.
func TestWhatIsKeptIsBounded(t *testing.T) {
	t.Parallel()
	var lines []string
	for i := range 1_200 {
		b, err := json.Marshal(map[string]any{
			"time": noon.Add(time.Duration(i) * time.Second), "verdict": "hole", "headline": "h",
			"tries": []map[string]string{{"way": "control", "class": "works"}, {"way": fmt.Sprint("way", i), "class": "hole"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, string(b), "{")
	}
	s := sums(t, probes.Options{}, lines...)
	if s.Hole != 1_200 || s.Faulty != 1_200 || len(s.NotHeld) != 1_000 || len(s.Faults) != 1_000 || len(s.Ways) != 65 {
		t.Errorf("%d holes, %d of them listed; %d faults, %d of them listed; %d ways", s.Hole, len(s.NotHeld), s.Faulty, len(s.Faults), len(s.Ways))
	}
}
