package snapshot

import (
	"slices"
	"strings"
)

// Same reports whether two networks are the same, whatever the order of what they list.
func (n Network) Same(of Network) bool {
	return n.Key() == of.Key() && n.IPv6 == of.IPv6
}

// Key names the subnets and groups. Functions with the same key share their interfaces,
// and so their addresses.
func (n Network) Key() string {
	return strings.Join(slices.Sorted(slices.Values(n.Subnets)), ",") + " " + strings.Join(slices.Sorted(slices.Values(n.Groups)), ",")
}

// Inside reports whether this is in a VPC at all.
func (n Network) Inside() bool { return len(n.Subnets) > 0 }

// SubnetByID returns a subnet, nil where none was seen.
func (r *Region) SubnetByID(id string) *Subnet {
	return find(r.Subnets, func(s *Subnet) bool { return s.ID == id })
}

// GroupByID returns a security group, nil where none was seen.
func (r *Region) GroupByID(id string) *Group {
	return find(r.Groups, func(g *Group) bool { return g.ID == id })
}

// ListByID returns a prefix list, nil where none was seen.
func (r *Region) ListByID(id string) *List {
	return find(r.Lists, func(l *List) bool { return l.ID == id })
}

// VPCByID returns a VPC, nil where none was seen.
func (r *Region) VPCByID(id string) *VPC {
	return find(r.VPCs, func(v *VPC) bool { return v.ID == id })
}

// TableOf returns the route table that holds for a subnet: its own, or else the main one
// of its VPC. It is nil where neither was seen.
func (r *Region) TableOf(s *Subnet) *Table {
	if own := find(r.Tables, func(t *Table) bool { return slices.Contains(t.Subnets, s.ID) }); own != nil {
		return own
	}
	return find(r.Tables, func(t *Table) bool { return t.Main && t.VPC == s.VPC })
}

// find returns the first element that fits.
func find[T any](all []T, fits func(*T) bool) *T {
	for i := range all {
		if fits(&all[i]) {
			return &all[i]
		}
	}
	return nil
}
