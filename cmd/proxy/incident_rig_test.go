package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest/alarms"
)

// incident is what an operator sees of a run of the program: Prometheus by its scrapes, and
// CloudWatch by its output. A minute of theirs is four scrapes and what is printed meanwhile,
// however long that takes: what the program waits for a test waits for too, before it goes on.
type incident struct {
	*running
	table   []alarms.Alarm
	scrapes *alarms.Scrapes
	history *alarms.History

	printed string    // the output of the program, as the log group takes it in
	stalled bool      // the output takes nothing
	well    string    // the scrape of another task, which is well
	minute  int       // so many have been played
	taken   int       // so much of the output has been given to CloudWatch
	began   time.Time // of the first minute, for CloudWatch
}

// perMinute is how many scrapes there are in a minute.
const perMinute = int(time.Minute / alarms.Interval)

// taskLine is in the line of metrics of the task, and in no other.
const taskLine = `"AuditPendingSeconds":`

// startIncident starts the program with metrics for both.
func (w *world) startIncident(dir, policy string) *incident {
	w.t.Helper()
	config := filepath.Join(dir, "egress.yaml")
	w.write(config, policy)
	p := w.startFile(dir, []string{"run", "--emf", "1s", "--emf-functions", "--emf-deployment", "eu", "--config", config})
	return watchIncident(p, p.stdout)
}

// watchIncident watches a program whose output is read into a file.
func watchIncident(p *running, printed string) *incident {
	if raceDetector {
		p.t.Skip("incidents take minutes; other tests have the race detector look at what they play")
	}
	table := alarms.Read(p.t, "../../deploy/alarms.yaml", yaml.Unmarshal)
	in := &incident{
		running: p, table: table, scrapes: alarms.NewScrapes(table), history: alarms.NewHistory(table),
		printed: printed, began: time.Unix(0, 0).Add(time.Hour),
	}
	_, in.well = p.get("/metrics")
	for before := range 15 { // all has been well
		in.observe(in.began.Add(-time.Duration(before+1) * time.Minute))
		in.history.Line(p.t, "{}", in.began.Add(-time.Duration(before+1)*time.Minute))
	}
	return in
}

// minutes plays so many minutes; do is called before each scrape.
func (in *incident) minutes(n int, do func()) {
	in.t.Helper()
	for range n {
		for range perMinute {
			do()
			_, text := in.get("/metrics")
			in.scrapes.Add(map[string]string{"a": text, "b": in.well})
		}
		in.print()
		in.minute++
	}
}

// print gives CloudWatch what is printed in a minute: at least the lines behind what has been
// done in it.
func (in *incident) print() {
	in.t.Helper()
	at := in.began.Add(time.Duration(in.minute)*time.Minute + 30*time.Second)
	if !in.stalled { // a line may be under way; the one behind it has all
		before := strings.Count(in.read(in.printed), taskLine)
		in.world.eventually("metrics are printed", func() bool { return strings.Count(in.read(in.printed), taskLine) >= before+2 })
	}
	all := in.read(in.printed)
	end := strings.LastIndex(all, "\n") + 1
	for line := range strings.Lines(all[in.taken:end]) {
		in.history.Line(in.t, line, at)
	}
	in.taken = end
	in.observe(at)
}

// observe gives CloudWatch what AWS says of two tasks that are well.
func (in *incident) observe(at time.Time) {
	in.history.Observe("AWS/NetworkELB", "HealthyHostCount", at, 2)
	in.history.Observe("AWS/NetworkELB", "UnHealthyHostCount", at, 0)
	in.history.Observe("AWS/ECS", "CPUUtilization", at, 20)
}

// sets checks which alarms an incident sets off that began after so many minutes and ended
// after so many: its own, in CloudWatch by the third minute and in Prometheus within two, and
// beside it those that the table names. It is over by the end.
func (in *incident) sets(name string, began, ended int) {
	in.t.Helper()
	in.setsInCloudWatch(name, began, ended)
	in.setsInPrometheus(name, began, ended)
}

// setsInCloudWatch is sets of CloudWatch alone.
func (in *incident) setsInCloudWatch(name string, began, ended int) {
	in.t.Helper()
	var firing [][]string
	for minute := range in.minute {
		firing = append(firing, in.history.Firing(in.began.Add(time.Duration(minute+1)*time.Minute)))
	}
	in.checkFiring("CloudWatch", firing, name, began, began+2, ended)
}

// setsInPrometheus is sets of Prometheus alone.
func (in *incident) setsInPrometheus(name string, began, ended int) {
	in.t.Helper()
	in.checkFiring("Prometheus", in.scrapes.Firing(in.t), name, began*perMinute, (began+1)*perMinute, ended*perMinute)
}

// checkFiring checks what fires at each look: from since on until the end the alarm, before the
// begin nothing, and never another one than the table names.
func (in *incident) checkFiring(where string, firing [][]string, name string, began, since, ended int) {
	in.t.Helper()
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
