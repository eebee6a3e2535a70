// Package ready says of each function in report mode whether its list may be enforced yet.
//
// What it does: it looks at what records show of the function: on how many days it ran, when
// it last asked for a name that it had not asked for before, what of its traffic the list
// would refuse, and whether each of its schedules has fired. Where the records have gaps it
// says that it cannot know.
//
// What it does not do: it knows no future. A schedule that nobody has told it of may be a
// job that has not run yet.
//
//	a := ready.Judge(ready.Query{Config: cfg, Traffic: t, Proposal: p, Schedules: list})
//	err := a.Write(os.Stdout)
package ready

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/learn"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/schedule"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/traffic"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/printable"
)

// What records must show before a list may be enforced.
const (
	MinTime  = 7 * 24 * time.Hour // from the first record to the last: a week has its own jobs
	MinQuiet = 3 * 24 * time.Hour // since the last new name
	// window is how long after it was due a schedule's run may show: EventBridge takes a
	// minute, and a Lambda runs for 15.
	window = 16 * time.Minute
)

// Query is what is asked.
type Query struct {
	Config    *config.Config
	Traffic   *traffic.Traffic
	Proposal  *learn.Proposal // what the lists lack, of the same Config and Traffic
	Schedules schedule.List   // nil: none is known
}

// Answer has the functions in report mode, by name. Its JSON is what "proxy learn --ready"
// prints.
type Answer struct {
	From      time.Time  `json:"from"`
	To        time.Time  `json:"to"`
	Functions []Function `json:"functions"` // never nil
}

// Function is one function. It is ready where no reason speaks against it.
type Function struct {
	Name    string    `json:"function"`
	Owner   string    `json:"owner,omitempty"`
	Ready   bool      `json:"ready"`
	Because []string  `json:"because"` // why not; never nil
	Days    int       `json:"days"`    // on which it ran
	Runs    int       `json:"runs"`    // by pauses of a quarter of an hour
	NewName string    `json:"last_new_name,omitempty"`
	Since   time.Time `json:"last_new_name_at,omitzero"` // when it was first asked for
}

// Ready reports whether all functions are.
func (a *Answer) Ready() bool {
	return !slices.ContainsFunc(a.Functions, func(f Function) bool { return !f.Ready })
}

// Judge judges the functions in report mode.
func Judge(q Query) *Answer {
	a := &Answer{From: q.Traffic.From, To: q.Traffic.To, Functions: []Function{}}
	lacks := map[string]learn.Function{}
	for _, f := range q.Proposal.Functions {
		lacks[f.Name] = f
	}
	for _, f := range q.Config.Functions {
		if !f.ReportUntil.IsZero() {
			a.Functions = append(a.Functions, judge(&q, f, lacks[f.Name]))
		}
	}
	slices.SortFunc(a.Functions, func(x, y Function) int { return strings.Compare(x.Name, y.Name) })
	return a
}

// judge judges one function.
func judge(q *Query, of config.Function, lacks learn.Function) Function {
	seen := q.Traffic.Functions[of.Name]
	f := Function{Name: of.Name, Owner: of.Owner, Because: []string{}, Days: seen.Days(), Runs: seen.Runs()}
	f.NewName, f.Since = newest(q.Traffic, of.Name)
	because := func(format string, args ...any) { f.Because = append(f.Because, fmt.Sprintf(format, args...)) }
	if n := len(q.Traffic.Gaps); n > 0 {
		because("the records have gaps (%d, the first: %s), so it cannot be known", n, q.Traffic.Gaps[0])
	}
	if long := q.Traffic.To.Sub(q.Traffic.From); long < MinTime {
		because("the records are of %.1f days, less than %d", long.Hours()/24, int(MinTime.Hours()/24))
	}
	switch quiet := q.Traffic.To.Sub(f.Since); {
	case f.Days == 0:
		because("it was never seen")
	case quiet < MinQuiet:
		because("its last new name, %s, came %.1f days before the end of the records, less than %d", f.NewName, quiet.Hours()/24, int(MinQuiet.Hours()/24))
	}
	if n := len(lacks.Rules); n > 0 {
		because("%d hosts that it used have no rule yet", n)
	}
	if n := len(lacks.Doubts); n > 0 {
		because("%d doubts about what it used are open; proxy learn says which", n)
	}
	for _, s := range q.Schedules[of.Name] {
		if why := unfired(q.Traffic, seen, s); why != "" {
			because("%s %s", s, why)
		}
	}
	f.Ready = len(f.Because) == 0
	return f
}

// newest returns the name that a function asked for last of those that it had not asked for
// before, and when that was.
func newest(t *traffic.Traffic, function string) (name string, at time.Time) {
	first := map[string]time.Time{}
	for key, s := range t.Targets {
		if key.Function != function || s.First.IsZero() {
			continue
		}
		if known, ok := first[key.Host]; !ok || s.First.Before(known) {
			first[key.Host] = s.First
		}
	}
	for _, host := range slices.Sorted(maps.Keys(first)) {
		if first[host].After(at) {
			name, at = host, first[host]
		}
	}
	return name, at
}

// unfired says why a schedule is not known to have fired; "": it has.
func unfired(t *traffic.Traffic, seen *traffic.Activity, s schedule.Schedule) string {
	if every := s.Every(); every > 0 {
		switch {
		case t.To.Sub(t.From) < every:
			return "has a longer period than the records"
		case seen.Days() == 0:
			return "has not been seen to run"
		default:
			return ""
		}
	}
	due := 0
	at, ok := s.Next(t.From.Add(-time.Minute))
	for ; ok && !at.After(t.To); at, ok = s.Next(at) {
		if due++; seen.Within(at, window) {
			return ""
		}
	}
	switch {
	case due > 0:
		return fmt.Sprintf("was due %d times, and no request followed", due)
	case ok:
		return "was not due while the records were written; it is on " + at.Format(time.DateOnly)
	default:
		return "is never due"
	}
}

// Write writes the answer for people.
func (a *Answer) Write(w io.Writer) error {
	var b strings.Builder
	for _, f := range a.Functions {
		fmt.Fprintf(&b, "%s: ", f.Name)
		if f.Ready {
			fmt.Fprintf(&b, "ready: %d runs on %d days, last new name on %s\n", f.Runs, f.Days, f.Since.UTC().Format(time.DateOnly))
			continue
		}
		fmt.Fprintf(&b, "not yet, because %s\n", strings.Join(f.Because, "; "))
	}
	if len(a.Functions) == 0 {
		b.WriteString("no function is in report mode\n")
	}
	_, err := io.WriteString(printable.Writer{W: w}, b.String())
	return err
}

// WriteJSON writes the answer as one JSON document.
func (a *Answer) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(printable.Writer{W: w})
	e.SetIndent("", "  ")
	return e.Encode(a)
}
