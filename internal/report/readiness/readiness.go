// Package readiness says for a report which functions in report mode may be enforced yet.
//
// What it does: it sums up the lines that the report counts, in the same pass, and has
// packages learn and ready judge them by the policy file.
//
// What it does not do: it fails no report. What keeps it from an answer, such as records
// that were changed, is the answer.
//
//	w, err := readiness.New(readiness.Options{Config: cfg, File: "egress.yaml", Sources: files})
//	err = w.Add(line)
//	options.Ready = w.Ready
package readiness

import (
	"slices"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/learn"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/ready"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/schedule"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/traffic"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/report"
)

// Options say what is looked at.
type Options struct {
	Config    *config.Config
	File      string        // where Config was read from
	Schedules schedule.List // of functions; nil: none is known
	Sources   []string      // the files of the lines
	From, To  time.Time     // the period of the report
	Now       time.Time     // when rules are judged
}

// Watch sums up lines. Make one with New; the nil Watch knows of no function in report mode.
type Watch struct {
	o       Options
	traffic *traffic.Counter
	failed  error // why it counts no more
}

// New returns a Watch that has seen nothing. Where no function is in report mode there is
// nothing to sum up, and it is nil.
func New(o Options) *Watch {
	if !slices.ContainsFunc(o.Config.Functions, func(f config.Function) bool { return !f.ReportUntil.IsZero() }) {
		return nil
	}
	return &Watch{o: o, traffic: traffic.NewCounter(traffic.Options{Files: o.Sources, From: o.From, To: o.To})}
}

// Add takes one line. Its error is always nil, so that it fits evidence.Read.
func (w *Watch) Add(l evidence.Line) error {
	if w != nil && w.failed == nil {
		w.failed = w.traffic.Add(l)
	}
	return nil
}

// Ready returns what the lines so far show.
func (w *Watch) Ready() report.Readiness {
	if w == nil {
		return report.Readiness{}
	}
	if w.failed != nil {
		return report.Readiness{Unknown: w.failed.Error()}
	}
	t, err := w.traffic.Traffic()
	if err != nil {
		return report.Readiness{Unknown: err.Error()}
	}
	p, err := learn.Propose(learn.Query{Config: w.o.Config, File: w.o.File, Traffic: t, Now: w.o.Now})
	if err != nil {
		return report.Readiness{Unknown: err.Error()}
	}
	var r report.Readiness
	for _, f := range ready.Judge(ready.Query{Config: w.o.Config, Traffic: t, Proposal: p, Schedules: w.o.Schedules}).Functions {
		r.Functions = append(r.Functions, report.ReadyFunction{
			Name: f.Name, Owner: f.Owner, Because: f.Because, Days: f.Days, Runs: f.Runs, NewName: f.NewName, Since: f.Since,
		})
	}
	return r
}
