package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// memoryGroupOf makes a cgroup with a limit below that of the test, or skips. It
// returns the command by which a shell enters it, and how often the kernel
// killed in it.
func memoryGroupOf(t *testing.T, limit int) (enter string, kills func() string) {
	t.Helper()
	if raceDetector {
		t.Skip("the race detector takes several times the memory of the program")
	}
	b, _ := os.ReadFile("/proc/self/cgroup")
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 || f[1] != "" && f[1] != "memory" {
			continue
		}
		dir, key, control := filepath.Join("/sys/fs/cgroup", f[2]), "memory.max", "memory.events"
		if f[1] == "memory" {
			dir, key, control = filepath.Join("/sys/fs/cgroup/memory", f[2]), "memory.limit_in_bytes", "memory.oom_control"
		}
		dir = filepath.Join(dir, fmt.Sprintf("egress%d", os.Getpid()))
		if os.Mkdir(dir, 0o755) != nil {
			continue
		}
		t.Cleanup(func() {
			// The last process may need a moment to leave.
			for end := time.Now().Add(patience); os.Remove(dir) != nil && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			}
		})
		if file, err := os.OpenFile(filepath.Join(dir, key), os.O_WRONLY, 0); err == nil {
			_, err = fmt.Fprint(file, limit)
			_ = file.Close()
			if err != nil {
				continue
			}
			return "echo $$ > " + dir + "/cgroup.procs", func() string {
				text, _ := os.ReadFile(filepath.Join(dir, control))
				for line := range strings.Lines(string(text)) {
					if n, ok := strings.CutPrefix(line, "oom_kill "); ok {
						return strings.TrimSpace(n)
					}
				}
				return "unknown"
			}
		}
	}
	t.Skip("no cgroup with a memory limit can be made here")
	return "", nil
}

// longHello is the beginning of a ClientHello that announces 60 KB, in records
// as large as they may be.
func longHello() []byte {
	record := append([]byte{22, 3, 1, 0x3f, 0xff}, make([]byte, 0x3fff)...)
	first := append([]byte{22, 3, 1, 0x3f, 0xff, 1, 0, 0xf0, 0}, make([]byte, 0x3fff-4)...)
	return append(append(first, record...), record...)
}

// hoard opens tunnels to a rule that waits for a ClientHello and sends the
// beginning of a long one, so that each holds as much as one connection can.
func (p *running) hoard(n int, target string) (conns []net.Conn, answers map[string]int) {
	p.t.Helper()
	answers = map[string]int{}
	for range n {
		r, err := p.tryConnect("billing", target)
		switch {
		case err != nil:
			answers["lost"]++
		case r.conn == nil:
			answers[fmt.Sprint(r.StatusCode, " ", r.reason())]++
		default:
			answers["200"]++
			_, _ = r.conn.Write(longHello())
			conns = append(conns, r.conn)
		}
	}
	return conns, answers
}

// The task has 256 MB. Clients that may speak hold the beginning of a long
// ClientHello each, others half a head, until well beyond what fits.
func TestMemoryThatRunsOutIsRefusedBeforeTheKernelKills(t *testing.T) {
	needsFiles(t, 20000)
	enter, kills := memoryGroupOf(t, 256<<20)
	w := newWorld(t)
	target := w.echoing()
	host := "allowed.test:" + w.vars["echo"]
	p := w.startUnder(enter, abusePolicy+"limits: {tunnels: 20000, tunnels_per_function: 20000, hello_timeout: 1h, header_timeout: 1h}\n")
	goroutines, files := p.holds(target)
	heads := p.openConns(1500, connectLine("billing", host)[:40]+strings.Repeat("x", 14<<10))
	tunnels := p.openConns(1000, connectLine("billing", target))
	var conns []net.Conn
	total := map[string]int{}
	shed := func() float64 { return p.number(`egress_shed_total{cause="memory"}`) }
	for shed() < 100 && total["lost"] == 0 && len(conns) < 6000 {
		more, answers := p.hoard(250, host)
		conns = append(conns, more...)
		for k, n := range answers {
			total[k] += n
		}
	}
	t.Logf("of clients that hold what they can: %v; killed: %s; resident: %.0f MB", total, kills(), p.number("process_resident_memory_bytes")/(1<<20))
	if total["200"] < 200 || total["lost"] > 0 {
		t.Errorf("answers: %v", total)
	}
	if n := kills(); n != "0" {
		t.Errorf("the kernel has killed: %s", n)
	}
	if shed() < 100 || p.number(`egress_over_share_total{share="memory"}`) == 0 {
		t.Error("the metrics do not say why")
	}
	for _, c := range append(append(heads, tunnels...), conns...) {
		_ = c.Close()
	}
	w.eventually("memory again", func() bool { return p.number("egress_memory_short") == 0 })
	p.unharmed(goroutines, files, target)
}

// All are let in while they hold next to nothing, and then grow, one after the other.
func TestMemoryThatIsClaimedAfterTheAdmissionIsNotGiven(t *testing.T) {
	needsFiles(t, 20000)
	enter, kills := memoryGroupOf(t, 256<<20)
	w := newWorld(t)
	target := w.echoing()
	host := "allowed.test:" + w.vars["echo"]
	p := w.startUnder(enter, abusePolicy+"limits: {tunnels: 20000, tunnels_per_function: 20000, hello_timeout: 1h}\n")
	goroutines, files := p.holds(target)
	var conns []net.Conn
	for range 1000 {
		r, err := p.tryConnect("billing", host)
		w.must(err)
		if r.conn == nil {
			t.Fatalf("status %s with %d tunnels", r.Status, len(conns))
		}
		conns = append(conns, r.conn)
	}
	// The program has a turn now and then: what lies in the kernel because it is
	// given none, nobody can refuse.
	for i, c := range conns {
		_ = c.SetDeadline(time.Now().Add(patience)) // the one of its CONNECT may be over
		if _, _ = c.Write(longHello()); i%20 == 0 {
			p.get("/healthz")
		}
	}
	w.eventually("some refused", func() bool { return p.number(`egress_shed_total{cause="memory"}`) > 0 })
	t.Logf("%v of 1,000 were refused; killed: %s; resident: %.0f MB", p.number(`egress_shed_total{cause="memory"}`), kills(), p.number("process_resident_memory_bytes")/(1<<20))
	if n := kills(); n != "0" {
		t.Errorf("the kernel has killed: %s", n)
	}
	for _, c := range conns {
		_ = c.Close()
	}
	w.eventually("memory again", func() bool { return p.number("egress_memory_short") == 0 })
	p.unharmed(goroutines, files, target)
}
