// Package schedule reads schedules as Amazon EventBridge writes them, and says when they
// are due.
//
// What it does: cron(minutes hours day-of-month month day-of-week year) and rate(N unit), in
// UTC, with the signs that EventBridge knows: , - * / ? L W #.
//
// What it does not do: it knows no time zones, no at(…), and nothing of when a rate began.
//
//	s, err := schedule.Parse("cron(0 3 1 * ? *)")
//	at, ok := s.Next(time.Now())
package schedule

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Schedule is one schedule. The zero Schedule is never due.
type Schedule struct {
	text  string
	every time.Duration // of a rate; 0: a cron expression
	cron  *cron
}

// String returns the expression as it was written.
func (s Schedule) String() string { return s.text }

// Every returns the period of a rate, 0 for a cron expression.
func (s Schedule) Every() time.Duration { return s.every }

// form is what all expressions look like.
var form = regexp.MustCompile(`^(cron|rate)\(([^()]*)\)$`)

// units are those of a rate.
var units = map[string]time.Duration{"minute": time.Minute, "hour": time.Hour, "day": 24 * time.Hour}

// Parse reads an expression. Its errors say what would be right.
func Parse(text string) (Schedule, error) {
	m := form.FindStringSubmatch(text)
	if m == nil {
		return Schedule{}, fmt.Errorf("%q is no schedule; write cron(0 3 * * ? *) or rate(1 day)", text)
	}
	fields := strings.Fields(m[2])
	if m[1] == "cron" {
		c, err := parseCron(fields)
		if err != nil {
			return Schedule{}, fmt.Errorf("%q: %w", text, err)
		}
		return Schedule{text: text, cron: c}, nil
	}
	if len(fields) != 2 {
		return Schedule{}, fmt.Errorf("%q: a rate is a number and a unit, such as rate(1 day)", text)
	}
	n, err := strconv.ParseUint(fields[0], 10, 16)
	unit := units[strings.TrimSuffix(fields[1], "s")]
	if err != nil || n == 0 || unit == 0 || (n == 1) == strings.HasSuffix(fields[1], "s") {
		return Schedule{}, fmt.Errorf("%q: a rate is a number and a unit, such as rate(1 day) or rate(5 minutes)", text)
	}
	return Schedule{text: text, every: time.Duration(n) * unit}, nil
}

// horizon is how far ahead Next looks: a 29th of February may be eight years away.
const horizon = 9 * 366

// Next returns when a cron expression is due after an instant. False: not within nine years,
// or it is a rate.
func (s Schedule) Next(after time.Time) (time.Time, bool) {
	if s.cron == nil {
		return time.Time{}, false
	}
	at := after.UTC().Truncate(time.Minute).Add(time.Minute)
	day := time.Date(at.Year(), at.Month(), at.Day(), 0, 0, 0, 0, time.UTC)
	for range horizon {
		if s.cron.hasDay(day) {
			for m := range 24 * 60 {
				if s.cron.hours.has(m/60) && s.cron.minutes.has(m%60) {
					if due := day.Add(time.Duration(m) * time.Minute); !due.Before(at) {
						return due, true
					}
				}
			}
		}
		day = day.AddDate(0, 0, 1)
	}
	return time.Time{}, false
}

// List is the schedules of functions by name.
type List map[string][]Schedule

// ReadFile reads a list from a file.
func ReadFile(path string) (List, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the schedules: %w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	return ReadList(f, path)
}

// ReadList reads a name and an expression from each line. "#" begins a comment. An error
// names the line.
func ReadList(r io.Reader, file string) (List, error) {
	all := List{}
	lines := bufio.NewScanner(r)
	for number := 1; lines.Scan(); number++ {
		text, _, _ := strings.Cut(" "+lines.Text(), " #") // cron has # too, behind a figure
		name, expression, ok := strings.Cut(strings.TrimSpace(text), " ")
		switch {
		case name == "":
			continue
		case !ok:
			return nil, fmt.Errorf("%s:%d: %q has no schedule; write a name and an expression, such as nightly-report cron(0 3 * * ? *)", file, number, name)
		}
		s, err := Parse(strings.TrimSpace(expression))
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, number, err)
		}
		all[name] = append(all[name], s)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading the schedules: %w", err)
	}
	return all, nil
}
