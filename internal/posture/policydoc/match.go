package policydoc

import (
	"slices"
	"strings"
)

// Match reports whether a pattern with * and ? covers a text, whatever the case, as
// actions are compared. It takes time in proportion to the product of both lengths.
func Match(pattern, text string) bool {
	p, t := strings.ToLower(pattern), strings.ToLower(text)
	star, from, j := -1, 0, 0
	for i := 0; i < len(t); {
		switch {
		case j < len(p) && p[j] == '*':
			star, from, j = j, i, j+1
		case j < len(p) && (p[j] == '?' || p[j] == t[i]):
			i, j = i+1, j+1
		case star >= 0: // the last star takes one more
			from++
			i, j = from, star+1
		default:
			return false
		}
	}
	return strings.Trim(p[j:], "*") == ""
}

// Covers reports whether a statement is about an action, whatever its effect.
func (s *Statement) Covers(action string) bool {
	is := func(pattern string) bool { return Match(pattern, action) }
	if len(s.NotActions) > 0 {
		return !slices.ContainsFunc(s.NotActions, is)
	}
	return slices.ContainsFunc(s.Actions, is)
}

// Anywhere reports whether a statement is about every resource.
func (s *Statement) Anywhere() bool {
	return len(s.Excepted) == 0 && (len(s.Resources) == 0 || slices.Contains(s.Resources, "*"))
}

// Open reports whether a statement is about everybody.
func (s *Statement) Open() bool {
	return s.Other || slices.Contains(s.Principals, "*")
}

// Allowed returns the statements by which a policy lets an action be done, nil where
// another one denies it everywhere and without a condition.
func Allowed(doc []Statement, action string) (by []*Statement) {
	for i := range doc {
		s := &doc[i]
		switch {
		case !s.Covers(action):
		case s.Allow:
			by = append(by, s)
		case s.Anywhere() && len(s.Conditions) == 0 && !s.Other && (s.Principals == nil || s.Open()):
			return nil
		}
	}
	return by
}

// callers are the keys by which a condition bounds who calls, or from where.
var callers = []string{
	"aws:sourceaccount", "aws:sourcearn", "aws:sourceowner", "aws:sourceorgid", "aws:sourceorgpaths", "aws:principalaccount", "aws:principalarn",
	"aws:principalorgid", "aws:principalorgpaths", "aws:sourcevpce", "aws:sourcevpc",
}

// targets are the keys by which a condition bounds whose resource it is.
var targets = []string{"aws:resourceaccount", "aws:resourceorgid", "aws:resourceorgpaths", "s3:resourceaccount", "s3:dataaccesspointaccount"}

// equal are the operators by which a key is bound to what is written beside it. Those that
// hold where the key is missing (…IfExists, ForAllValues) bind nothing.
var equal = []string{
	"stringequals", "stringlike", "arnequals", "arnlike", "stringequalsignorecase", "foranyvalue:stringequals", "foranyvalue:stringlike",
	"foranyvalue:arnequals", "foranyvalue:arnlike",
}

// Bounds is what the conditions of a statement narrow.
type Bounds struct {
	Caller bool // who calls, or from where
	Target bool // whose resource it is
	// Unknown are the conditions that narrow nothing as far as the checker knows.
	Unknown []string
}

// Bounds says what the conditions narrow. One that a star satisfies narrows nothing.
func (s *Statement) Bounds() (b Bounds) {
	for _, c := range s.Conditions {
		binds := slices.Contains(equal, strings.ToLower(c.Operator)) && len(c.Values) > 0 &&
			!slices.ContainsFunc(c.Values, func(v string) bool { return strings.Trim(v, "*?") == "" })
		switch {
		case binds && slices.Contains(callers, c.Key):
			b.Caller = true
		case binds && slices.Contains(targets, c.Key):
			b.Target = true
		default:
			b.Unknown = append(b.Unknown, c.Operator+" "+c.Key)
		}
	}
	return b
}

// Named returns the accounts that conditions about the caller name, by number or in an
// ARN.
func (s *Statement) Named() (out []string) {
	for _, c := range s.Conditions {
		if !slices.Contains(callers, c.Key) {
			continue
		}
		for _, v := range c.Values {
			if part := strings.SplitN(v, ":", 6); len(part) == 6 {
				v = part[4]
			}
			if len(v) == 12 && strings.Trim(v, "0123456789") == "" {
				out = append(out, v)
			}
		}
	}
	return out
}

// Has returns the values that a condition compares a key with, and whether there is one
// with that key.
func (s *Statement) Has(key string) (operator string, values []string, there bool) {
	for _, c := range s.Conditions {
		if c.Key == key {
			return c.Operator, c.Values, true
		}
	}
	return "", nil, false
}
