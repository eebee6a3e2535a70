package hostname

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ErrBadPorts is wrapped by every error of ParsePortRange.
var ErrBadPorts = errors.New("not a range of ports")

// PortRange is ports that follow each other, both ends included. The zero PortRange is port 0,
// which no target has.
type PortRange struct{ First, Last uint16 }

// Port returns the range of one port.
func Port(p uint16) PortRange { return PortRange{p, p} }

// ParsePortRange parses "8000-8010". A port is decimal, without a sign or a leading zero.
// Errors wrap ErrBadPorts and end with what would be right.
func ParsePortRange(s string) (PortRange, error) {
	first, last, found := strings.Cut(s, "-")
	if !found {
		last = first
	}
	var r PortRange
	var err error
	if r.First, err = parsePort(first); err == nil {
		r.Last, err = parsePort(last)
	}
	switch {
	case err != nil || r.First == 0 || r.Last == 0:
		return PortRange{}, fmt.Errorf("%w: it is not two numbers within 1-65535; write one such as 8000-8010", ErrBadPorts)
	case r.First > r.Last:
		return PortRange{}, fmt.Errorf("%w: it ends before it begins; write %d-%d", ErrBadPorts, r.Last, r.First)
	default:
		return r, nil
	}
}

// Contains reports whether p is one of the ports.
func (r PortRange) Contains(p uint16) bool { return r.First <= p && p <= r.Last }

// String returns 443, or 8000-8010.
func (r PortRange) String() string {
	if r.First == r.Last {
		return strconv.Itoa(int(r.First))
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

// MarshalJSON returns the number of a single port, otherwise the text of the range.
func (r PortRange) MarshalJSON() ([]byte, error) {
	if r.First == r.Last {
		return json.Marshal(r.First)
	}
	return json.Marshal(r.String())
}

// UnmarshalJSON reads what MarshalJSON returns.
func (r *PortRange) UnmarshalJSON(data []byte) (err error) {
	*r, err = ParsePortRange(strings.Trim(string(data), `"`))
	return err
}

// Ports returns the ranges of single ports, in their order.
func Ports(ports ...uint16) []PortRange {
	all := make([]PortRange, len(ports))
	for i, p := range ports {
		all[i] = Port(p)
	}
	return all
}

// MergePorts returns the ranges in their order, without overlaps, those that follow each
// other as one. It keeps the argument.
func MergePorts(ranges []PortRange) (all []PortRange) {
	sorted := slices.SortedFunc(slices.Values(ranges), func(a, b PortRange) int { return int(a.First) - int(b.First) })
	for _, r := range sorted {
		if n := len(all) - 1; n >= 0 && int(r.First) <= int(all[n].Last)+1 {
			all[n].Last = max(all[n].Last, r.Last)
			continue
		}
		all = append(all, r)
	}
	return all
}
