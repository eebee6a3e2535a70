// Package finding is what a check of an account has to say: what is wrong, where, how one
// sees it, what it means and what cures it.
//
// What it does: it names severities in their order, and sorts findings.
//
// What it does not do: it finds nothing.
package finding

import (
	"cmp"
	"fmt"
	"slices"
)

// Severity says how much a finding opens. Its zero value is the worst: a finding that
// nobody weighed is not one to leave out.
type Severity uint8

// High is a way round the gate, or a check that could not be made. Medium weakens a
// defence that stands. Low is worth mending. Info asks for nothing.
const (
	High Severity = iota
	Medium
	Low
	Info
)

// names are the words of severities, in their order.
var names = [...]string{"high", "medium", "low", "info"}

// String returns the word of a severity; one that does not exist is high.
func (s Severity) String() string {
	if int(s) < len(names) {
		return names[s]
	}
	return names[High]
}

// MarshalText writes the word.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a word of String.
func (s *Severity) UnmarshalText(text []byte) error {
	i := slices.Index(names[:], string(text))
	if i < 0 {
		return fmt.Errorf("%q is no severity; high, medium, low and info are", text)
	}
	*s = Severity(i)
	return nil
}

// The IDs of findings that no check of the list makes.
const (
	Unread     = "unread"     // something could not be read
	Acceptance = "acceptance" // a line of the acceptance file has ended, or fits nothing
)

// Finding is one thing that is wrong.
type Finding struct {
	ID          string   `json:"id"` // P01 to P21, Unread or Acceptance
	Title       string   `json:"title"`
	Severity    Severity `json:"severity"`
	Owner       string   `json:"account"`
	Region      string   `json:"region,omitempty"`
	Resource    string   `json:"resource"`
	Evidence    string   `json:"evidence"`    // what was seen
	Consequence string   `json:"consequence"` // what it lets somebody do
	Cure        string   `json:"cure"`        // a command, or a line of a template
	// Functions are the names of those that it is about, where there are any.
	Functions []string `json:"functions,omitempty"`
	// Accepted is who accepted it, why, and until when; "" is nobody.
	Accepted string `json:"accepted,omitempty"`
}

// Key names a finding from one run to the next.
func (f *Finding) Key() string {
	return f.ID + "/" + f.Owner + "/" + f.Region + "/" + f.Resource
}

// Sort orders findings by severity, and below that by what they are about.
func Sort(all []Finding) {
	slices.SortStableFunc(all, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Severity, b.Severity), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Owner, b.Owner),
			cmp.Compare(a.Region, b.Region), cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.Evidence, b.Evidence))
	})
}
