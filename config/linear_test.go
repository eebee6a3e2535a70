package config

import (
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"testing"
	"time"
)

// many returns at least n bytes of numbered items.
func many(n int, format string) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// fill returns n bytes, or a few fewer, of one text.
func fill(n int, text string) string { return strings.Repeat(text, n/len(text)) }

// allow is a policy with a function whose rules these are, behind other keys.
func allow(keys, rules string) string {
	return "version: 1\n" + keys + "functions: {f: {identify: {sources: [10.0.0.0/8]}, allow: [" + rules + "]}}\n"
}

// shapes are files of about n bytes that took, or might take, more than time in
// proportion to n.
var shapes = map[string]func(n int) string{
	"one long scalar":        func(n int) string { return "version: " + fill(n, "1") },
	"one long quoted scalar": func(n int) string { return "version: \"" + fill(n, "x") + "\"" },
	"one long key":           func(n int) string { return "? " + fill(n, "k") + "\n: 1\n" },
	"mistakes below a long key": func(n int) string {
		return "functions:\n  ? " + fill(n/2, "k") + "\n  : {" + many(n/2, "x%d: 1,") + "}\n"
	},
	"unknown sets of many": func(n int) string {
		return allow("sets: {"+many(n/2, "s%d: [a.test],")+"}\n", many(n/2, "{set: z%d},"))
	},
	"directives":                func(n int) string { return many(n, "%%TAG !a%d! x\n") + "---\nversion: 1\n" },
	"directives behind the end": func(n int) string { return "version: 1\n...\n" + many(n, "%%TAG !a%d! x\n") + "---\nversion: 1\n" },
	"documents":                 func(n int) string { return fill(n, "---\na\n") },
	"one host again and again":  func(n int) string { return allow("", fill(n, "a.test,")) },
	"one wildcard again":        func(n int) string { return allow("", fill(n, "'*.a.test',")) },
	"one set again and again":   func(n int) string { return allow("sets: {s: ["+many(n/2, "a%d.test,")+"]}\n", fill(n/2, "{set: s},")) },
	"hosts":                     func(n int) string { return allow("", many(n, "a%d.test,")) },
	"functions": func(n int) string {
		return "version: 1\nfunctions:\n" + many(n, "  f%d: {identify: {sources: [10.0.0.0/8]}, allow: []}\n")
	},
	"nesting": func(n int) string { return "version: " + fill(n, "[") },
	"nesting within the limit": func(n int) string {
		return "version: [" + fill(n, strings.Repeat("[", 999)+strings.Repeat("]", 999)+",") + "]\n"
	},
	"anchors":                   func(n int) string { return "version: [" + many(n, "&a%d x,") + "]\n" },
	"anchors within anchors":    func(n int) string { return "version:\n- &a0 [x]\n" + many(n, "- &b%d [*a0]\n") },
	"comments":                  func(n int) string { return "deny:\n" + fill(n, "# x\n- a.test # y\n\n") },
	"lines, and then a mistake": func(n int) string { return fill(n, "\n") + "a: [\n" },
	"a list and then a mistake": func(n int) string { return fill(n, "a: 1\n") + " b: 1\n- c\n" },
	"one token again and again": func(n int) string {
		return "version: 1\nfunctions:\n" + many(n, "  f%d: {identify: {tokens: ['sha256:"+strings.Repeat("0", 64)+"']}, allow: []}\n")
	},
	"ports, and lists that have them": func(n int) string {
		return allow("", "{host: a.test, ports: &p ["+many(n/2, "%d,")+"]},"+many(20, "{host: b%d.test, ports: *p},"))
	},
}

// A file is loaded or refused in time in proportion to its size, whatever is in it. What
// is compared is the time for eight times as much, which is eight times as long, or a
// little more by the memory that it takes; what is quadratic takes sixty times as long.
func TestLoadingTakesTimeInProportionToTheSize(t *testing.T) {
	if testing.Short() {
		t.Skip("it compares times")
	}
	const times, most = 8, 28
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	for name, shape := range shapes {
		small := 32 << 10
		ratio := 0.0
		// A machine that is busy makes one look long; it does not for ten in a row.
		for range 10 {
			ratio = float64(loadTime(shape(times*small), 1)) / float64(loadTime(shape(small), 5))
			if ratio <= most {
				break
			}
		}
		if ratio > most {
			t.Errorf("%s: %d times as much takes %.0f times as long", name, times, ratio)
		}
	}
}

// loadTime returns the least time of a few loads.
func loadTime(text string, loads int) time.Duration {
	least := time.Hour
	for range loads {
		began := time.Now()
		if c, err := Parse("egress.yaml", []byte(text), nil); err == nil {
			_, _, _ = c.Compile()
		}
		least = min(least, time.Since(began))
	}
	return max(least, time.Millisecond) // less is the clock's and the collector's
}

// What a message repeats of a file is bounded, and so is what all of them do.
func TestNoMessageIsLong(t *testing.T) {
	t.Parallel()
	const n = 100_000
	texts := map[string]string{
		"a duration": "version: 1\nlimits: {idle_timeout: " + fill(n, "0") + "s}\n",
		"an alias":   "version: *" + fill(n, "a") + "\n",
		"a host":     allow("", "'"+fill(n, "x.")+"com'"),
		"a set":      allow("", "{set: '"+fill(n, "x")+"'}"),
	}
	for name, shape := range shapes {
		texts[name] = shape(n)
	}
	for name, text := range texts {
		_, err := Parse("egress.yaml", []byte(text), nil)
		var problems *Error
		if err == nil || !errors.As(err, &problems) {
			continue
		}
		for _, p := range problems.Problems {
			if len(p.String()) > 1000 {
				t.Errorf("%s: %d bytes: %.200s…", name, len(p.String()), p)
				break
			}
		}
	}
}

// The parser fails before it has read a first line that is long.
func TestMistakeInALongFirstLineHasItsLine(t *testing.T) {
	t.Parallel()
	_, err := Parse("egress.yaml", []byte("version: "+strings.Repeat("[", 100_000)), nil)
	if err == nil || !strings.HasPrefix(err.Error(), "egress.yaml:1: file: exceeded max depth") {
		t.Errorf("%v", err)
	}
}

func TestHostOfTooManyRulesIsNamed(t *testing.T) {
	t.Parallel()
	rules := strings.Repeat("a.test, b.test,\n", maxSameHost)
	if _, err := Parse("egress.yaml", []byte(allow("", rules)), nil); err != nil {
		t.Errorf("%d rules of two hosts each: %v", maxSameHost, err)
	}
	_, err := Parse("egress.yaml", []byte(allow("", rules+"b.test, b.test")), nil)
	want := fmt.Sprintf("egress.yaml:%d: functions.f.allow: \"b.test\" has more than %d rules; write fewer", 2+maxSameHost, maxSameHost)
	if err == nil || err.Error() != want {
		t.Errorf("one more: %v, want %s", err, want)
	}
}
