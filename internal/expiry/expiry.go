// Package expiry knows what of a configuration comes to an end by itself: the certificate
// of the TLS listener, rules, and the report mode of functions.
//
// What it does: [Of] lists the ends of a configuration, and a [Watch] tells each in time,
// by a metric, by a line of the log while it is near or over, and once when it has come.
// What it does not do: it decides nothing. That a rule has ended is for package policy to
// know, and that a certificate has for whoever verifies it.
package expiry

import (
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
)

// Kind is what comes to an end.
type Kind uint8

// The kinds.
const (
	Certificate Kind = iota // of listen.tls
	Rule                    // of a function
	ReportMode              // of a function
	kinds
)

// Soon is how long before its end something is told.
const Soon = 7 * 24 * time.Hour

// Remembered is how long after its end something is still told: so long it is news, then
// it is what the file says. A certificate is told until it is replaced.
const Remembered = 7 * 24 * time.Hour

// End is when something ends.
type End struct {
	Kind     Kind
	Function string // "" of a certificate
	Owner    string // of the function
	At       time.Time
	Lines    []int // of the rules in the file, of the function that end then
}

// Of returns all ends of a configuration, those that have passed included, the soonest
// first. certificate is that of the TLS listener, nil where there is none.
func Of(p *policy.Policy, certificate *x509.Certificate) (all []End) {
	if certificate != nil {
		all = append(all, End{Kind: Certificate, At: certificate.NotAfter})
	}
	for _, name := range p.Functions() {
		f := p.Function(name)
		first := len(all)
		for _, e := range f.Expiries() {
			i := slices.IndexFunc(all[first:], func(x End) bool { return x.At.Equal(e.At) })
			if i < 0 {
				i = len(all) - first
				all = append(all, End{Kind: Rule, Function: name, Owner: f.Owner(), At: e.At})
			}
			all[first+i].Lines = append(all[first+i].Lines, e.Line)
		}
		if until := f.ReportUntil(); !until.IsZero() {
			all = append(all, End{Kind: ReportMode, Function: name, Owner: f.Owner(), At: until})
		}
	}
	slices.SortStableFunc(all, func(a, b End) int { return a.At.Compare(b.At) })
	return all
}

// Near reports whether the end is to be told: it is at most Soon ahead, or has passed and
// is remembered.
func (e End) Near(now time.Time) bool {
	return !now.Before(e.At.Add(-Soon)) && (e.Kind == Certificate || now.Before(e.At.Add(Remembered)))
}

// Over reports whether it has ended.
func (e End) Over(now time.Time) bool { return !now.Before(e.At) }

// What returns what ends, for people.
func (e End) What() string {
	switch e.Kind {
	case Certificate:
		return "the certificate of listen.tls"
	case Rule:
		if len(e.Lines) == 1 {
			return fmt.Sprintf("the rule of %q in line %d", e.Function, e.Lines[0])
		}
		return fmt.Sprintf("%d rules of %q, in lines %s", len(e.Lines), e.Function, numbers(e.Lines))
	default:
		return fmt.Sprintf("the report mode of %q", e.Function)
	}
}

// mostLines is how many lines are named.
const mostLines = 8

// numbers lists the first of some numbers.
func numbers(all []int) string {
	var list []string
	for _, n := range all[:min(len(all), mostLines)] {
		list = append(list, fmt.Sprint(n))
	}
	if len(all) > mostLines {
		list = append(list, "…")
	}
	return strings.Join(list, ", ")
}

// Text says in a sentence what ends, when, and what to do.
func (e End) Text(now time.Time) string {
	s := e.What() + " ends at " + e.At.UTC().Format(time.RFC3339)
	if e.Over(now) {
		s = e.What() + " has ended, at " + e.At.UTC().Format(time.RFC3339)
	}
	switch e.Kind {
	case Certificate:
		return s + ": no client trusts the listener then; put another certificate into its file"
	case Rule:
		return s + ": what it allows is refused then; ask its owner, and take it out or give it another day"
	default:
		return s + ": what its list refuses is refused then; look at what it lets through (proxy report), and complete the list"
	}
}
