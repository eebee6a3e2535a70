package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// team is the file of a team by which billing may reach that host.
func team(host string) string { return strings.TrimPrefix(only(host), head) }

// startTeams starts the program by a policy that includes teams/billing.yaml, with what may
// gives it, and returns the path of that file.
func (w *world) startTeams(may string) (p *running, file string) {
	w.t.Helper()
	dir := w.t.TempDir()
	file = filepath.Join(dir, teamFile)
	w.must(os.MkdirAll(filepath.Dir(file), 0o700))
	w.write(filepath.Join(dir, "egress.yaml"), head+"include:\n  - {file: "+teamFile+", functions: [billing], owner: payments, may: "+may+"}\n")
	w.write(file, team("before.test"))
	return w.startFile(dir, []string{"run", "--config", filepath.Join(dir, "egress.yaml")}), file
}

// A change of a team's file alone is a reload, without a signal, and records say the file.
func TestChangeOfATeamsFileIsAReloadAndRecordsSayTheFile(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	p, file := w.startTeams("{ports: [1-65535], tls_any: true, addresses: true, plain_http: true}")
	p.becomes("the first file is in force", "before.test", "after.test")
	first := p.one("started")
	w.write(file, team("after.test"))
	p.becomes("the team's change is in force", "after.test", "before.test")
	w.eventually("it is recorded", func() bool { return len(p.of("reloaded")) == 1 }) // in its own time
	now := p.one("reloaded")
	if now.Was != first.Policy || now.Policy == first.Policy || now.Gained != 1 || now.Lost != 1 {
		t.Errorf("the record of the reload is %+v, behind the policy %s", now, first.Policy)
	}
	opened := p.of("opened")
	if len(opened) == 0 {
		t.Fatal("nothing was opened")
	}
	for _, r := range opened {
		if r.File != teamFile || r.Owner != "payments" || r.Rule != "functions.billing.allow[0]" {
			t.Errorf("%s by %q of %q, %q", r.Host, r.Rule, r.File, r.Owner)
		}
	}
	if last := opened[len(opened)-1]; last.Host != "after.test" || last.Policy != now.Policy {
		t.Errorf("the last is %s by %s", last.Host, last.Policy)
	}
}

// What a team writes beyond its bounds changes nothing for anybody, and log and record say
// in which line it stands and what withholds it.
func TestATeamsFileThatOverstepsItsBoundsLeavesTheLastGoodPolicyInForce(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	p, file := w.startTeams("{ports: [1-65535], tls_any: true, addresses: true, plain_http: true}")
	p.becomes("the first file is in force", "before.test", "after.test")
	first := p.one("started")
	w.write(file, strings.Replace(team("after.test"), "host: after.test", "host: '*.test'", 1))
	w.eventually("it is recorded", func() bool { return len(p.of("reload_failed")) > 0 })
	const want = teamFile + ":5: functions.billing.allow[0].host: may.wildcards of "
	if r := p.of("reload_failed")[0]; r.Policy != first.Policy || !strings.Contains(r.Detail, want) || !strings.Contains(r.Detail, "egress.yaml:") {
		t.Errorf("the record says %+v", r)
	}
	if log := p.read(p.stderr); !strings.Contains(log, "reloading failed, the old policy stays") || !strings.Contains(log, want) {
		t.Errorf("the log is %s", log)
	}
	if !p.allows("before.test") || p.allows("after.test") || p.metric(gaugeOfReloads) != "0" {
		t.Errorf("the old policy is not in force, or %s is %s", gaugeOfReloads, p.metric(gaugeOfReloads))
	}
	w.write(file, team("after.test"))
	p.becomes("what is within its bounds is in force", "after.test", "before.test")
}
