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
type acquisition uint8

const (
	overTotal acquisition = iota // there is too little in all
	overShare                    // whoever asked has too much of it already
	acquired
)

// init sets how much there is, and how much of it is for one where nobody else asks.
func (s *shares) init(total, share int64) { s.total, s.share = total, min(share, total) }

// acquire takes n for one who has mine.
func (s *shares) acquire(mine *atomic.Int64, n int64) acquisition {
	m, t := mine.Add(n), s.taken.Add(n)
	out := acquired
	switch {
	case t > s.total:
		out = overTotal
		if m > s.share {
			out = overShare
		}
	case m > n && !s.fits(m, t):
		out = overShare
	}
	if out != acquired {
		s.release(mine, n)
	}
	return out
}

// fits reports whether one may have m where t are taken. In floating point a limit that
// is none does not overflow.
func (s *shares) fits(m, t int64) bool {
	return float64(m)*float64(s.total-s.share) <= float64(s.share)*float64(s.total-t)
}

// release gives n back.
func (s *shares) release(mine *atomic.Int64, n int64) {
	mine.Add(-n)
	s.taken.Add(-n)
}
