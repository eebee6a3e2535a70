package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest/alarms"
)

// played is an incident, and the alarms that it is about.
type played struct {
	name   string
	alarms []string
	play   func(*testing.T)
}

// mostAtOnce bounds how many incidents are under way: each is a program or two, which wait
// for their clock nearly all the time.
const mostAtOnce = 12

// Each incident sets off its alarm, and no other but those that the table names for it. They
// are played at once and not in turn: what takes long is that the program waits.
func TestIncidents(t *testing.T) {
	t.Parallel()
	if raceDetector {
		t.Skip("incidents take minutes; other tests have the race detector look at what they play")
	}
	var all sync.WaitGroup
	free := make(chan struct{}, mostAtOnce)
	for _, p := range slices.Concat(linuxIncidents(), incidents()) {
		free <- struct{}{}
		all.Go(func() {
			defer func() { <-free }()
			t.Run(p.name, p.play)
		})
	}
	all.Wait()
}

// incident is what an operator sees of a run of the program: Prometheus by its scrapes, and
// CloudWatch by its output. A minute of theirs is four scrapes and what is printed meanwhile,
// however long that takes: what the program waits for a test waits for too, before it goes on.
type incident struct {
	*running
	table   []alarms.Alarm
	scrapes *alarms.Scrapes
	history *alarms.History

	outputs []*output          // of the program first, as the log group takes them in
	stalled bool               // the output takes nothing
	calm    bool               // nothing is done meanwhile: a line of metrics in two minutes is enough
	well    string             // the scrape of another task, which is well
	scrape  func() string      // of the program; nil: what it says of itself
	others  func() []string    // scrapes of other tasks, "" of one that is down; nil: one that is well
	aws     func(at time.Time) // gives CloudWatch what AWS says; nil: of two tasks that are well
	minute  int                // so many have been played
	began   time.Time          // of the first minute, for CloudWatch
}

// perMinute is how many scrapes there are in a minute.
const perMinute = int(time.Minute / alarms.Interval)

// taskLine is in the line of metrics of the task, and in no other.
const taskLine = `"AuditPendingSeconds":`

// emfFlags make a program print metrics for CloudWatch.
var emfFlags = []string{"--emf", "1s", "--emf-functions", "--emf-deployment", "eu"}

// startIncident starts the program with metrics for both.
func (w *world) startIncident(dir, policy string, env ...string) *incident {
	w.t.Helper()
	p := w.startTask(dir, policy, env...)
	return watchIncident(p, p.stdout)
}

// startTask starts a program with metrics for both.
func (w *world) startTask(dir, policy string, env ...string) *running {
	w.t.Helper()
	config := filepath.Join(dir, "egress.yaml")
	w.write(config, policy)
	return w.startFile(dir, slices.Concat([]string{"run"}, emfFlags, []string{"--config", config}), env...)
}

// watchIncident watches a program whose output is read into a file.
func watchIncident(p *running, printed string) *incident {
	table := alarms.Read(p.t, "../../deploy/alarms.yaml", yaml.Unmarshal)
	in := &incident{
		running: p, table: table, scrapes: alarms.NewScrapes(table), history: alarms.NewHistory(table),
		outputs: []*output{{path: printed}}, began: time.Unix(0, 0).Add(time.Hour),
	}
	_, in.well = p.get("/metrics")
	for before := range 15 { // all has been well
		at := in.began.Add(-time.Duration(before+1) * time.Minute)
		in.observe(at, 2, 0, 20)
		in.history.Line(p.t, "{}", at)
	}
	return in
}

// minutes plays so many minutes; do is called before each scrape.
func (in *incident) minutes(n int, do func()) {
	in.t.Helper()
	for range n {
		for range perMinute {
			do()
			in.scrapes.Add(in.tasks())
		}
		in.print()
		in.minute++
	}
}

// tasks returns a scrape of each task.
func (in *incident) tasks() map[string]string {
	in.t.Helper()
	all, others := map[string]string{}, []string{in.well}
	if in.scrape != nil {
		all["a"] = in.scrape()
	} else {
		_, all["a"] = in.get("/metrics")
	}
	if in.others != nil {
		others = in.others()
	}
	for i, text := range others {
		all[string(rune('b'+i))] = text
	}
	return all
}

// print gives CloudWatch what is printed in a minute: at least the lines behind what has been
// done in it.
func (in *incident) print() {
	in.t.Helper()
	at := in.began.Add(time.Duration(in.minute)*time.Minute + 30*time.Second)
	if own := in.outputs[0]; !in.stalled {
		own.read(in.t)
		least := own.tasks + 2 // a line may be under way; the one behind it has all
		if in.calm {
			least = own.tasks + in.minute%2
		}
		in.world.eventually("metrics are printed", func() bool {
			time.Sleep(20 * time.Millisecond) // others have something to do
			own.read(in.t)
			return own.tasks >= least
		})
	}
	for _, o := range in.outputs {
		for _, line := range o.take(in.t) {
			in.history.Line(in.t, line, at)
		}
	}
	if in.aws != nil {
		in.aws(at)
	} else {
		in.observe(at, 2, 0, 20)
	}
}

// observe gives CloudWatch what AWS says: how many targets are well and how many are not, and
// what the tasks take of their processors in percent.
func (in *incident) observe(at time.Time, healthy, unhealthy int, processor float64) {
	in.history.Observe("AWS/NetworkELB", "HealthyHostCount", at, float64(healthy))
	in.history.Observe("AWS/NetworkELB", "UnHealthyHostCount", at, float64(unhealthy))
	in.history.Observe("AWS/ECS", "CPUUtilization", at, processor)
}

// output is a file that a program writes, of which whole lines are given to CloudWatch once.
type output struct {
	path  string
	taken int64    // bytes that were read
	lines []string // whole ones that nobody has taken
	tasks int      // lines of metrics of the task so far
}

// read reads the lines that are new.
func (o *output) read(t testing.TB) {
	t.Helper()
	f, err := os.Open(o.path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, o.taken, 1<<62))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if !strings.HasSuffix(line, "\n") {
			return
		}
		o.taken += int64(len(line))
		o.lines = append(o.lines, line)
		o.tasks += strings.Count(line, taskLine)
	}
}

// take returns the lines that are new.
func (o *output) take(t testing.TB) (lines []string) {
	t.Helper()
	o.read(t)
	lines, o.lines = o.lines, nil
	return lines
}

// sets checks which alarms an incident sets off that began after so many minutes and ended
// after so many: its own, in CloudWatch by the third minute and in Prometheus within two, and
// beside it those that the table names. It is over by the end.
func (in *incident) sets(name string, began, ended int) {
	in.t.Helper()
	in.setsWithin(name, began, ended, 3, 1)
}

// setsWithin is sets for an alarm that is set off within so many minutes.
func (in *incident) setsWithin(name string, began, ended, cloudWatch, prometheus int) {
	in.t.Helper()
	in.setsInCloudWatch(name, began, ended, cloudWatch)
	in.setsInPrometheus(name, began, ended, prometheus)
}

// setsInCloudWatch is setsWithin of CloudWatch alone.
func (in *incident) setsInCloudWatch(name string, began, ended, within int) {
	in.t.Helper()
	var firing [][]string
	for minute := range in.minute {
		firing = append(firing, in.history.Firing(in.began.Add(time.Duration(minute+1)*time.Minute)))
	}
	in.checkFiring("CloudWatch", firing, name, began, began+within-1, ended)
}

// setsInPrometheus is setsWithin of Prometheus alone.
func (in *incident) setsInPrometheus(name string, began, ended, within int) {
	in.t.Helper()
	in.checkFiring("Prometheus", in.scrapes.Firing(in.t), name, began*perMinute, (began+within)*perMinute, ended*perMinute)
}

// checkFiring checks what fires at each look: from since on until the end the alarm, before the
// begin nothing, and never another one than the table names.
func (in *incident) checkFiring(where string, firing [][]string, name string, began, since, ended int) {
	in.t.Helper()
	if since >= ended && began < ended {
		in.t.Fatalf("%s: nobody would see %s, which has until %d and is over at %d", where, name, since, ended)
	}
	i := slices.IndexFunc(in.table, func(a alarms.Alarm) bool { return a.Name == name })
	may := append([]string{name}, in.table[i].With...)
	for look, names := range firing {
		if look >= since && look < ended && !slices.Contains(names, name) {
			in.t.Errorf("%s: at look %d there fire %v, want %s from %d on", where, look, names, name, since)
		}
		for _, other := range names {
			if !slices.Contains(may, other) || look < began {
				in.t.Errorf("%s: at look %d there fires %s; the incident began at %d, and %s names %v", where, look, other, began, name, may)
			}
		}
	}
	if last := firing[len(firing)-1]; ended < len(firing) && slices.Contains(last, name) {
		in.t.Errorf("%s: at the end there fire %v", where, last)
	}
}

// above waits for a metric to be more than a number, and checks that it took less than a
// minute.
func (in *incident) above(metric string, least float64) {
	in.t.Helper()
	in.world.within(time.Minute, fmt.Sprintf("%s is above %v", metric, least), func() bool {
		n, err := strconv.ParseFloat(in.metric(metric), 64)
		return err == nil && n > least
	})
}

// page checks that the section of an alarm in docs/operations.md names what an incident has
// shown: whoever is sent there finds it.
func (in *incident) page(name string, words ...string) {
	in.t.Helper()
	i := slices.IndexFunc(in.table, func(a alarms.Alarm) bool { return a.Name == name })
	_, section, _ := strings.Cut(in.read("../../docs/operations.md"), "\n### "+in.table[i].Section+"\n")
	section, _, _ = strings.Cut(section, "\n### ")
	for _, word := range append([]string{"`" + name + "`", "\nDo: "}, words...) {
		if !strings.Contains(section, word) {
			in.t.Errorf("the section %q of docs/operations.md does not have %q", in.table[i].Section, word)
		}
	}
}
