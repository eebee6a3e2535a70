package main

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
)

// A reload says what it took away and from whom, a bad one what stays; whatever reads
// records reads these.
func TestReloadIsRecordedWithWhatItTookAwayAndABadOneWithWhatStays(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	var many strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&many, "  f%04d:\n    identify: {sources: [10.1.%d.%d/32]}\n    allow: [a.test, b.test]\n", i, i>>8, i&255)
	}
	before := only("before.test") + many.String()
	p := w.start(before)
	first := p.one("started")
	after := strings.Replace(strings.ReplaceAll(only("after.test")+many.String(), "[a.test, b.test]", "[a.test]"), "[a.test]", "[a.test, b.test, c.test, d.test]", 1)
	w.write(p.config, after)
	p.signal(syscall.SIGHUP)
	w.eventually("it is recorded", func() bool { return len(p.of("reloaded")) == 1 })
	now := p.one("reloaded")
	if now.Was != first.Policy || now.Policy == first.Policy || now.Functions != 3001 {
		t.Errorf("it was %s, is %s with %d functions", now.Was, now.Policy, now.Functions)
	}
	// 2,999 have lost one, one has gained two, billing has another host.
	if now.Gained != 3 || now.Lost != 3000 || len(now.Changes) != 64 || now.ChangesMore != 3001-64 {
		t.Errorf("%d gained, %d lost, %d functions and %d more", now.Gained, now.Lost, len(now.Changes), now.ChangesMore)
	}
	if c := now.Changes[0]; c.Function != "billing" || c.Gained != 1 || c.Lost != 1 {
		t.Errorf("the first is %+v", c)
	}
	if c := now.Changes[1]; c.Gained != 0 || c.Lost != 1 {
		t.Errorf("the second is %+v", c)
	}
	w.write(p.config, broken)
	p.signal(syscall.SIGHUP)
	w.eventually("the bad one is recorded", func() bool { return len(p.of("reload_failed")) == 1 })
	if bad := p.one("reload_failed"); bad.Policy != now.Policy || bad.Functions != 3001 || bad.Rules != now.Rules {
		t.Errorf("what stays is %s with %d functions and %d rules, want %s, 3001, %d", bad.Policy, bad.Functions, bad.Rules, now.Policy, now.Rules)
	}
	p.signal(syscall.SIGTERM)
	p.wait()
	for _, args := range [][]string{{"verify", "--strict"}, {"export", "--format", "ocsf", "--output", t.TempDir() + "/events"}, {"report"}} {
		var out, errs strings.Builder
		code := execute(t.Context(), append(args, p.stdout), &out, &errs)
		if code != exitOK || args[0] == "report" && !strings.Contains(out.String(), "3001 functions differ, by 3 rules gained and 3000 lost") {
			t.Errorf("%s: exit code %d, %s%.2000s", args[0], code, errs.String(), out.String())
		}
	}
}
