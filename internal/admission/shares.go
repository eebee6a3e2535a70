package admission

import "sync/atomic"

// shares is a number of things that functions have parts of. One alone may have its
// share. The more is taken, the less each may have, so that many that take all they can
// leave some: of a total T with a share of T/4, k of them get T/(k+3) each, and 3T/(k+3)
// are left for whoever has less. The zero shares has nothing to give.
type shares struct {
	total, share int64
	taken        atomic.Int64
}

// taking says how an attempt to take ended.
type taking uint8

const (
	takenWhole taking = iota // there is too little in all
	takenShare               // whoever asked has too much of it already
	takenOK
)

// init sets how much there is, and how much of it is for one where nobody else asks.
func (s *shares) init(total, share int64) { s.total, s.share = total, min(share, total) }

// take takes n for one who has mine.
func (s *shares) take(mine *atomic.Int64, n int64) taking {
	m, t := mine.Add(n), s.taken.Add(n)
	out := takenOK
	switch {
	case t > s.total:
		out = takenWhole
		if m > s.share {
			out = takenShare
		}
	case m > n && !s.fits(m, t):
		out = takenShare
	}
	if out != takenOK {
		s.give(mine, n)
	}
	return out
}

// fits reports whether one may have m where t are taken. In floating point a limit that
// is none does not overflow.
func (s *shares) fits(m, t int64) bool {
	return float64(m)*float64(s.total-s.share) <= float64(s.share)*float64(s.total-t)
}

// give gives n back.
func (s *shares) give(mine *atomic.Int64, n int64) {
	mine.Add(-n)
	s.taken.Add(-n)
}
