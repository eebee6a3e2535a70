package admission

import "net/netip"

// Caller is whom something counts to: the function where it is known, else the
// [Source].
type Caller struct {
	Function string
	Source   netip.Addr
}

// crowd is who holds places of one kind: each caller's from the oldest to the newest,
// and the callers by how many they hold, so that whoever has most is found at once.
// It is not safe for concurrent use.
type crowd[V any] struct {
	callers map[Caller]*crowdCaller[V]
	sizes   []crowdSize[V] // callers by how many they hold
	most    int            // what the largest of them holds
	n       int            // places held in all
}

// crowdCaller is the places of one caller, a list.
type crowdCaller[V any] struct {
	key            Caller
	oldest, newest *member[V]
	n              int

	before, after *crowdCaller[V] // of those that hold as many
}

// crowdSize is the callers that hold equally many, from the one that came to it first.
type crowdSize[V any] struct{ first, last *crowdCaller[V] }

// member is one place, part of what holds it. The zero member stands in no list.
type member[V any] struct {
	value        V
	caller       *crowdCaller[V]
	older, newer *member[V]
}

// held returns how many places a caller has.
func (c *crowd[V]) held(k Caller) int {
	if s := c.callers[k]; s != nil {
		return s.n
	}
	return 0
}

// add makes m the newest place of a caller.
func (c *crowd[V]) add(k Caller, m *member[V], v V) {
	s := c.callers[k]
	if s == nil {
		if c.callers == nil {
			c.callers, c.sizes = map[Caller]*crowdCaller[V]{}, make([]crowdSize[V], 2)
		}
		s = &crowdCaller[V]{key: k}
		c.callers[k] = s
	}
	*m = member[V]{value: v, caller: s, older: s.newest}
	if s.newest != nil {
		s.newest.newer = m
	} else {
		s.oldest = m
	}
	s.newest = m
	c.n++
	c.resize(s, s.n+1)
}

// remove takes m out, if it is in.
func (c *crowd[V]) remove(m *member[V]) {
	s := m.caller
	if s == nil {
		return
	}
	if m.older != nil {
		m.older.newer = m.newer
	} else {
		s.oldest = m.newer
	}
	if m.newer != nil {
		m.newer.older = m.older
	} else {
		s.newest = m.older
	}
	*m = member[V]{value: m.value}
	c.n--
	c.resize(s, s.n-1)
	if s.n == 0 {
		delete(c.callers, s.key)
	}
}

// largest returns the oldest place of whoever has most; nil: nobody has any. Of those
// that have equally many it is the one that has had them longest.
func (c *crowd[V]) largest() *member[V] {
	if c.most == 0 {
		return nil
	}
	return c.sizes[c.most].first.oldest
}

// oldest returns the oldest place of a caller that has one.
func (c *crowd[V]) oldest(k Caller) *member[V] { return c.callers[k].oldest }

// resize moves a caller to those that hold n.
func (c *crowd[V]) resize(s *crowdCaller[V], n int) {
	if s.n > 0 {
		at := &c.sizes[s.n]
		if s.before != nil {
			s.before.after = s.after
		} else {
			at.first = s.after
		}
		if s.after != nil {
			s.after.before = s.before
		} else {
			at.last = s.before
		}
	}
	s.n, s.before, s.after = n, nil, nil
	if n > 0 {
		for n >= len(c.sizes) {
			c.sizes = append(c.sizes, crowdSize[V]{})
		}
		at := &c.sizes[n]
		if s.before = at.last; at.last != nil {
			at.last.after = s
		} else {
			at.first = s
		}
		at.last = s
	}
	for c.most = max(c.most, n); c.most > 0 && c.sizes[c.most].first == nil; c.most-- {
	}
}
