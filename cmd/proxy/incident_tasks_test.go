package main

import (
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// service stands for ECS and its load balancer: it runs programs as tasks, all of one policy,
// opens a connection to each as the health check does, and says of them what AWS would.
type service struct {
	in     *incident
	config string
	broken bool       // the policy is
	tasks  []*running // the targets of the balancer
	down   map[*running]bool
	failed []string // the last line of each task that did not come up
}

// startService starts so many tasks and watches them, the first above all.
func (w *world) startService(tasks int) *service {
	w.t.Helper()
	s := &service{config: filepath.Join(w.t.TempDir(), "egress.yaml"), down: map[*running]bool{}}
	w.write(s.config, only("before.test"))
	first := w.startOneMore(s.config)
	s.in, s.tasks = watchIncident(first, first.stdout), []*running{first}
	s.in.scrape = func() string { return s.scrape(s.in.running) }
	s.in.others = func() (all []string) {
		for _, p := range s.tasks[min(1, len(s.tasks)):] {
			all = append(all, s.scrape(p))
		}
		return all
	}
	s.in.aws = s.observe
	s.scale(tasks)
	return s
}

// startOneMore starts a program of a policy file that is there.
func (w *world) startOneMore(config string) *running {
	w.t.Helper()
	return w.startFile(w.t.TempDir(), slices.Concat([]string{"run"}, emfFlags, []string{"--config", config}))
}

// scale starts or stops tasks until there are so many.
func (s *service) scale(tasks int) {
	for len(s.tasks) < tasks {
		s.tasks = append(s.tasks, s.in.world.startOneMore(s.config))
	}
	for len(s.tasks) > tasks {
		s.tasks[len(s.tasks)-1].finish()
		s.tasks = s.tasks[:len(s.tasks)-1]
	}
}

// kill ends a task as a machine that fails does. It is a target until it is replaced.
func (s *service) kill(p *running) {
	p.finished, s.down[p] = true, true // its records have no end
	_ = p.cmd.Process.Kill()
	<-p.exited
}

// replace takes the tasks that are down out, and starts others until there are so many. One
// that does not come up leaves what a task leaves: an exit code and its last line.
func (s *service) replace(tasks int) {
	s.in.t.Helper()
	s.tasks = slices.DeleteFunc(s.tasks, func(p *running) bool { return s.down[p] })
	if !s.broken {
		s.scale(tasks)
		return
	}
	out, err := exec.Command("proxy", "run", "--config", s.config).CombinedOutput()
	if exitCode(err) != exitFailed {
		s.in.t.Errorf("a task with a broken policy: %v", err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	s.failed = append(s.failed, lines[len(lines)-1])
}

// says checks what a task that did not come up has said last: where the policy is wrong.
func (s *service) says() {
	s.in.t.Helper()
	if len(s.failed) == 0 {
		s.in.t.Error("no task has tried to start")
	}
	for _, line := range s.failed {
		if !strings.HasPrefix(line, "{") || !strings.Contains(line, "functions.billing") {
			s.in.t.Errorf("a task that did not come up says %s", line)
		}
	}
}

// breaks puts a policy into the bucket that does not load, or one that does.
func (s *service) breaks(broken bool) {
	policy := only("before.test")
	if s.broken = broken; broken {
		policy = strings.Replace(policy, "allow:", "alow:", 1)
	}
	s.in.world.write(s.config, policy)
}

// scrape returns the scrape of a task, "" where it is down.
func (s *service) scrape(p *running) (text string) {
	if !s.down[p] {
		_, text = p.get("/metrics")
	}
	return text
}

// observe gives CloudWatch what the balancer says of its targets.
func (s *service) observe(at time.Time) {
	healthy := 0
	for _, p := range s.tasks {
		if c, err := net.Dial("tcp", p.proxy); err == nil {
			_ = c.Close()
			healthy++
		}
	}
	s.in.observe(at, healthy, len(s.tasks)-healthy, 20)
}

// A machine is gone with its task, and it takes a while until another one stands in its place.
func oneTaskLess(t *testing.T) {
	w := newEchoWorld(t)
	s := w.startService(3)
	s.in.minutes(2, s.in.calls)
	s.kill(s.tasks[2])
	s.in.minutes(3, s.in.calls)
	s.replace(3)
	s.in.minutes(4, s.in.calls)
	s.in.sets("UnhealthyTargets", 2, 5)
	s.in.page("UnhealthyTargets", "the last JSON line of its log")
}

// A task ends after the policy was broken, and none starts in its place.
func tooFewTasks(t *testing.T) {
	w := newEchoWorld(t)
	s := w.startService(2)
	s.in.minutes(2, s.in.calls)
	s.breaks(true)
	s.kill(s.tasks[1])
	for range 6 {
		s.replace(2)
		s.in.minutes(1, s.in.calls)
	}
	s.says()
	s.breaks(false)
	s.in.signalled("egress_config_last_reload_successful", "1")
	s.replace(2)
	s.in.minutes(5, s.in.calls)
	s.in.setsWithin("TooFewTasks", 2, 8, 4, 3)
	s.in.page("TooFewTasks", "a policy in the bucket that does not load", "the last JSON line of its log")
}

// All tasks end with a policy in the bucket that does not load. What Prometheus has of it is
// that nothing reports.
func noTask(t *testing.T) {
	w := newEchoWorld(t)
	s := w.startService(2)
	s.in.minutes(2, s.in.calls)
	for _, p := range s.tasks {
		s.kill(p)
	}
	s.breaks(true)
	s.in.stalled = true
	for range 4 {
		s.replace(2)
		s.in.minutes(1, func() {})
	}
	s.says()
	s.breaks(false)
	s.replace(2)
	s.in.running, s.in.stalled = s.tasks[0], false
	s.in.outputs[0] = &output{path: s.tasks[0].stdout}
	s.in.minutes(5, s.in.calls)
	s.in.setsInCloudWatch("NoTargets", 2, 6, 3)
	s.in.setsInPrometheus("NothingReports", 2, 6, 1)
	s.in.page("NoTargets", "a policy in the bucket that does not load")
}

// The service has scaled as far as it may, and stays there.
func allTasks(t *testing.T) {
	w := newEchoWorld(t)
	s := w.startService(2)
	s.in.calm = true
	s.in.minutes(2, s.in.calls)
	s.scale(8)
	s.in.minutes(19, s.in.calls)
	s.scale(2)
	s.in.minutes(5, s.in.calls)
	s.in.setsWithin("TasksAtMaximum", 2, 21, 18, 16)
	s.in.page("TasksAtMaximum", "`sum by (function) (egress_tunnels)`")
}
