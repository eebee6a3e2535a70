// Package summary counts what the findings say: how many functions are behind the gate,
// and by which ways the others go round it.
//
// What it does: a function is behind the gate where nothing was found that leads round it,
// accepted or not, and all was read that would show it.
//
// What it does not do: it looks at no snapshot's network by itself; only findings count.
//
//	s := summary.Of(set, findings)
//	fmt.Println(s.Headline())
package summary

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/finding"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/snapshot"
)

// State is where a function stands. Its zero value is that nobody knows.
type State uint8

// The states.
const (
	Unknown State = iota
	Round         // it has a way round the gate
	Behind        // it has none that was found
)

// String returns the word of a state.
func (s State) String() string {
	switch s {
	case Round:
		return "round"
	case Behind:
		return "behind"
	default:
		return "unknown"
	}
}

// MarshalText writes the word.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a word of String. Any other is an error, and leaves Unknown.
func (s *State) UnmarshalText(text []byte) error {
	for _, state := range []State{Unknown, Round, Behind} {
		if state.String() == string(text) {
			*s = state
			return nil
		}
	}
	return fmt.Errorf("%q is no state", text)
}

// ways are the checks whose findings lead round the gate, in the order of the picture.
var ways = []struct{ id, title string }{
	{"P01", "outside the VPC"}, {"P02", "NAT gateway"}, {"P03", "internet gateway"}, {"P04", "another way out"},
	{"P05", "wide security group"}, {"P16", "lookups"}, {"P20", "another version"},
}

// Function is a row of the table.
type Function struct {
	Owner  string   `json:"account"`
	Region string   `json:"region"`
	Name   string   `json:"name"`
	State  State    `json:"state"`
	Found  []string `json:"found"` // IDs of all findings about it but those that ask for nothing
}

// Way is a way round the gate, and how many functions have it.
type Way struct {
	ID        string `json:"id"`
	Title     string `json:"title"`
	Functions int    `json:"functions"`
}

// Summary is what the findings come to.
type Summary struct {
	Functions []Function     `json:"functions"` // those round the gate first
	Ways      []Way          `json:"ways"`      // only those that some function has
	Counts    map[string]int `json:"counts"`    // by severity, accepted ones left out
	Accepted  int            `json:"accepted"`
	Total     int            `json:"total"`
	Behind    int            `json:"behind"`
	Round     int            `json:"round"`
	Unknown   int            `json:"unknown"`
	// Whole says that every account and region was read, whatever functions were listed.
	Whole bool `json:"whole"`
}

// key names a function.
type key struct{ owner, region, name string }

// Of counts.
func Of(set *snapshot.Set, findings []finding.Finding) *Summary {
	s := &Summary{Counts: map[string]int{}, Whole: true}
	found, round, blind := s.collect(findings)
	at := map[string]map[key]bool{}
	for i := range set.Snapshots {
		for _, r := range set.Snapshots[i].Regions {
			for _, f := range r.Functions {
				k := key{set.Snapshots[i].ID, r.Name, f.Name}
				row := Function{k.owner, k.region, k.name, Behind, slices.Compact(slices.Sorted(slices.Values(found[k])))}
				switch {
				case len(round[k]) > 0:
					row.State = Round
				case blind[key{k.owner, k.region, ""}] || blind[key{k.owner, "", ""}] || blind[k]:
					row.State = Unknown
				}
				for _, id := range round[k] {
					if at[id] == nil {
						at[id] = map[key]bool{}
					}
					at[id][k] = true
				}
				s.add(&row)
			}
		}
	}
	for _, w := range ways {
		if n := len(at[w.id]); n > 0 {
			s.Ways = append(s.Ways, Way{w.id, w.title, n})
		}
	}
	slices.SortStableFunc(s.Functions, func(a, b Function) int {
		return cmp.Or(cmp.Compare(order(a.State), order(b.State)), cmp.Compare(a.Owner, b.Owner), cmp.Compare(a.Region, b.Region), cmp.Compare(a.Name, b.Name))
	})
	return s
}

// order puts what goes round the gate first, and what is unknown behind it.
func order(s State) int { return map[State]int{Round: 0, Unknown: 1, Behind: 2}[s] }

// add adds a row.
func (s *Summary) add(f *Function) {
	s.Functions = append(s.Functions, *f)
	s.Total++
	switch f.State {
	case Behind:
		s.Behind++
	case Round:
		s.Round++
	default:
		s.Unknown++
	}
}

// collect sorts findings by the functions that they are about: all of them, those that
// lead round the gate, and where nobody saw whether something does. A key without a name
// is all of a region, one without a region all of an account.
func (s *Summary) collect(findings []finding.Finding) (found, round map[key][]string, blind map[key]bool) {
	found, round, blind = map[key][]string{}, map[key][]string{}, map[key]bool{}
	for i := range findings {
		f := &findings[i]
		s.count(f)
		hides := notRead(f) && showsWay(f.Resource)
		if hides && len(f.Functions) == 0 {
			blind[key{f.Owner, f.Region, ""}] = true
		}
		for _, name := range f.Functions {
			k := key{f.Owner, f.Region, name}
			if f.Severity != finding.Info {
				found[k] = append(found[k], f.ID)
			}
			if leadsRound(f) {
				round[k] = append(round[k], f.ID)
			}
			blind[k] = blind[k] || hides
		}
	}
	return found, round, blind
}

// count counts one finding.
func (s *Summary) count(f *finding.Finding) {
	s.Whole = s.Whole && !notRead(f)
	if f.Accepted != "" {
		s.Accepted++
	} else {
		s.Counts[f.Severity.String()]++
	}
}

// notRead reports whether a finding is that something could not be read.
func notRead(f *finding.Finding) bool {
	return f.ID == finding.Unread && f.Severity == finding.High
}

// leadsRound reports whether a finding is a way round the gate.
func leadsRound(f *finding.Finding) bool {
	return f.Severity <= finding.Medium && slices.ContainsFunc(ways, func(w struct{ id, title string }) bool { return w.id == f.ID })
}

// showsWay reports whether what was not read would have shown a way round: who may call a
// function, and what a role or a bucket allows, is none.
func showsWay(resource string) bool {
	for _, other := range []string{"iam:", "s3:", "lambda:GetPolicy", "lambda:ListFunctionUrlConfigs", "lambda:ListEventSourceMappings", "lambda:ListAliases", "arn:aws:iam:"} {
		if strings.HasPrefix(resource, other) {
			return false
		}
	}
	return true
}

// Headline is the one sentence.
func (s *Summary) Headline() string {
	text := fmt.Sprintf("%d of %d functions are behind the gate", s.Behind, s.Total)
	if s.Unknown > 0 {
		text += fmt.Sprintf(", of %d nobody knows", s.Unknown)
	}
	if !s.Whole {
		text += "; not everything could be read"
	}
	return text
}
