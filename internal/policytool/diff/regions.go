package diff

import (
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
)

// regions is a tree of what lies within what: patterns, or ranges of addresses. What a
// region is about is what it covers and none of its children does.
type regions struct{ list []region }

// region is one of a tree.
type region struct {
	text     string
	host     hostname.Host // a member that stands for all; zero: the region has none
	parent   int           // -1: none
	children []int
}

// add adds a region below a parent, -1 for none, and returns its index.
func (t *regions) add(text string, host hostname.Host, parent int) int {
	i := len(t.list)
	t.list = append(t.list, region{text: text, host: host, parent: parent})
	if parent >= 0 {
		t.list[parent].children = append(t.list[parent].children, i)
	}
	return i
}

// describe says what some regions are together, in as few terms as the tree has: one for
// each that is in while its parent is not, without the regions below it that are not in.
func (t *regions) describe(in map[int]bool) (all []Region) {
	for _, i := range slices.Sorted(maps.Keys(in)) {
		if !t.has(in, t.list[i].parent) {
			r := Region{Covers: t.list[i].text}
			t.except(in, i, &r.Except)
			slices.Sort(r.Except)
			all = append(all, r)
		}
	}
	return all
}

// has reports whether a region is in; one without a member is where its parent is.
func (t *regions) has(in map[int]bool, i int) bool {
	for ; i >= 0; i = t.list[i].parent {
		if in[i] || !t.list[i].host.IsZero() {
			return in[i]
		}
	}
	return false
}

// populated reports whether a region or one below it has a member.
func (t *regions) populated(i int) bool {
	return !t.list[i].host.IsZero() || slices.ContainsFunc(t.list[i].children, t.populated)
}

// except appends the regions below one that is in which are not.
func (t *regions) except(in map[int]bool, i int, list *[]string) {
	for _, child := range t.list[i].children {
		if t.has(in, child) {
			t.except(in, child, list)
		} else {
			*list = append(*list, t.list[child].text)
		}
	}
}

// parents yields the names above a name, the nearest first and "", the root, last.
func parents(name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for name != "" {
			_, name, _ = strings.Cut(name, ".")
			if !yield(name) {
				return
			}
		}
	}
}

// nameRegions returns the tree of patterns: a name by itself, or what is below one and below
// no longer one. root adds the region of every other name.
func nameRegions(patterns map[hostname.Pattern]bool, root bool) *regions {
	t := &regions{}
	exact, bases := map[string]bool{}, map[string]int{}
	var order []string // wildcards, those above before those below
	for p := range patterns {
		if p.Wildcard() {
			order = append(order, p.Name().String())
		} else {
			exact[p.Name().String()] = true
		}
	}
	slices.SortFunc(order, func(a, b string) int { return strings.Count(a, ".") - strings.Count(b, ".") })
	if root {
		bases[""] = t.add("*", memberBelow("", exact), -1)
	}
	for _, base := range order {
		bases[base] = t.add("*."+base, memberBelow(base, exact), nearest(bases, base))
	}
	for name := range exact {
		if n, err := hostname.ParseName(name); err == nil {
			t.add(name, hostname.NameHost(n), nearest(bases, name))
		}
	}
	return t
}

// nearest returns the region of the longest wildcard that covers a name, -1 for none.
func nearest(bases map[string]int, name string) int {
	for above := range parents(name) {
		if i, ok := bases[above]; ok {
			return i
		}
	}
	return -1
}

// memberBelow returns a name one label below another that is not one of those; zero: no
// such name is short enough.
func memberBelow(base string, taken map[string]bool) hostname.Host {
	for i := int64(0); ; i++ {
		name := strings.TrimSuffix(strconv.FormatInt(i, 36)+"."+base, ".")
		if len(name) > hostname.MaxName {
			return hostname.Host{}
		}
		if n, err := hostname.ParseName(name); err == nil && !taken[name] {
			return hostname.NameHost(n)
		}
	}
}
