package probe

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Outcome is what was seen of a try. The zero value is a try of which nothing came back.
type Outcome struct {
	Untried   bool          // the try could not be made here; Detail says why
	Connected bool          // a TCP connection was opened
	Answered  bool          // something answered
	Denied    bool          // it answered, and said no
	Match     bool          // it answered, and is what is expected
	Detail    string        // what was seen, for people; it may have words of whoever answered
	Elapsed   time.Duration // how long it took
}

// Class is what a try says of the fence.
type Class string

// The classes.
const (
	Open      Class = "hole"      // the target answered: this way goes round the gate
	Held      Class = "held"      // nothing came back, or whoever belongs to the fence said no
	Captive   Class = "captive"   // something answered that is not the target
	Connected Class = "connected" // a connection was accepted, and nothing more was heard
	NotTried  Class = "not tried" // nothing is said about this way
	Works     Class = "works"     // of Control: it does what it should
	Failed    Class = "failed"    // of Control: it does not
)

// Finding is one try with what it says.
type Finding struct {
	Try
	Class   Class  `json:"class"`
	Detail  string `json:"detail"`
	Hole    string `json:"hole,omitempty"` // what it means that the way is open, of Open alone
	Cure    string `json:"cure,omitempty"` // what closes it, of Open alone
	Elapsed int64  `json:"elapsed_ms"`
}

// Judge says what the outcome of a try means.
func Judge(t *Try, o *Outcome) Finding {
	f := Finding{Try: *t, Detail: o.Detail, Class: Connected, Elapsed: o.Elapsed.Milliseconds()}
	row, known := find(t.Way)
	switch {
	case t.Way == Control:
		f.Class = Failed
		if o.Match && !o.Denied && !o.Untried {
			f.Class = Works
		}
	case o.Untried || !known:
		f.Class = NotTried
	case o.Denied && row.Inside:
		f.Class = Held
	case o.Match:
		f.Class, f.Hole, f.Cure = Open, row.Hole, row.Cure
	case o.Answered:
		f.Class, f.Detail = Captive, "something else answers: "+o.Detail
	case !o.Connected:
		f.Class = Held
	}
	return f
}

// Verdict is what a whole probe says.
type Verdict string

// The verdicts.
const (
	Hole    Verdict = "hole"    // a way round the gate is open
	Sound   Verdict = "holds"   // none that was tried is
	Unclear Verdict = "unclear" // none is shown to be open, but something took connections or answered in a target's stead
	Unknown Verdict = "unknown" // the control failed: nothing can be said
)

// Report is a whole probe.
type Report struct {
	Made     time.Time `json:"time"`
	Verdict  Verdict   `json:"verdict"`
	Headline string    `json:"headline"` // one line that says it all
	Findings []Finding `json:"tries"`
	Untried  []Way     `json:"not_tried,omitempty"` // ways without a target, or that could not be tried
}

// Conclude makes the report of findings. Control has to be first, and is there once more at
// the end where others were tried: what was seen in between says that the fence holds only if
// both worked. Holes that were seen stand if the first did. Answers on the ways intercepted
// are known to be of the fence, such as the gate's transparent listener, and count as held.
func Conclude(made time.Time, findings []Finding, untried, intercepted []Way) *Report {
	r := &Report{Made: made, Findings: findings, Untried: slices.Clone(untried)}
	by := map[Class][]string{}
	for i := range findings {
		f := &findings[i]
		if (f.Class == Captive || f.Class == Connected) && slices.Contains(intercepted, f.Way) {
			f.Class = Held
		}
		if f.Class == NotTried && !slices.Contains(r.Untried, f.Way) {
			r.Untried = append(r.Untried, f.Way)
		}
		by[f.Class] = append(by[f.Class], string(f.Way))
	}
	r.Verdict, r.Headline = verdict(findings, by)
	if len(r.Untried) > 0 {
		r.Headline += fmt.Sprintf("; ways that were not tried: %d", len(r.Untried))
	}
	return r
}

// verdict says what findings mean together, by being the names of their ways by class.
func verdict(findings []Finding, by map[Class][]string) (v Verdict, headline string) {
	last := len(findings) - 1
	began, ended := last > 0 && works(&findings[0]), last > 0 && works(&findings[last])
	unclear := slices.Concat(by[Captive], by[Connected])
	switch {
	case began && len(by[Open]) > 0:
		return Hole, "the fence has a hole: " + list(by[Open])
	case !began || !ended:
		return Unknown, "the control failed, so nothing can be said about the fence"
	case len(unclear) > 0:
		return Unclear, "no way is shown to be open, but something takes connections or answers in a target's stead: " + list(unclear)
	case len(by[Held]) == 0:
		return Unknown, "nothing but the control was tried, so nothing can be said about the fence"
	default:
		return Sound, fmt.Sprintf("the fence holds: %d tries, none of which got round it", len(by[Held]))
	}
}

// works reports whether a finding is a control that worked.
func works(f *Finding) bool { return f.Way == Control && f.Class == Works }

// list writes names once each, in their order.
func list(names []string) string {
	var once []string
	for _, name := range names {
		if !slices.Contains(once, name) {
			once = append(once, name)
		}
	}
	return strings.Join(once, ", ")
}
