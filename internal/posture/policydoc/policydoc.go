// Package policydoc reads policy documents of IAM: those of roles, functions, endpoints
// and buckets.
//
// What it does: it takes JSON into statements strictly, matches actions with their
// wildcards, and says of conditions which ones narrow who may use a statement.
//
// What it does not do: it is no simulation of IAM. It evaluates no condition. One that it
// does not know is named, and taken as one that narrows nothing, for that is the answer
// that hides nothing.
//
//	doc, err := policydoc.Parse(text)
//	for _, s := range doc { if s.Allows("lambda:UpdateFunctionConfiguration") { … } }
//
// The grammar is that of the IAM User Guide, "Grammar of the IAM JSON policy language".
package policydoc

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Statement is one statement.
type Statement struct {
	SID        string
	Allow      bool
	Actions    []string
	NotActions []string // where they are there, Actions are not
	Resources  []string
	Excepted   []string // NotResource
	// Principals are who it is about: "*", ARNs, account IDs, and services as
	// "service:events.amazonaws.com". Nil: a policy that belongs to somebody.
	Principals []string
	// Other says that the statement has NotPrincipal: everybody but some.
	Other      bool
	Conditions []Condition
}

// Condition is one condition, its key in lower case.
type Condition struct {
	Operator, Key string
	Values        []string
}

// document is the outside of a policy.
type document struct {
	Version   string
	ID        string `json:"Id"`
	Statement list[statement]
}

// statement is a statement as JSON has it.
type statement struct {
	SID          string `json:"Sid"`
	Effect       string
	Action       list[string]
	NotAction    list[string]
	Resource     list[string]
	NotResource  list[string]
	Principal    principal
	NotPrincipal principal
	Condition    map[string]map[string]list[any]
}

// list is one element or an array of them: JSON of policies has both.
type list[T any] []T

// UnmarshalJSON reads one or many.
func (l *list[T]) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '[' {
		return strict(b, (*[]T)(l))
	}
	one := make([]T, 1)
	if err := strict(b, &one[0]); err != nil {
		return err
	}
	*l = one
	return nil
}

// principal is "*" or an object of lists by kind.
type principal []string

// UnmarshalJSON reads either.
func (p *principal) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		var all string
		if err := json.Unmarshal(b, &all); err != nil {
			return err
		}
		*p = principal{all}
		return nil
	}
	var kinds map[string]list[string]
	if err := json.Unmarshal(b, &kinds); err != nil {
		return err
	}
	out := principal{}
	for kind, names := range kinds {
		for _, name := range names {
			if kind != "AWS" {
				name = strings.ToLower(kind) + ":" + name
			}
			out = append(out, name)
		}
	}
	slices.Sort(out)
	*p = out
	return nil
}

// strict decodes JSON, and refuses members that are not there.
func strict(b []byte, into any) error {
	dec := json.NewDecoder(strings.NewReader(string(b)))
	dec.DisallowUnknownFields()
	return dec.Decode(into)
}

// Parse reads a document. What it does not know is an error, and nothing of it holds.
func Parse(text string) ([]Statement, error) {
	var d document
	if err := strict([]byte(text), &d); err != nil {
		return nil, fmt.Errorf("no policy that can be understood: %w", err)
	}
	if len(d.Statement) == 0 {
		return nil, errors.New("no policy that can be understood: it has no statement")
	}
	out := make([]Statement, 0, len(d.Statement))
	for i := range d.Statement {
		s := &d.Statement[i]
		if s.Effect != "Allow" && s.Effect != "Deny" {
			return nil, fmt.Errorf("no policy that can be understood: effect %q", s.Effect)
		}
		out = append(out, Statement{
			SID: s.SID, Allow: s.Effect == "Allow", Actions: s.Action, NotActions: s.NotAction, Resources: s.Resource, Excepted: s.NotResource,
			Principals: slices.Concat(s.Principal, s.NotPrincipal), Other: s.NotPrincipal != nil, Conditions: s.conditions(),
		})
	}
	return out, nil
}

// conditions returns the conditions in an order of their own, for maps have none.
func (s *statement) conditions() (out []Condition) {
	for operator, keys := range s.Condition {
		for key, values := range keys {
			c := Condition{Operator: operator, Key: strings.ToLower(key)}
			for _, v := range values {
				c.Values = append(c.Values, fmt.Sprint(v))
			}
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b Condition) int {
		return strings.Compare(a.Operator+" "+a.Key, b.Operator+" "+b.Key)
	})
	return out
}
