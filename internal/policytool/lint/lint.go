// Package lint says what is odd about a policy that is valid: what has no effect, what
// ends soon, and what opens more than it seems to.
//
// What it does: it looks at the rules of each function, at the sets and at the deny list,
// and returns a finding for each thing that somebody should look at, with its line and
// what would be better.
//
// What it does not do: it makes no file invalid; package config alone does. It knows
// nothing of traffic, so it cannot say which rules are used.
//
//	for _, f := range lint.Of(cfg, "egress.yaml", time.Now()) { fmt.Println(f) }
package lint

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/expiry"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
)

// Kind says what a finding is about, in a word for programs.
type Kind string

// The kinds.
const (
	Covered  Kind = "covered"         // others allow all that the rule does
	NeverFit Kind = "never-fits"      // the rule allows nothing
	Shared   Kind = "shared-suffix"   // a wildcard where anyone can rent a name
	Writable Kind = "anyone-can-post" // a host on which anyone can have data put
	Unused   Kind = "unused-set"      // no rule names the set
	Ends     Kind = "ends-soon"       // it ends within a week, or has ended
	NoOwner  Kind = "no-owner"        // nobody is named whom one could ask
)

// Finding is one thing to look at.
type Finding struct {
	File string
	Line int    // 0: it stands in another file, such as a certificate
	Path string // functions.billing.allow[2], sets.partners
	Kind Kind
	Text string // what it is; what would be better
}

// String returns the finding as a line, in the form of an error of the file.
func (f Finding) String() string {
	place := f.File
	if f.Line > 0 {
		place = fmt.Sprintf("%s:%d", f.File, f.Line)
	}
	return fmt.Sprintf("%s: %s: %s [%s]", place, f.Path, f.Text, f.Kind)
}

// linter looks at one policy.
type linter struct {
	cfg      *config.Config
	file     string
	now      time.Time
	suffixes *hostname.Suffixes
	denied   *policy.Policy // the deny list alone
	findings []Finding
}

// Of returns the findings about a policy that was read from file, by line.
func Of(cfg *config.Config, file string, now time.Time) ([]Finding, error) {
	p, _, err := cfg.Compile()
	if err != nil {
		return nil, err
	}
	l := &linter{cfg: cfg, file: file, now: now, suffixes: hostname.NewSuffixes(), denied: p}
	l.sets()
	for i := range cfg.Functions {
		l.function(&cfg.Functions[i])
	}
	l.ends(p)
	slices.SortStableFunc(l.findings, func(a, b Finding) int { return cmp.Compare(a.Line, b.Line) })
	return l.findings, nil
}

// Ending returns those findings alone that are about what ends soon, the soonest first.
func Ending(cfg *config.Config, file string, now time.Time) ([]Finding, error) {
	p, _, err := cfg.Compile()
	if err != nil {
		return nil, err
	}
	l := &linter{cfg: cfg, file: file, now: now}
	l.ends(p)
	return l.findings, nil
}

// add adds a finding.
func (l *linter) add(line int, path string, kind Kind, format string, args ...any) {
	l.findings = append(l.findings, Finding{l.file, line, path, kind, fmt.Sprintf(format, args...)})
}

// sets looks at the sets: whether a rule names each, and what is in those that are named.
func (l *linter) sets() {
	named := map[int]bool{}
	for _, f := range l.cfg.Functions {
		for _, r := range f.Allow {
			named[r.Set-1] = true
		}
	}
	for i, s := range l.cfg.Sets {
		path := "sets." + s.Name
		if !named[i] {
			l.add(s.Line, path, Unused, "no rule names it; take it out, or name it in a rule")
			continue
		}
		for _, p := range s.Patterns {
			l.pattern(s.Line, path, p)
		}
	}
}

// function looks at one function and its rules.
func (l *linter) function(f *config.Function) {
	if f.Owner == "" {
		l.add(f.Line, "functions."+f.Name, NoOwner, "it has no owner; write owner: and who is to be asked about it")
	}
	covered := map[int]string{}
	if !f.ReportUntil.After(l.now) { // in report mode a rule that refuses counts too: its addresses do
		covered = newCoverage(l.cfg, f).superfluous()
	}
	for i, r := range f.Allow {
		path := fmt.Sprintf("functions.%s.allow[%d]", f.Name, i)
		if why := l.neverFits(r); why != "" {
			l.add(r.Line, path, NeverFit, "it allows nothing: %s; take it out", why)
			continue
		}
		if !r.Pattern.IsZero() {
			l.pattern(r.Line, path, r.Pattern)
		}
		if by := covered[i]; by != "" {
			l.add(r.Line, path, Covered, "all that it allows is allowed without it, by %s; take it out", by)
		}
	}
}

// neverFits says why a rule allows nothing, whatever the day; "": it does.
func (l *linter) neverFits(r policy.RuleSpec) string {
	switch {
	case r.Set > 0:
		patterns := l.cfg.Sets[r.Set-1].Patterns
		if len(patterns) == 0 {
			return "the set has no pattern"
		}
		for _, p := range patterns {
			if l.patternNeverFits(p) == "" {
				return ""
			}
		}
		return "none of the set's patterns does, for the deny list or their length"
	case !r.Pattern.IsZero():
		return l.patternNeverFits(r.Pattern)
	default:
		return ""
	}
}

// patternNeverFits says why no name fits a pattern, "" where one does. The whole of a
// wildcard is denied where a wildcard of the deny list covers it, and all above it.
func (l *linter) patternNeverFits(p hostname.Pattern) string {
	for _, part := range p.Parts() {
		if why := l.partNeverFits(part); why == "" || part == p {
			return why
		}
	}
	return "the deny list has all of it"
}

// partNeverFits is that for a pattern that covers a name or those below one.
func (l *linter) partNeverFits(p hostname.Pattern) string {
	if p.Wildcard() {
		if len(p.Name().String())+len("a.") > hostname.MaxName {
			return "no name is short enough to be below it"
		}
		for i := range l.cfg.Deny {
			d := l.cfg.Deny[i].Pattern
			if d.Wildcard() && (d.Name() == p.Name() || below(p.Name(), d.Name())) {
				return fmt.Sprintf("deny[%d] (line %d) has all of it", i, l.cfg.Deny[i].Line)
			}
		}
		return ""
	}
	if rule, denied := l.denied.Denies(p.Name()); denied {
		return fmt.Sprintf("%s (line %d) has it", rule, rule.Line())
	}
	return ""
}

// below reports whether a name is below another.
func below(n, above hostname.Name) bool {
	return strings.HasSuffix(n.String(), "."+above.String())
}

// pattern looks at what a pattern opens.
func (l *linter) pattern(line int, path string, p hostname.Pattern) {
	if w := writableBy(p); w != nil {
		l.add(line, path, Writable, "%s: %s; %s", p, w.Reason, w.Narrower)
	} else if l.suffixes.WildcardScope(p) == hostname.ScopeShared {
		l.add(line, path, Shared, "%s covers names that anyone can rent; write the names that are needed", p)
	}
}

// ends looks for what ends within a week, or has ended in the last one.
func (l *linter) ends(p *policy.Policy) {
	for _, e := range expiry.Of(p, l.cfg.Listen.TLS.Leaf()) {
		if !e.Near(l.now) {
			continue
		}
		path, line := "listen.tls", 0
		if e.Function != "" {
			path = "functions." + e.Function
		}
		if len(e.Lines) > 0 {
			line = e.Lines[0]
		}
		l.add(line, path, Ends, "%s", e.Text(l.now))
	}
}
