package identity

import (
	"net/netip"

	"github.com/gaissmai/bart"
)

// Sources tells functions apart by the address they come from alone, whether
// they list credentials or not: it is for protocols in which nobody can show
// one. It is immutable. A nil *Sources finds nobody.
type Sources struct {
	functions bart.Table[string] // "": more than one function has the range
}

// NewSources gathers the sources of every function of the table. Unlike the
// table it lets two functions claim one range, because their credentials tell
// them apart elsewhere; here that range identifies neither.
func NewSources(t *Table) *Sources {
	if t == nil {
		return nil
	}
	s := &Sources{}
	for _, f := range t.functions {
		for _, p := range f.sources {
			owner := f.name
			if first, taken := s.functions.Get(p); taken && first != owner {
				owner = ""
			}
			s.functions.Insert(p, owner)
		}
	}
	return s
}

// Find returns the function of the longest range that has the address. It
// returns false where there is none, or where that range is of more than one
// function: a shorter one does not decide in its place.
func (s *Sources) Find(a netip.Addr) (function string, ok bool) {
	a = a.Unmap().WithZone("")
	if s == nil || !a.IsValid() {
		return "", false
	}
	function, ok = s.functions.Lookup(a)
	return function, ok && function != ""
}
