package fair

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/bounds"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// Places are a number of things that callers have at the same time, such as lookups
// under way. A caller has a part of them at most, and all sources of no function
// together have half: their addresses can be forged. Who comes beyond that takes the
// place of its own oldest, which has had the longest time to end; where all places are
// taken, of the oldest of whoever has most. So whoever has less than that always gets
// one, and never loses it. The zero Places has none.
type Places struct {
	most, quota, sources int

	mu      sync.Mutex
	callers map[Caller]*holder
	known   ranking // functions, and what is for nobody
	unknown ranking // sources of no function
}

// Owner is what holds a place.
type Owner interface {
	// Evict ends what holds the place, for the reason given: somebody else has it now. It
	// must not block.
	Evict(verdict.Reason)
}

// Place is one of the Places, part of what holds it. The zero Place is of nobody. Its
// fields are guarded by the lock of the Places.
type Place struct {
	owner        Owner
	holder       *holder
	older, newer *Place // of the same holder
	evicted      bool   // somebody else has it; its owner has not released it yet
}

// holder is the places of one caller, a list from the oldest to the newest.
type holder struct {
	caller         Caller
	oldest, newest *Place
	n              int
	evicted        int // places that it has lost and whose owners have not ended yet
	ahead, behind  *holder
}

// ranking is holders by how many places they have.
type ranking struct {
	n      int     // places of all of them
	most   int     // places of whoever has most
	levels []level // holders by their number of places
}

// level is holders with the same number of places, in the order in which they came
// to it.
type level struct{ first, last *holder }

// Eviction is what a new place has cost. The zero Eviction is nothing.
type Eviction struct {
	Owner  Owner  // who has to go; nil: nobody, or who asked got no place
	Caller Caller // whose place it was; of a refusal, who asked
	Reason verdict.Reason
}

// Causes of an Eviction, for metrics.
const (
	CauseFunction = "function" // a function has its share, or has most
	CauseSource   = "source"   // the same of a source of no function
	CauseAll      = "all"      // there are no places left, and nobody has more than one
)

// ByCause gives a counter that has the label cause a series of each cause, at 0.
func ByCause(c *prometheus.CounterVec) *prometheus.CounterVec {
	for _, cause := range [...]string{CauseFunction, CauseSource, CauseAll} {
		c.WithLabelValues(cause)
	}
	return c
}

// Cause returns the cause for metrics.
func (e *Eviction) Cause() string {
	switch {
	case e.Reason == verdict.ReasonLimitTotal:
		return CauseAll
	case e.Caller.Source.IsValid():
		return CauseSource
	default:
		return CauseFunction
	}
}

// Happened reports whether somebody has to go, or got no place.
func (e *Eviction) Happened() bool { return e.Reason != verdict.ReasonNone }

// CarryOut has the owner go, if there is one.
func (e *Eviction) CarryOut() {
	if e.Owner != nil {
		e.Owner.Evict(e.Reason)
	}
}

// Init sets how many places there are, and of which row, whose Part and Least are what
// one caller may have.
func (s *Places) Init(most int, row *bounds.Bound) {
	s.most = most
	s.quota = max(most/row.Part, min(row.Least, most/2), 1)
	s.sources = max(most/2, 1)
	s.callers = map[Caller]*holder{}
	s.known.levels, s.unknown.levels = make([]level, s.quota+1), make([]level, s.quota+1)
}

// InitSources sets how many there are where all callers are sources: they may have all.
func (s *Places) InitSources(most int, row *bounds.Bound) {
	s.Init(most, row)
	s.sources = most
}

// Acquire gives a place to a caller. False: there is none, because more than a few that
// the caller has lost have not ended yet. What the place has cost is for the caller of
// Acquire to carry out, when it holds no lock.
func (s *Places) Acquire(p *Place, c Caller, owner Owner) (out Eviction, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.most <= 0 {
		return Eviction{Caller: c, Reason: verdict.ReasonLimitTotal}, false
	}
	h := s.callers[c]
	if h == nil {
		h = &holder{caller: c}
		s.callers[c] = h
	}
	if from := s.over(h); from != nil {
		out = Eviction{Caller: from.caller, Reason: verdict.ReasonLimitFunction}
		if from.n == 1 && s.quota > 1 {
			out.Reason = verdict.ReasonLimitTotal
		}
		if from == h && h.evicted > s.quota/4 {
			return out, false
		}
		out.Owner = s.evict(from.oldest)
	}
	s.add(p, h, owner)
	return out, true
}

// add makes p the newest place of h.
func (s *Places) add(p *Place, h *holder, owner Owner) {
	*p = Place{owner: owner, holder: h, older: h.newest}
	if h.newest != nil {
		h.newest.newer = p
	} else {
		h.oldest = p
	}
	h.newest = p
	s.count(h, 1)
}

// TryAcquire is Acquire for what is not worth a place that the caller has already: only
// who has more than the caller would have then gives one up for it. False: the caller has
// its share, or nobody has more, as the Eviction says.
func (s *Places) TryAcquire(p *Place, c Caller, owner Owner) (out Eviction, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.callers[c]
	if h == nil {
		h = &holder{caller: c}
	}
	from := s.over(h)
	switch {
	case s.most <= 0, from != nil && from.n <= h.n+1:
		out = Eviction{Caller: c, Reason: verdict.ReasonLimitTotal}
		if h.n >= s.quota && h.n > 0 {
			out.Reason = verdict.ReasonLimitFunction
		}
		return out, false
	case from != nil:
		out = Eviction{Caller: from.caller, Reason: verdict.ReasonLimitFunction, Owner: s.evict(from.oldest)}
	}
	s.callers[c] = h
	s.add(p, h, owner)
	return out, true
}

// over returns who has to give a place for another one of h, nil if nobody.
func (s *Places) over(h *holder) *holder {
	r := s.ranking(h)
	switch {
	case h.n >= s.quota:
		return h
	case r == &s.unknown && r.n >= s.sources:
		return r.largest(h)
	case s.known.n+s.unknown.n < s.most:
		return nil
	case s.unknown.most > s.known.most:
		return s.unknown.largest(h)
	default:
		return s.known.largest(h)
	}
}

// ranking returns where a holder stands.
func (s *Places) ranking(h *holder) *ranking {
	if h.caller.Source.IsValid() {
		return &s.unknown
	}
	return &s.known
}

// largest returns h where nobody has more, else whoever has had most for the longest time.
func (r *ranking) largest(h *holder) *holder {
	if h.n >= r.most {
		return h
	}
	return r.levels[r.most].first
}

// count adds to the number of places of a holder: 1 or -1.
func (s *Places) count(h *holder, by int) {
	r := s.ranking(h)
	if h.n > 0 {
		r.levels[h.n].remove(h)
	}
	h.n += by
	r.n += by
	if h.n > 0 {
		r.levels[h.n].add(h)
	}
	r.most = max(r.most, h.n)
	for r.most > 0 && r.levels[r.most].first == nil {
		r.most--
	}
}

// add adds a holder as the last one.
func (l *level) add(h *holder) {
	h.ahead, h.behind = l.last, nil
	if l.last != nil {
		l.last.behind = h
	} else {
		l.first = h
	}
	l.last = h
}

// remove takes a holder out.
func (l *level) remove(h *holder) {
	if h.ahead != nil {
		h.ahead.behind = h.behind
	} else {
		l.first = h.behind
	}
	if h.behind != nil {
		h.behind.ahead = h.ahead
	} else {
		l.last = h.ahead
	}
}

// evict takes a place from its owner, and returns the owner.
func (s *Places) evict(p *Place) Owner {
	p.unlink()
	p.evicted = true
	p.holder.evicted++
	s.count(p.holder, -1)
	return p.owner
}

// unlink takes a place out of the list of its holder.
func (p *Place) unlink() {
	h := p.holder
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
	p.older, p.newer = nil, nil
}

// Release gives a place back, also one that somebody else has by now: its owner has
// ended. It reports false, and does nothing, for one that is of nobody.
func (s *Places) Release(p *Place) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := p.holder
	if h == nil {
		return false
	}
	if p.evicted {
		h.evicted--
	} else {
		p.unlink()
		s.count(h, -1)
	}
	*p = Place{}
	if h.n == 0 && h.evicted == 0 {
		delete(s.callers, h.caller)
	}
	return true
}

// Renew makes a place its caller's newest, and its caller the last of those with as many
// places to give way.
func (s *Places) Renew(p *Place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := p.holder
	if h == nil || p.evicted {
		return
	}
	level := &s.ranking(h).levels[h.n]
	level.remove(h)
	level.add(h)
	if h.newest == p {
		return
	}
	p.unlink()
	p.older, h.newest.newer = h.newest, p
	h.newest = p
}

// Taken returns how many places are taken.
func (s *Places) Taken() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known.n + s.unknown.n
}

// Measure registers the gauges of a row of package bounds whose places these are.
func (s *Places) Measure(reg prometheus.Registerer, row string) {
	bounds.Measure(reg, row, s.most, s.quota, s.Taken)
}

// Callers returns how many callers there is something of.
func (s *Places) Callers() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.callers)
}
