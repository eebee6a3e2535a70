// Package policytest reads the tests that a policy brings with it, and holds them against
// the policy.
//
// What it does: a test names a function, or every one, and targets that it may reach and
// targets that it may not. They are asked of package policy: the deny list and the rules,
// as if no rule had expired and no function were in report mode, so that a policy which is
// good today is good tomorrow.
//
// What it does not do: it looks no name up, and so knows neither aliases nor addresses.
//
//	var suite policytest.Suite
//	suite.Read(reader, node, "")
//	suite.Judge(reader, compiled, functions)
package policytest

import (
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/suggest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/yamlread"
)

// maxQuestions bounds how often the policy is asked in all: about every function a test asks
// as often as there are functions, and a load must end.
const maxQuestions = 1_000_000

// Suite is the tests of a policy. The zero Suite has none.
type Suite struct{ tests []test }

// test is one entry.
type test struct {
	file     string // the included file that has it; "": the policy
	function string // "": every one
	at       yamlread.Node
	allow    []question
	refuse   []question
}

// question is a target, and where it stands.
type question struct {
	at     yamlread.Node
	target hostname.Target
}

// Function is one that tests may be about.
type Function struct {
	Name string
	File string // the included file that it stands in; "": the policy
}

// Read reads the list n, which an included file has, or the policy: "".
func (s *Suite) Read(r *yamlread.Reader, n yamlread.Node, file string) {
	r.List(n, func(item yamlread.Node) {
		t, every, before := test{file: file, at: item}, false, r.Problems()
		found := r.Object(item,
			yamlread.Key("function", func(n yamlread.Node) {
				t.at = n
				if t.function, _ = r.Scalar(n, "the name of a function"); n.IsEmptyText() {
					r.Fail(n, "it is empty; write the name of a function")
				}
			}),
			yamlread.Key("every", func(n yamlread.Node) { every = r.Boolean(n) }),
			yamlread.Key("allow", func(n yamlread.Node) { t.allow = questions(r, n) }),
			yamlread.Key("refuse", func(n yamlread.Node) { t.refuse = questions(r, n) }),
		)
		_, one := found["function"]
		switch {
		case r.Problems() > before:
		case one == every:
			r.Fail(item, "it is about no function, or about one and every; write function: and a name, or every: true")
		case len(t.allow)+len(t.refuse) == 0:
			r.Fail(item, "it asks nothing; write allow: or refuse: and targets")
		default:
			s.tests = append(s.tests, t)
		}
	})
}

// questions reads targets.
func questions(r *yamlread.Reader, n yamlread.Node) (all []question) {
	r.List(n, func(item yamlread.Node) {
		text, ok := r.Scalar(item, "a target such as api.example.com:443")
		if !ok {
			return
		}
		t, err := hostname.ParseTarget(text)
		if err != nil {
			r.Fail(item, "%s is %s; write a host and a port, such as api.example.com:443", yamlread.Quote(text), yamlread.OneLine(err.Error()))
			return
		}
		all = append(all, question{item, t})
	})
	return all
}

// Empty reports whether there is no test.
func (s *Suite) Empty() bool { return len(s.tests) == 0 }

// Judge asks the policy, and notes each test that fails at its target. A test of an included
// file is about the functions of that file alone.
func (s *Suite) Judge(r *yamlread.Reader, p *policy.Policy, functions []Function) {
	byFile, fileOf := map[string][]string{}, map[string]string{}
	for _, f := range functions {
		fileOf[f.Name] = f.File
		byFile[""] = append(byFile[""], f.Name)
		if f.File != "" {
			byFile[f.File] = append(byFile[f.File], f.Name)
		}
	}
	left := maxQuestions
	for _, t := range s.tests {
		names := byFile[t.file]
		if t.function != "" {
			file, known := fileOf[t.function]
			if !known || t.file != "" && file != t.file {
				r.Fail(t.at, "there is no function %s that tests of this file may be about; %s", yamlread.Quote(t.function), suggest.For(t.function, names))
				continue
			}
			names = []string{t.function}
		}
		if left -= len(names) * (len(t.allow) + len(t.refuse)); left < 0 {
			r.Fail(t.at, "the tests up to here ask more than %d questions; write fewer, or about fewer functions", maxQuestions)
			return
		}
		for _, name := range names {
			t.judge(r, p, name)
		}
	}
}

// judge asks about one function.
func (t *test) judge(r *yamlread.Reader, p *policy.Policy, function string) {
	f := p.Function(function)
	for _, q := range t.allow {
		if d := decide(p, f, q.target); d.Verdict != verdict.Allow {
			r.Fail(q.at, "the test fails: %s may not reach %s, %s%s; change the rules, or the test", function, q.target, d.Reason, by(d.Rule))
		}
	}
	for _, q := range t.refuse {
		if d := decide(p, f, q.target); d.Verdict == verdict.Allow {
			r.Fail(q.at, "the test fails: %s may reach %s%s; change the rules, or the test", function, q.target, by(d.Rule))
		}
	}
}

// decide asks about a target on the first of all days, when no rule has expired; what report
// mode lets through is not allowed.
func decide(p *policy.Policy, f *policy.Function, t hostname.Target) policy.Decision {
	return p.Decide(f, t, time.Time{})
}

// by says which rule decided, "" for none.
func by(r policy.Rule) string {
	if r.IsZero() {
		return ""
	}
	return ", by " + r.String() + " (" + r.Place() + ")"
}
