package schedule

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// cron is a cron expression of EventBridge.
type cron struct {
	minutes, hours, months, days, weekdays bits // of weekdays Sunday is 1
	years                                  []bool
	anyDay, anyWeekday                     bool // the field is "?"
	last                                   bool // L: the last day of the month
	near                                   []int
	lastOf                                 int    // 5L: the last Thursday of the month; 0: none
	nth                                    [2]int // 6#3: the third Friday; zero: none
}

// bits is a set of small numbers.
type bits uint64

func (b bits) has(n int) bool { return b&(1<<n) != 0 }

// The years that a schedule may have.
const firstYear, lastYear = 1970, 2199

var (
	months   = []string{"", "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"}
	weekdays = []string{"", "SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"}
)

// parseCron reads the six fields.
func parseCron(f []string) (*cron, error) {
	if len(f) != 6 {
		return nil, fmt.Errorf("it has %d fields, not six: minutes, hours, day of month, month, day of week, year", len(f))
	}
	c := &cron{anyDay: f[2] == "?", anyWeekday: f[4] == "?"}
	if c.anyDay == c.anyWeekday {
		return nil, errors.New(`one of day of month and day of week is "?", and the other one is not`)
	}
	var years []bool
	err := errors.Join(
		parseBits(&c.minutes, "minutes", f[0], 0, 59, nil), parseBits(&c.hours, "hours", f[1], 0, 23, nil),
		c.parseDays(f[2]), parseBits(&c.months, "month", f[3], 1, 12, months), c.parseWeekdays(f[4]),
		each("year", f[5], firstYear, lastYear, nil, func(n int) {
			if years == nil {
				years = make([]bool, lastYear-firstYear+1)
			}
			years[n-firstYear] = true
		}))
	c.years = years
	return c, err
}

// parseDays reads the days of the month.
func (c *cron) parseDays(field string) error {
	switch near, isNear := strings.CutSuffix(field, "W"); {
	case c.anyDay:
		return nil
	case field == "L":
		c.last = true
		return nil
	case isNear:
		n, err := number("day of month", near, 1, 31, nil)
		c.near = []int{n}
		return err
	default:
		return parseBits(&c.days, "day of month", field, 1, 31, nil)
	}
}

// parseWeekdays reads the days of the week.
func (c *cron) parseWeekdays(field string) (err error) {
	day, of, isNth := strings.Cut(field, "#")
	last, isLast := strings.CutSuffix(field, "L")
	switch {
	case c.anyWeekday:
		return nil
	case field == "L":
		c.weekdays = 1 << 7 // Saturday
		return nil
	case isNth:
		if c.nth[0], err = number("day of week", day, 1, 7, weekdays); err == nil {
			c.nth[1], err = number("day of week", of, 1, 5, nil)
		}
		return err
	case isLast:
		c.lastOf, err = number("day of week", last, 1, 7, weekdays)
		return err
	default:
		return parseBits(&c.weekdays, "day of week", field, 1, 7, weekdays)
	}
}

// parseBits reads a field into a set.
func parseBits(to *bits, what, field string, low, high int, names []string) error {
	return each(what, field, low, high, names, func(n int) { *to |= 1 << n })
}

// each calls add for each number of a field: a list of numbers, ranges and steps.
func each(what, field string, low, high int, names []string, add func(int)) error {
	for part := range strings.SplitSeq(field, ",") {
		span, by, hasStep := strings.Cut(part, "/")
		step := 1
		if hasStep {
			var err error
			if step, err = number(what, by, 1, high, nil); err != nil {
				return err
			}
		}
		from, to := low, high
		if span != "*" {
			first, last, isRange := strings.Cut(span, "-")
			var err error
			if from, err = number(what, first, low, high, names); err != nil {
				return err
			}
			switch {
			case isRange:
				if to, err = number(what, last, from, high, names); err != nil {
					return err
				}
			case !hasStep:
				to = from
			}
		}
		for n := from; n <= to; n += step {
			add(n)
		}
	}
	return nil
}

// number reads a number or a name.
func number(what, text string, low, high int, names []string) (int, error) {
	for i, name := range names {
		if name != "" && strings.EqualFold(text, name) && i >= low {
			return i, nil
		}
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < low || n > high {
		return 0, fmt.Errorf("%s: %q is not one of %d to %d", what, text, low, high)
	}
	return n, nil
}

// hasDay reports whether the expression is due on a day.
func (c *cron) hasDay(day time.Time) bool {
	y := day.Year()
	if y < firstYear || y > lastYear || !c.years[y-firstYear] || !c.months.has(int(day.Month())) {
		return false
	}
	end := day.AddDate(0, 1, -day.Day()).Day() // of the month
	if c.anyDay {
		return c.hasWeekday(day, end)
	}
	return c.days.has(day.Day()) || c.last && day.Day() == end || len(c.near) > 0 && day.Day() == nearest(day, c.near[0], end)
}

// hasWeekday reports whether the day of the week is one of the expression, in a month of so
// many days.
func (c *cron) hasWeekday(day time.Time, end int) bool {
	weekday := int(day.Weekday()) + 1
	return c.weekdays.has(weekday) || c.lastOf == weekday && day.Day()+7 > end ||
		c.nth[0] == weekday && (day.Day()-1)/7+1 == c.nth[1]
}

// nearest returns the working day of the month that is nearest to a day of it, 0 where the
// month has no such day.
func nearest(month time.Time, day, end int) int {
	if day > end {
		return 0
	}
	switch month.AddDate(0, 0, day-month.Day()).Weekday() {
	case time.Saturday:
		if day == 1 {
			return 3
		}
		return day - 1
	case time.Sunday:
		if day == end {
			return day - 2
		}
		return day + 1
	default:
		return day
	}
}
