// Package holders keeps who holds places of one kind.
//
// What it does: it has each holder's places from the oldest to the newest, and the holders
// by how many they have, so that whoever has most is found at once.
//
// What it does not do: it bounds nothing, and is not safe for concurrent use: package
// admission does and is.
//
//	var t holders.Table[string, net.Conn]
//	t.Add("a", &place, conn)
//	oldest := t.Largest().Value
package holders

// Table is the places and their holders. The zero Table has none.
type Table[K comparable, V any] struct {
	all   map[K]*holder[K, V]
	sizes []size[K, V] // holders by how many places they have
	most  int          // what the largest of them has
	n     int          // places in all
}

// holder is the places of one holder, a list.
type holder[K comparable, V any] struct {
	key            K
	oldest, newest *Place[K, V]
	n              int

	before, after *holder[K, V] // of those that have as many
}

// size is the holders that have equally many, from the one that came to it first.
type size[K comparable, V any] struct{ first, last *holder[K, V] }

// Place is one place, part of what holds it. The zero Place stands in no table.
type Place[K comparable, V any] struct {
	Value        V
	holder       *holder[K, V]
	older, newer *Place[K, V]
}

// Key returns whose the place is. It stands in a table.
func (p *Place[K, V]) Key() K { return p.holder.key }

// Len returns how many places are held.
func (t *Table[K, V]) Len() int { return t.n }

// Holders returns how many hold any.
func (t *Table[K, V]) Holders() int { return len(t.all) }

// Of returns how many places one has.
func (t *Table[K, V]) Of(k K) int {
	if h := t.all[k]; h != nil {
		return h.n
	}
	return 0
}

// Oldest returns the oldest place of one that has any.
func (t *Table[K, V]) Oldest(k K) *Place[K, V] { return t.all[k].oldest }

// Largest returns the oldest place of whoever has most; nil: nobody has any. Of those
// that have equally many it is the one that has had them longest.
func (t *Table[K, V]) Largest() *Place[K, V] {
	if t.most == 0 {
		return nil
	}
	return t.sizes[t.most].first.oldest
}

// Add makes p the newest place of one.
func (t *Table[K, V]) Add(k K, p *Place[K, V], v V) {
	h := t.all[k]
	if h == nil {
		if t.all == nil {
			t.all, t.sizes = map[K]*holder[K, V]{}, make([]size[K, V], 2)
		}
		h = &holder[K, V]{key: k}
		t.all[k] = h
	}
	*p = Place[K, V]{Value: v, holder: h, older: h.newest}
	if h.newest != nil {
		h.newest.newer = p
	} else {
		h.oldest = p
	}
	h.newest = p
	t.n++
	t.resize(h, h.n+1)
}

// Remove takes p out, if it is in.
func (t *Table[K, V]) Remove(p *Place[K, V]) {
	h := p.holder
	if h == nil {
		return
	}
	if p.older != nil {
		p.older.newer = p.newer
	} else {
		h.oldest = p.newer
	}
	if p.newer != nil {
		p.newer.older = p.older
	} else {
		h.newest = p.older
	}
	*p = Place[K, V]{Value: p.Value}
	t.n--
	t.resize(h, h.n-1)
	if h.n == 0 {
		delete(t.all, h.key)
	}
}

// resize moves a holder to those that have n.
func (t *Table[K, V]) resize(h *holder[K, V], n int) {
	if h.n > 0 {
		t.sizes[h.n].remove(h)
	}
	if h.n = n; n > 0 {
		for n >= len(t.sizes) {
			t.sizes = append(t.sizes, size[K, V]{})
		}
		t.sizes[n].add(h)
	}
	for t.most = max(t.most, n); t.most > 0 && t.sizes[t.most].first == nil; t.most-- {
	}
}

// add makes h the last of the size.
func (s *size[K, V]) add(h *holder[K, V]) {
	h.before, h.after = s.last, nil
	if s.last != nil {
		s.last.after = h
	} else {
		s.first = h
	}
	s.last = h
}

// remove takes h out of the size.
func (s *size[K, V]) remove(h *holder[K, V]) {
	if h.before != nil {
		h.before.after = h.after
	} else {
		s.first = h.after
	}
	if h.after != nil {
		h.after.before = h.before
	} else {
		s.last = h.before
	}
}
