package policy

import (
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy/matcher"
)

// HasBelow reports whether f may have a name looked up that is below this one, in lower
// case and without its last dot, "" the root. Then the name is there, though f is refused
// it: that it did not exist would say so of all names below (RFC 8020). Expiry is not
// looked at, nor are exact lines of the deny list; what a wildcard of it covers is denied
// with all below. A nil policy and a nil function have nothing.
func (p *Policy) HasBelow(f *Function, name string, now time.Time) bool {
	return p != nil && f != nil && !p.deny.CoversBelow(name) && (f.Reports(now) || hasBelow(&f.lists, name))
}

// HasBelow is that of all functions together, but for report mode.
func (u *Union) HasBelow(name string) bool {
	return u != nil && !u.policy.deny.CoversBelow(name) && hasBelow(&u.lists, name)
}

// hasBelow reports whether lists have names below this one. A wildcard that covers it
// covers none below where it is not a hostname.
func hasBelow(g *matcher.Group, name string) bool {
	if g.Above(name) {
		return true
	}
	_, err := hostname.ParseName(name)
	return err == nil && g.CoversBelow(name)
}

// PrepareLookups makes what HasBelow of the functions needs, which takes a time that grows
// with the file and which the first lookup that is refused would else wait for.
func (p *Policy) PrepareLookups() {
	if p == nil {
		return
	}
	for _, f := range p.functions {
		f.lists.PrepareAbove()
	}
}

// Prepare is PrepareLookups for the union.
func (u *Union) Prepare() {
	if u != nil {
		u.lists.PrepareAbove()
	}
}
