// Package entries says which entry of the gate's policy a Lambda function is.
//
// What it does: a function is the entry that lists its ARN under identify.aws, else the
// one with the longest ARN that ends in a star and begins as its own, else the one of its
// name that can be known by something else than ARNs.
//
// What it does not do: it verifies no token and knows no address. A role that an entry
// lists is a task's and no function's: tokens of functions are told apart by function.
//
//	table := entries.New(list)
//	if e := table.Of(arn, name); e != nil && e.BySource { … }
package entries

import (
	"slices"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/attest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
)

// Entry is a function of the gate's policy.
type Entry struct {
	Name string
	// BySource says that its source address is all that it is known by.
	BySource bool
}

// Want is what an entry waits for.
type Want struct {
	Name string
	// ARN is the one of a function, of which the name may end in a star; "" where the
	// entry waits for a function of its own name.
	ARN string
	// Owner is the number of the account in ARN, Region its region.
	Owner, Region string
}

// Table finds entries. Its zero value has none.
type Table struct {
	names    map[string]*Entry
	arns     map[string]*Entry
	prefixes []prefix // the longest first
	wants    []Want
}

// prefix is an ARN without the star behind it.
type prefix struct {
	text string
	of   *Entry
}

// New returns a table of the entries of a policy.
func New(list []identity.Entry) *Table {
	t := &Table{names: map[string]*Entry{}, arns: map[string]*Entry{}}
	for i := range list {
		t.add(&list[i])
	}
	slices.SortStableFunc(t.prefixes, func(a, b prefix) int { return len(b.text) - len(a.text) })
	return t
}

// add takes one entry in.
func (t *Table) add(by *identity.Entry) {
	secrets := len(by.Tokens) + len(by.Certificates)
	e := &Entry{Name: by.Function, BySource: len(by.Sources) > 0 && secrets+len(by.AWS) == 0}
	for _, pattern := range by.AWS {
		a, exact, ok := attest.ParsePattern(pattern)
		if !ok || !a.Function {
			continue
		}
		t.wants = append(t.wants, Want{e.Name, pattern, a.Account, a.Region})
		if exact {
			t.arns[pattern] = e
		} else {
			t.prefixes = append(t.prefixes, prefix{strings.TrimSuffix(pattern, "*"), e})
		}
	}
	// Who is known by ARNs alone may have any name here, a function's by chance as well.
	if len(by.AWS) > 0 && secrets == 0 {
		return
	}
	t.names[e.Name] = e
	if len(by.AWS) == 0 {
		t.wants = append(t.wants, Want{Name: e.Name})
	}
}

// Of returns the entry of a function, by its ARN without a version and by its name; nil
// where the policy has none, or the table is nil.
func (t *Table) Of(arn, name string) *Entry {
	if t == nil {
		return nil
	}
	if e := t.arns[arn]; e != nil {
		return e
	}
	for _, p := range t.prefixes {
		if strings.HasPrefix(arn, p.text) {
			return p.of
		}
	}
	return t.names[name]
}

// Wants returns what the entries wait for, in the order of the policy.
func (t *Table) Wants() []Want { return t.wants }

// Fits reports whether a function is one that is waited for.
func (w *Want) Fits(arn, name string) bool {
	if w.ARN == "" {
		return w.Name == name
	}
	start, starred := strings.CutSuffix(w.ARN, "*")
	return arn == w.ARN || starred && strings.HasPrefix(arn, start)
}
