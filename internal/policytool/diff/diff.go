// Package diff says what each function of a policy gains and loses by a new version of
// it: by what the two mean, not by how they are written.
//
// What it does: the names, ports, addresses and times that the rules of both versions tell
// apart are a finite number of regions, within each of which everything is decided alike.
// It asks package policy about one member of each region, in both versions, and describes
// those that differ. So the answer is exact, and two files that mean the same differ in
// nothing.
//
// What it does not do: it has no matcher of its own. It compares what may be reached, now
// and at any later time: not who is identified as a function, not the settings of the
// program, and not where a name's aliases lead, which DNS alone knows.
//
//	d, err := diff.Compare(diff.Side{File: "old.yaml", Spec: old.Spec()}, diff.Side{File: "new.yaml", Spec: new.Spec()}, time.Now())
//	if d.Gains() { … }
package diff

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
)

// Side is one version of a policy.
type Side struct {
	File string // where it was read from
	Spec policy.Spec
}

// Diff is what two versions differ in. Its JSON is what "proxy diff" prints.
type Diff struct {
	Old       Version    `json:"old"`
	New       Version    `json:"new"`
	Functions []Function `json:"functions"` // those that gain or lose something, by name; never nil
}

// Version names one version.
type Version struct {
	File   string `json:"file"`
	Policy string `json:"policy"` // the hash
}

// Function is what one function gains and loses. One that is in one version alone has
// nothing in the other.
type Function struct {
	Name  string   `json:"function"`
	Owner string   `json:"owner,omitempty"`
	Gains []Change `json:"gains"` // never nil
	Loses []Change `json:"loses"` // never nil
}

// Change is one thing that can be reached in one version and not in the other: what the
// region covers, on these ports, by this protocol, at these addresses, at these times.
type Change struct {
	Region
	Part      string               `json:"part,omitempty"`           // of a range, "public" or "special": those of its addresses alone
	Ports     []hostname.PortRange `json:"ports,omitempty"`          // the ports, numbers or "8000-8010"; empty: EveryPort
	EveryPort bool                 `json:"every_port,omitempty"`     // all but NotPorts
	NotPorts  []hostname.PortRange `json:"every_port_but,omitempty"` // of EveryPort
	// Carries is "any": TLS to the name and everything else; "tls": that alone; "other":
	// what is not TLS to the name, where that may be reached in both versions or in none.
	Carries   string   `json:"carries"`
	Public    bool     `json:"public,omitempty"`    // of a name: where it resolves to the public internet
	Addresses []Region `json:"addresses,omitempty"` // of a name: where it resolves to one of these
	When      []Span   `json:"when,omitempty"`      // empty: from now on
}

// Region is a pattern or a range, without what is taken out of it. "*" is every name. Of a
// range those addresses are not meant that no rule opens.
type Region struct {
	Covers string   `json:"covers"`
	Except []string `json:"except,omitempty"`
}

// Span is a time by its first and its last day, in UTC; "": it has begun, or has no end.
type Span struct {
	From  string `json:"from,omitempty"`
	Until string `json:"until,omitempty"`
}

// Gains reports whether any function gains anything.
func (d *Diff) Gains() bool {
	return slices.ContainsFunc(d.Functions, func(f Function) bool { return len(f.Gains) > 0 })
}

// Compare compares two versions from an instant on. It fails where one does not compile,
// which a Spec of a Config that was loaded does.
func Compare(from, to Side, now time.Time) (*Diff, error) {
	d := &Diff{Old: Version{from.File, from.Spec.Hash}, New: Version{to.File, to.Spec.Hash}, Functions: []Function{}}
	var compiled [2]*policy.Policy
	for i, s := range []Side{from, to} {
		var err error
		if compiled[i], err = policy.Compile(s.Spec); err != nil {
			return nil, fmt.Errorf("compiling %s: %w", s.File, err)
		}
	}
	specs := [2]map[string]*policy.FunctionSpec{functionsOf(from.Spec), functionsOf(to.Spec)}
	denied := newDenyIndex(from.Spec.Deny, to.Spec.Deny)
	names := maps.Clone(specs[0])
	maps.Copy(names, specs[1])
	narrow := newFocus(&from.Spec, &to.Spec)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		a, b := specs[0][name], specs[1][name]
		if denied.same && narrow.sameRules(a, b) {
			continue
		}
		if denied.same && enforcesInBoth(a, b, now) {
			a, b = narrow.on(a, b)
		}
		c := newComparison(now)
		c.add(0, compiled[0], &from.Spec, a)
		c.add(1, compiled[1], &to.Spec, b)
		c.compare(denied)
		if len(c.gains)+len(c.loses) > 0 {
			d.Functions = append(d.Functions, Function{Name: name, Owner: names[name].Owner, Gains: sorted(c.gains), Loses: sorted(c.loses)})
		}
	}
	return d, nil
}

// functionsOf returns the functions of a spec by name.
func functionsOf(s policy.Spec) map[string]*policy.FunctionSpec {
	all := make(map[string]*policy.FunctionSpec, len(s.Functions))
	for i := range s.Functions {
		all[s.Functions[i].Name] = &s.Functions[i]
	}
	return all
}

// enforcesInBoth reports whether a function is in both versions and in report mode in none:
// else more than its rules decides what it may reach.
func enforcesInBoth(a, b *policy.FunctionSpec, now time.Time) bool {
	return a != nil && b != nil && !a.ReportUntil.After(now) && !b.ReportUntil.After(now)
}

// setOf returns the patterns of the set that a rule names, nil where it names none.
func setOf(s *policy.Spec, r policy.RuleSpec) []hostname.Pattern {
	if r.Set == 0 {
		return nil
	}
	return s.Sets[r.Set-1]
}

// sameConditions reports whether two rules ask the same; tickets ask nothing.
func sameConditions(a, b *policy.Conditions) bool {
	if a == nil || b == nil {
		return a == b
	}
	return slices.Equal(hostname.MergePorts(a.Ports), hostname.MergePorts(b.Ports)) && a.TLS == b.TLS && a.Expires.Equal(b.Expires) && slices.Equal(a.Addresses, b.Addresses)
}

// denyIndex finds the lines of both deny lists that are below a name.
type denyIndex struct {
	same  bool // the lists are the same
	below map[string][]hostname.Pattern
}

// newDenyIndex indexes two deny lists.
func newDenyIndex(a, b []policy.DenySpec) *denyIndex {
	x := &denyIndex{below: map[string][]hostname.Pattern{}}
	x.same = slices.EqualFunc(a, b, func(p, q policy.DenySpec) bool { return p.Pattern == q.Pattern })
	seen := map[hostname.Pattern]bool{}
	for _, d := range slices.Concat(a, b) {
		for _, p := range d.Pattern.Parts() {
			if seen[p] {
				continue
			}
			seen[p] = true
			for above := range parents(p.Name().String()) {
				x.below[above] = append(x.below[above], p)
			}
		}
	}
	return x
}
