package traffic

import (
	"math/bits"
	"slices"
	"time"
)

// between is the pause that ends a run: a Lambda runs for 15 minutes at most.
const between = 15

// minutesOfDay is how many minutes a day has.
const minutesOfDay = 24 * 60

// day has a bit for each minute with a request.
type day [(minutesOfDay + 63) / 64]uint64

// Activity is when requests of a function were let through, by the minute.
type Activity struct{ minutes map[int64]*day } // by the day's number since 1970

// add takes the time of a request.
func (a *Activity) add(at time.Time) {
	minute := at.Unix() / 60
	on := a.minutes[minute/minutesOfDay]
	if on == nil {
		on = &day{}
		a.minutes[minute/minutesOfDay] = on
	}
	of := minute % minutesOfDay
	on[of/64] |= 1 << (of % 64)
}

// Days returns on how many days there was a request.
func (a *Activity) Days() int {
	if a == nil {
		return 0
	}
	return len(a.minutes)
}

// Runs returns how often the function ran, as far as requests can tell: a pause of a
// quarter of an hour ends a run.
func (a *Activity) Runs() (runs int) {
	if a == nil {
		return 0
	}
	days := make([]int64, 0, len(a.minutes))
	for n := range a.minutes {
		days = append(days, n)
	}
	slices.Sort(days)
	last := int64(-between)
	for _, n := range days {
		for i, word := range a.minutes[n] {
			for ; word != 0; word &= word - 1 {
				minute := n*minutesOfDay + int64(i*64+bits.TrailingZeros64(word))
				if minute-last >= between {
					runs++
				}
				last = minute
			}
		}
	}
	return runs
}

// Within reports whether there was a request from an instant on, for so long.
func (a *Activity) Within(from time.Time, long time.Duration) bool {
	if a == nil {
		return false
	}
	for at := from.Unix() / 60; at <= from.Add(long).Unix()/60; at++ {
		on := a.minutes[at/minutesOfDay]
		if of := at % minutesOfDay; on != nil && on[of/64]&(1<<(of%64)) != 0 {
			return true
		}
	}
	return false
}
