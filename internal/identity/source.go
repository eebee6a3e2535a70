package identity

import "net/netip"

// Sources tells functions apart by the address they come from alone, whether
// they list credentials or not: it is for protocols in which nobody can show
// one. It is immutable. A nil *Sources finds nobody.
type Sources struct {
	functions map[netip.Prefix]string // "": more than one function has the range
	v4, v6    []int                   // prefix lengths in use, longest first
}

// NewSources gathers the sources of every function of the table. Unlike the
// table it lets two functions claim one range, because their credentials tell
// them apart elsewhere; here that range identifies neither.
func NewSources(t *Table) *Sources {
	if t == nil {
		return nil
	}
	s := &Sources{functions: map[netip.Prefix]string{}}
	b := builder{}
	for _, f := range t.functions {
		for _, p := range f.sources {
			owner := f.name
			if first, taken := s.functions[p]; taken && first != owner {
				owner = ""
			}
			s.functions[p] = owner
			b.addLength(p)
		}
	}
	s.v4, s.v6 = b.v4, b.v6
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
	lengths := s.v6
	if a.Is4() {
		lengths = s.v4
	}
	for _, bits := range lengths {
		// The error is for lengths that the address cannot have: never here.
		p, err := a.Prefix(bits)
		if function, ok = s.functions[p]; err == nil && ok {
			return function, function != ""
		}
	}
	return "", false
}
