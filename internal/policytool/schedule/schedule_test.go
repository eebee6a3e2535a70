package schedule

import (
	"strings"
	"testing"
	"time"
)

// The expressions are those of EventBridge's documentation, and their kin.
func TestCronIsDueAsEventBridgeSays(t *testing.T) {
	const layout = "2006-01-02 15:04"
	for _, c := range []struct{ expression, after, want string }{
		{"cron(0 10 * * ? *)", "2026-11-02 10:00", "2026-11-03 10:00"},
		{"cron(15 12 * * ? *)", "2026-11-02 12:14", "2026-11-02 12:15"},
		{"cron(0 18 ? * MON-FRI *)", "2026-11-06 18:00", "2026-11-09 18:00"},
		{"cron(0 8 1 * ? *)", "2026-11-02 00:00", "2026-12-01 08:00"},
		{"cron(0/15 * * * ? *)", "2026-11-02 10:31", "2026-11-02 10:45"},
		{"cron(0/10 * ? * MON-FRI *)", "2026-11-06 23:55", "2026-11-09 00:00"},
		{"cron(0/5 8-17 ? * MON-FRI *)", "2026-11-02 17:55", "2026-11-03 08:00"},
		{"cron(0 9 ? * 2#1 *)", "2026-11-02 09:00", "2026-12-07 09:00"},
		{"cron(0 9 ? * 6L *)", "2026-11-01 00:00", "2026-11-27 09:00"},
		{"cron(0 9 ? * L *)", "2026-11-02 00:00", "2026-11-07 09:00"},
		{"cron(0 0 L * ? *)", "2027-02-01 00:00", "2027-02-28 00:00"},
		{"cron(0 0 15W * ? *)", "2026-11-02 00:00", "2026-11-16 00:00"},
		{"cron(0 0 1W * ? *)", "2026-07-31 12:00", "2026-08-03 00:00"},
		{"cron(0 0 31W * ? *)", "2027-01-02 00:00", "2027-01-29 00:00"},
		{"cron(30 4 1,15 JAN,jul ? *)", "2026-11-02 00:00", "2027-01-01 04:30"},
		{"cron(0 0 29 2 ? *)", "2026-11-02 00:00", "2028-02-29 00:00"},
		{"cron(0 12 * * ? 2030-2031)", "2026-11-02 00:00", "2030-01-01 12:00"},
		{"cron(0 12 * * ? 2028)", "2026-11-02 00:00", "2028-01-01 12:00"},
		{"cron(0 12 30 2 ? *)", "2026-11-02 00:00", ""},
	} {
		s, err := Parse(c.expression)
		if err != nil {
			t.Errorf("%s: %v", c.expression, err)
			continue
		}
		after, err := time.Parse(layout, c.after)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if at, ok := s.Next(after); ok {
			got = at.Format(layout)
		}
		if got != c.want {
			t.Errorf("%s after %s is due %q, want %q", c.expression, c.after, got, c.want)
		}
	}
}

func TestWhatIsNoScheduleIsAnError(t *testing.T) {
	for _, text := range []string{
		"", "cron", "cron()", "cron(* * * * * *)", "cron(0 0 ? * ? *)", "cron(60 0 * * ? *)", "cron(0 24 * * ? *)", "cron(0 0 0 * ? *)", "cron(0 0 32W * ? *)",
		"cron(0 0 * 13 ? *)", "cron(0 0 ? * 8 *)", "cron(0 0 ? * 2#6 *)", "cron(0 0 * * ? 1969)", "cron(5-1 0 * * ? *)", "cron(0/0 0 * * ? *)", "cron(0 0 * * ?)",
		"rate(0 days)", "rate(1 days)", "rate(2 day)", "rate(1 week)", "rate(-1 days)", "at(2026-01-01T00:00:00)", "0 3 * * *",
	} {
		if s, err := Parse(text); err == nil {
			t.Errorf("%q is read as %v", text, s)
		}
	}
}

func TestRateHasAPeriod(t *testing.T) {
	for text, want := range map[string]time.Duration{"rate(1 minute)": time.Minute, "rate(12 hours)": 12 * time.Hour, "rate(7 days)": 7 * 24 * time.Hour} {
		if s, err := Parse(text); err != nil || s.Every() != want {
			t.Errorf("%s: %v, %v", text, s.Every(), err)
		}
	}
}

func TestListHasASchedulePerLine(t *testing.T) {
	got, err := ReadList(strings.NewReader("# jobs\n\nnightly cron(0 3 * * ? *) # each night\nnightly  rate(1 day)\nmonthly cron(0 9 ? * 2#1 *)\n"), "jobs.txt")
	if err != nil || len(got) != 2 || len(got["nightly"]) != 2 || got["monthly"][0].String() != "cron(0 9 ? * 2#1 *)" {
		t.Errorf("%v, %v", got, err)
	}
	for text, want := range map[string]string{"a rate(1 day)\nb\n": "jobs.txt:2: ", "a rate(1 days)\n": "jobs.txt:1: "} {
		if _, err := ReadList(strings.NewReader(text), "jobs.txt"); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
