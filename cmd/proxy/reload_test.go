package main

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
)

// only is a policy that lets "billing" reach one name and nothing else.
func only(host string) string {
	return head + `functions:
  billing:
    identify: {${token_billing}}
    allow:
      - {host: ` + host + `, ports: [${echo}], tls: any, addresses: [127.0.0.0/8]}
`
}

// broken has three mistakes.
const broken = `version: 1
functions:
  billing:
    identify: {sources: [10.0.1.0/33]}
    alow: []
    mode: maybe
`

// newEchoWorld is a world with an origin at ${echo} that two names lead to.
func newEchoWorld(t testing.TB) *world {
	t.Helper()
	w := newWorld(t)
	w.vars["echo"] = port(w.listen(echo))
	w.names.set("before.test", "127.0.0.1")
	w.names.set("after.test", "127.0.0.1")
	return w
}

// allows reports whether the policy in force lets billing reach the host.
func (p *running) allows(host string) bool {
	p.t.Helper()
	r := p.connect("billing", host+":"+p.world.vars["echo"])
	if r.conn != nil {
		_ = r.conn.Close()
	}
	return r.StatusCode == http.StatusOK
}

func TestEveryWayToChangeTheFileReloadsIt(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	const newNames = "# one a line\nafter.test\n"
	setPolicy := strings.Replace(only("before.test"), "host: before.test", "set: names", 1)
	setPolicy = strings.Replace(setPolicy, ", addresses: [127.0.0.0/8]", "", 1)
	setPolicy = strings.Replace(setPolicy, "functions:", "sets: {names: {file: names.txt}}\nfunctions:", 1)
	// before lays the files out and returns the policy's path; change changes them.
	ways := map[string]struct {
		before func(dir string) string
		change func(dir string)
	}{
		"a write in place": {
			before: func(dir string) string { w.write(dir+"/egress.yaml", only("before.test")); return dir + "/egress.yaml" },
			change: func(dir string) {
				w.must(os.WriteFile(dir+"/egress.yaml", []byte(w.fill(only("after.test"))), 0o600))
			},
		},
		"a rename over it": {
			before: func(dir string) string { w.write(dir+"/egress.yaml", only("before.test")); return dir + "/egress.yaml" },
			change: func(dir string) { w.write(dir+"/egress.yaml", only("after.test")) },
		},
		"a swapped link to its folder, as Kubernetes does": {
			before: func(dir string) string {
				w.must(os.MkdirAll(dir+"/1", 0o700))
				w.must(os.MkdirAll(dir+"/2", 0o700))
				w.write(dir+"/1/egress.yaml", only("before.test"))
				w.write(dir+"/2/egress.yaml", only("after.test"))
				w.must(os.Symlink("1", dir+"/current"))
				return dir + "/current/egress.yaml"
			},
			change: func(dir string) {
				w.must(os.Symlink("2", dir+"/next"))
				w.must(os.Rename(dir+"/next", dir+"/current"))
			},
		},
		"a truncation and a write in pieces": {
			before: func(dir string) string { w.write(dir+"/egress.yaml", only("before.test")); return dir + "/egress.yaml" },
			change: func(dir string) {
				f, err := os.Create(dir + "/egress.yaml")
				w.must(err)
				defer f.Close()
				for line := range strings.Lines(w.fill(only("after.test"))) {
					_, err := f.WriteString(line)
					w.must(err)
				}
			},
		},
	}
	wait := map[string]func(){}
	for name, way := range ways {
		dir := t.TempDir()
		p := w.startFile(dir, []string{"run", "--config", way.before(dir)})
		if !p.allows("before.test") || p.allows("after.test") {
			t.Fatalf("%s: the first file is not in force", name)
		}
		was := p.one("started").Policy
		began := time.Now()
		way.change(dir)
		// Half a file that rests for as long as the polls are apart is read, and
		// rightly: this machine may write as slowly.
		if time.Since(began) >= time.Second {
			wait[name] = func() {
				w.eventually(name+" is noticed", func() bool { return p.allows("after.test") && !p.allows("before.test") })
			}
			continue
		}
		wait[name] = func() {
			w.eventually(name+" is noticed", func() bool { return len(p.of("reloaded")) > 0 })
			if p.allows("before.test") || !p.allows("after.test") {
				t.Errorf("%s: the second file is not in force", name)
			}
			now := p.of("reloaded")[0]
			if now.Policy == was || now.Was != was || !strings.HasPrefix(now.Detail, "was "+was) {
				t.Errorf("%s: the record says policy %s, %q; before it was %s", name, now.Policy, now.Detail, was)
			}
			if n := len(p.of("reload_failed")); n != 0 {
				t.Errorf("%s: a file was loaded that nobody had finished writing", name)
			}
		}
	}
	dir := t.TempDir()
	w.must(os.WriteFile(dir+"/names.txt", []byte("before.test\n"), 0o600))
	w.write(dir+"/egress.yaml", setPolicy)
	p := w.startFile(dir, []string{"run", "--config", dir + "/egress.yaml"})
	w.write(dir+"/names.txt", newNames)
	wait["a change of a file that it names"] = func() {
		w.eventually("a change of a set's file is noticed", func() bool { return len(p.of("reloaded")) > 0 })
		if r := p.connect("billing", "after.test:"+w.vars["echo"]); r.reason() != "address_not_allowed" {
			t.Errorf("a name that the set's file has now: %s", r.Status)
		}
		if r := p.connect("billing", "before.test:"+w.vars["echo"]); r.reason() != "host_not_allowed" {
			t.Errorf("a name that the set's file no longer has: %s", r.Status)
		}
	}
	for _, way := range wait {
		way()
	}
}

func TestBadFileLeavesTheOldPolicyInForceAndSaysWhy(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	p := w.start(only("before.test"))
	first := p.one("started").Policy
	const gauge = "egress_config_last_reload_successful"
	if got := p.metric(gauge); got != "1" {
		t.Fatalf("%s is %s at the start", gauge, got)
	}
	for i, bad := range []struct{ name, text, line string }{
		{"with mistakes", broken, "functions.billing.alow: no such key; did you mean \"allow\"?"},
		{"empty", "", "egress.yaml:1: file: "},
		{"that is gone", "-", "no such file"},
	} {
		if bad.text == "-" {
			w.must(os.Remove(p.config))
		} else {
			w.write(p.config, bad.text)
		}
		p.signal(syscall.SIGHUP)
		w.eventually("a file "+bad.name+" is recorded", func() bool {
			failed := p.of("reload_failed")
			return len(failed) > i && strings.Contains(failed[len(failed)-1].Detail, bad.line)
		})
		failed := p.of("reload_failed")
		if last := failed[len(failed)-1]; last.Policy != first {
			t.Errorf("a file %s: the record has policy %s, in force is %s", bad.name, last.Policy, first)
		}
		if got := p.metric(gauge); got != "0" {
			t.Errorf("a file %s: %s is %s, want 0", bad.name, gauge, got)
		}
		if code, _ := p.get("/readyz"); code != http.StatusOK {
			t.Errorf("a file %s: /readyz says %d", bad.name, code)
		}
		if !p.allows("before.test") || p.allows("after.test") {
			t.Errorf("a file %s: the old policy is not in force", bad.name)
		}
	}
	// Every mistake of a file is in the record, one a line, and in the log.
	for _, want := range []string{":4: functions.billing.identify.sources[0]: ", ":5: functions.billing.alow: ", ":6: functions.billing.mode: "} {
		if !strings.Contains(p.of("reload_failed")[0].Detail, want) {
			t.Errorf("the record does not have %q: %s", want, p.of("reload_failed")[0].Detail)
		}
		if !strings.Contains(p.read(p.stderr), want) {
			t.Errorf("the log does not have %q", want)
		}
	}

	w.write(p.config, only("after.test"))
	p.signal(syscall.SIGHUP)
	w.eventually("the good file is in force", func() bool { return len(p.of("reloaded")) > 0 })
	if !p.allows("after.test") || p.allows("before.test") || p.metric(gauge) != "1" {
		t.Errorf("after a good file: %s is %s", gauge, p.metric(gauge))
	}
}

func TestTunnelsOfARemovedRuleEndAsRevoked(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	both := only("before.test") + "      - {host: after.test, ports: [${echo}], tls: any, addresses: [127.0.0.0/8]}\n"
	p := w.start(both)
	goes := p.connect("billing", "before.test:"+w.vars["echo"])
	stays := p.connect("billing", "after.test:"+w.vars["echo"])
	goes.carries(t)
	stays.carries(t)

	w.write(p.config, only("after.test"))
	p.signal(syscall.SIGHUP)
	goes.ends(t)
	w.eventually("the end is recorded", func() bool { return len(p.of("closed")) == 1 })
	if closed := p.one("closed"); closed.Host != "before.test" || closed.Ended != "revoked" || closed.BytesUp != 64 {
		t.Errorf("the record of the end: %+v", closed)
	}
	stays.carries(t)
}

func TestRotatedTokenHoldsUntilItIsRemoved(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	rotation := func(tokens string) string {
		return strings.Replace(only("before.test"), "${token_billing}", tokens, 1)
	}
	w.vars["old"] = sum([]byte(secretPrefix + "billing"))
	w.vars["new"] = sum([]byte("another"))
	p := w.start(rotation(`tokens: ["sha256:${old}"]`))
	target := "before.test:" + w.vars["echo"]
	for _, step := range []struct {
		tokens string
		status int
	}{
		{`tokens: ["sha256:${old}", "sha256:${new}"]`, http.StatusOK},
		{`tokens: ["sha256:${new}"]`, http.StatusProxyAuthRequired},
	} {
		p.reloadWith(rotation(step.tokens))
		if r := p.connect("billing", target); r.StatusCode != step.status {
			t.Errorf("with %s the old token gets %s", step.tokens, r.Status)
		}
	}
}

func TestReloadUnderLoadNeitherDropsNorMisjudgesARequest(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	p := w.start(only("before.test"))
	stop := make(chan struct{})
	var reloading sync.WaitGroup
	reloading.Go(func() { p.alternate(stop) })

	const workers, perSecond = 16, 1000
	length := loadTime(t)
	var sent, failed atomic.Int64
	answers := make([][]reply, workers)
	var load sync.WaitGroup
	ticks := time.NewTicker(time.Second * workers / perSecond)
	defer ticks.Stop()
	beats := make(chan struct{}, workers)
	for i := range workers {
		load.Go(func() {
			for range beats {
				host := []string{"before.test", "after.test"}[sent.Add(1)%2]
				r, err := p.tryConnect("billing", host+":"+w.vars["echo"])
				if err != nil {
					failed.Add(1)
					t.Errorf("a request was dropped: %v", err)
					continue
				}
				if r.conn != nil {
					_ = r.conn.Close()
				}
				answers[i] = append(answers[i], r)
			}
		})
	}
	// On a machine that is busy with other things it goes on until enough has
	// happened to tell.
	enough := func() bool { return sent.Load() >= 500 && len(p.of("reloaded")) >= 6 && len(p.decisionsSeen()) == 4 }
	end := time.Now().Add(length)
	for limit := end.Add(2 * patience); time.Now().Before(end) || !enough() && time.Now().Before(limit); <-ticks.C {
		for range workers {
			beats <- struct{}{}
		}
	}
	close(beats)
	load.Wait()
	close(stop)
	reloading.Wait()
	t.Logf("%d requests in %v, %d reloads", sent.Load(), length, len(p.of("reloaded")))
	p.everyAnswerFits(slices.Concat(answers...))
}

// decisionsSeen returns which decisions stand in the records, by policy and event.
func (p *running) decisionsSeen() map[string]int {
	p.t.Helper()
	seen := map[string]int{}
	for _, r := range p.records() {
		if r.Event == "opened" || r.Event == "refused" {
			seen[r.Policy+" "+r.Event]++
		}
	}
	return seen
}

// loadTime is how long a test under load runs.
func loadTime(t testing.TB) time.Duration {
	t.Helper()
	if testing.Short() {
		return 500 * time.Millisecond
	}
	return 3 * time.Second
}

// alternate puts one file and the other in force by turns until stop.
func (p *running) alternate(stop <-chan struct{}) {
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		case <-time.After(20 * time.Millisecond):
		}
		p.world.write(p.config, only([]string{"after.test", "before.test"}[n%2]))
		p.signal(syscall.SIGHUP)
	}
}

// everyAnswerFits checks each answer against the record of its request, and
// the record against the file that its policy hash names.
func (p *running) everyAnswerFits(answers []reply) {
	p.t.Helper()
	allowed := map[string]string{} // policy hash → the one host that it lets through
	for _, host := range []string{"before.test", "after.test"} {
		path := filepath.Join(p.t.TempDir(), "egress.yaml")
		p.world.write(path, only(host))
		cfg, err := config.Load(path)
		p.world.must(err)
		allowed[cfg.Hash()] = host
	}
	decided := map[string][]record{} // by the client's address, which can come again
	for _, r := range p.records() {
		if r.Event != "opened" && r.Event != "refused" {
			continue
		}
		if allowed[r.Policy] == "" || (allowed[r.Policy] == r.Host) != (r.Event == "opened") {
			p.t.Fatalf("a decision that no file makes; it lets %q through: %+v", allowed[r.Policy], r)
		}
		decided[r.Client] = append(decided[r.Client], r)
	}
	for _, a := range answers {
		i := slices.IndexFunc(decided[a.from], func(r record) bool {
			if a.StatusCode == http.StatusOK {
				return r.Event == "opened"
			}
			return r.ID == a.Header.Get("X-Egress-Request-Id") && r.Reason == a.reason() && r.Reason == "host_not_allowed"
		})
		if i < 0 {
			p.t.Fatalf("%s got %s; the records of it: %+v", a.from, a.Status, decided[a.from])
		}
		decided[a.from] = slices.Delete(decided[a.from], i, i+1)
	}
	for from, left := range decided {
		if len(left) > 0 {
			p.t.Errorf("%s has records of decisions that it got no answer for: %+v", from, left)
		}
	}
	if seen := p.decisionsSeen(); len(seen) != 4 {
		p.t.Errorf("not both answers of both files were seen: %v", seen)
	}
}
