package policy

import (
	"fmt"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// Step is one line of the trace that Explain leaves.
type Step struct {
	Rule Rule   // the rule that was looked at; zero for a step that is not a rule
	Text string // what was found, one line for people
}

// Explain is Decide with the trace to the decision: the same walk over the
// same tables, every rule it looked at and why it did or did not decide.
func (p *Policy) Explain(f *Function, t hostname.Target, now time.Time) (Decision, []Step) {
	tr := &trace{}
	d := p.decide(f, &t, now, tr)
	if d.Reason == verdict.ReasonHostNotAllowed {
		tr.add("no rule of the function has the host")
	}
	return d, tr.steps
}

// trace gathers steps; a nil trace gathers none.
type trace struct{ steps []Step }

// add adds a step that is about no rule.
func (tr *trace) add(text string) {
	if tr != nil {
		tr.steps = append(tr.steps, Step{Text: text})
	}
}

// rule adds a step about a rule.
func (tr *trace) rule(r Rule, text string) {
	if tr != nil {
		tr.steps = append(tr.steps, Step{Rule: r, Text: fmt.Sprintf("%s (%s): %s", r, r.Place(), text)})
	}
}

// finding says what a fit of conditions has found.
func finding(r verdict.Reason) string {
	switch r {
	case verdict.ReasonNone:
		return "has the host, the port and the date: allows"
	case verdict.ReasonPortNotAllowed:
		return "has the host, not the port"
	case verdict.ReasonRuleExpired:
		return "has the host and the port, but has expired"
	default:
		return r.String()
	}
}
