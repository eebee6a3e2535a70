package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest/alarms"
)

// processor is the clock of an incident that is about processor time. What a program takes
// between two scrapes it takes in Interval, however long that was; and while it waits because
// others have the processor, its time stands still, for here it is not alone.
type processor struct {
	in      *incident
	at      time.Time
	used    float64 // seconds, as the scrape has them
	waited  float64 // seconds, as the kernel has them
	counter float64 // of the time of the incident
	taken   float64 // seconds of the minute, and how many there were
	had     float64
}

// cpuMetric is the seconds that a program has taken of its processors.
const cpuMetric = "process_cpu_seconds_total"

// watchProcessor makes processor time part of an incident, for both.
func (in *incident) watchProcessor() {
	c := &processor{in: in, at: time.Now(), used: in.number(cpuMetric)}
	c.waited = c.waits()
	in.scrape = c.scrape
	in.aws = func(at time.Time) {
		in.observe(at, 2, 0, 100*c.taken/c.had)
		c.taken, c.had = 0, 0
	}
}

// scrape returns a scrape whose processor time is that of the incident.
func (c *processor) scrape() string {
	_, text := c.in.get("/metrics")
	now, waited := time.Now(), c.waits()
	var used float64
	before, line, after := "", "", ""
	if i := strings.Index(text, "\n"+cpuMetric+" "); i >= 0 {
		before, line = text[:i+1], text[i+1:]
		line, after, _ = strings.Cut(line, "\n")
		used, _ = strconv.ParseFloat(line[len(cpuMetric)+1:], 64)
	}
	own := max(now.Sub(c.at).Seconds()-(waited-c.waited), used-c.used, 0.001)
	taken := used - c.used
	c.at, c.used, c.waited = now, used, waited
	c.counter += taken / own * alarms.Interval.Seconds()
	c.taken, c.had = c.taken+taken, c.had+own
	return fmt.Sprintf("%s%s %g\n%s", before, cpuMetric, c.counter, after)
}

// waits returns how long the threads of the program have been ready to run without running.
func (c *processor) waits() (seconds float64) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", c.in.cmd.Process.Pid))
	for _, file := range files {
		b, _ := os.ReadFile(file) // the thread may have ended
		if f := strings.Fields(string(b)); len(f) == 3 {
			n, _ := strconv.ParseFloat(f[1], 64)
			seconds += n / 1e9
		}
	}
	if len(files) == 0 {
		c.in.t.Skip("the kernel does not say how long threads wait for a processor")
	}
	return seconds
}

// upload sends content in chunks of a byte, as fast as it is taken, until stop is called.
func (in *incident) upload() (stop func()) {
	in.t.Helper()
	host := "before.test:" + in.world.vars["echo"]
	chunks := bytes.Repeat([]byte("1\r\nx\r\n"), 100_000)
	var conns []net.Conn
	var sending sync.WaitGroup
	for range 16 { // so that some always wait for the program
		c, err := net.Dial("tcp", in.proxy)
		in.world.must(err)
		conns = append(conns, c)
		_, err = io.WriteString(c, "POST http://"+host+"/ HTTP/1.1\r\nHost: "+host+"\r\n"+authorization("billing")+"Transfer-Encoding: chunked\r\n\r\n")
		in.world.must(err)
		sending.Go(func() {
			for {
				if _, err := c.Write(chunks); err != nil {
					return
				}
			}
		})
	}
	stop = sync.OnceFunc(func() {
		for _, c := range conns {
			_ = c.Close()
		}
		sending.Wait()
	})
	in.t.Cleanup(stop)
	return stop
}

// One function takes the only processor that there is, by content in pieces of a byte. What AWS
// would say is what the program has taken of it.
func busyProcessor(t *testing.T) {
	w := newEchoWorld(t)
	w.vars["echo"] = port(w.listen(func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }))
	in := w.startIncident(t.TempDir(), only("before.test"), "GOMAXPROCS=1")
	in.watchProcessor()
	in.minutes(2, in.calls)
	stop := in.upload()
	in.signalled(`egress_bound_used{bound="tunnels"}`, "16")
	in.calm = true
	in.minutes(11, func() { time.Sleep(150 * time.Millisecond) }) // processor time is counted in hundredths
	stop()
	in.minutes(8, in.calls)
	if opened := in.of("opened"); !slices.ContainsFunc(opened, func(r record) bool { return r.Protocol == "http" && r.Function == "billing" }) {
		t.Errorf("the records do not say who it was: %+v", opened)
	}
	in.setsWithin("Cpu", 2, 13, 7, 8)
	in.page("Cpu", "`opened`")
}

// The task is too small for what its functions hold: each the beginning of a handshake as long
// as one may be, in as many tunnels as its share lets it have.
func fullMemory(t *testing.T) {
	needsFiles(t, 20000)
	const functions = 40
	enter, kills := memoryGroupOf(t, 40<<20)
	w := newEchoWorld(t)
	policy := only("before.test")
	for i := range functions {
		policy += fmt.Sprintf("  f%d: {identify: {${token_f%[1]d}}, allow: [{host: after.test, ports: [${echo}], addresses: [127.0.0.0/8]}]}\n", i)
	}
	w.shell = enter
	in := w.startIncident(t.TempDir(), policy+"limits: {tunnels: 20000, tunnels_per_function: 20000, hello_timeout: 1h}\n")
	w.shell = ""
	in.minutes(2, in.calls)
	share := func() float64 { return in.number("egress_memory_used_bytes") / in.number("egress_memory_limit_bytes") }
	var held []net.Conn
	asked := 0
	fill := func() {
		for most := asked + 4000; share() < 0.66; {
			if asked > most {
				t.Fatalf("with %d tunnels of %d %.0f%% of the memory are used", len(held), asked, 100*share())
			}
			for range functions / 2 {
				r, err := in.tryConnect(fmt.Sprint("f", asked%functions), "after.test:"+w.vars["echo"])
				if asked++; err == nil && r.conn != nil {
					_, _ = r.conn.Write(longHello())
					held = append(held, r.conn)
				}
			}
		}
	}
	in.minutes(4, fill)
	for _, c := range held {
		_ = c.Close()
	}
	w.eventually("there is memory again", func() bool { return share() < 0.62 })
	in.minutes(5, in.calls)
	t.Logf("%d tunnels were opened, of %d", len(held), asked)
	in.sets("Memory", 2, 6)
	in.page("Memory", "`topk(5, sum by (function) (egress_tunnels))`", "`limit_total`")
	if n := kills(); n != "0" {
		t.Errorf("the kernel has killed: %s", n)
	}
}
