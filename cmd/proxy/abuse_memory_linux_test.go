package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/bounds"
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
	p := w.startUnder(t, enter, abusePolicy+"limits: {tunnels: 20000, tunnels_per_function: 20000, hello_timeout: 1h, header_timeout: 1h}\n")
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

// The task has 256 MB. One function sends plain requests of 15 KB to a host of its own
// that never answers, and others of thousands of fields, then asks for what it may not reach with heads
// as large as may be, with its token and without, and closes nothing before the
// server does; or it says nothing, or half of it; and then all of that at once. Another
// function's CONNECTs all succeed meanwhile.
//
// EGRESS_TEST_CROWD=60s makes each attack last that long instead of two seconds.
func TestFunctionThatHoldsWhatItCanCostsAnotherNothing(t *testing.T) {
	needsFiles(t, 20000)
	last := 2 * time.Second
	if s := os.Getenv("EGRESS_TEST_CROWD"); s != "" {
		var err error
		if last, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	enter, kills := memoryGroupOf(t, 256<<20)
	w := newWorld(t)
	target := w.echoing()
	w.vars["mute"] = port(w.listen(func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }))
	w.names.set("mute.test", "127.0.0.1")
	p := w.startUnder(t, enter, abusePolicy+`  greedy:
    identify: {${token_greedy}}
    allow: [{host: mute.test, ports: [${mute}], tls: any, addresses: [127.0.0.0/8]}]
limits: {idle_timeout: 5s}
`)
	goroutines, files := p.holds(target)
	var fields strings.Builder
	for i := range 2600 {
		fmt.Fprintf(&fields, "%c%c:\r\n", '0'+i/26%10, 'a'+i%26)
	}
	long := "X-Padding: " + strings.Repeat("x", 15<<10) + "\r\n"
	get := "GET http://mute.test:" + w.vars["mute"] + "/ HTTP/1.1\r\nHost: mute.test\r\n" + authorization("greedy")
	rows := []attack{
		{"long requests", []string{get + long + "\r\n"}},
		{"many fields", []string{get + fields.String() + "\r\n"}},
		{"refused, and left open", []string{"CONNECT evil.test:443 HTTP/1.1\r\n" + authorization("greedy") + long + "\r\n"}},
		{"challenged, and left open", []string{"CONNECT evil.test:443 HTTP/1.1\r\n" + long + "\r\n"}},
		{"silent", []string{""}},
		{"half a head", []string{get + long}},
	}
	all := attack{what: "all at once"}
	for _, row := range rows {
		all.raw = append(all.raw, row.raw...)
	}
	for _, row := range append(rows, all) {
		ctx, cancel := context.WithTimeout(t.Context(), last)
		var attackers sync.WaitGroup
		var sent atomic.Int64
		for i := range max(2, len(row.raw)) {
			source := fmt.Sprintf("127.0.0.%d", 2+i)
			attackers.Go(func() { p.hoardRefused(ctx, source, row.raw[i%len(row.raw)], 8000/max(2, len(row.raw)), &sent) })
		}
		served := 0
		for ctx.Err() == nil {
			if r := p.connect("billing", target); r.conn == nil {
				t.Errorf("%s: the other function is answered %s", row.what, r.Status)
			} else {
				served++
				_ = r.conn.Close()
			}
		}
		attackers.Wait()
		cancel()
		held := (p.number("go_memstats_heap_inuse_bytes") + p.number("go_memstats_stack_inuse_bytes")) / (1 << 20)
		t.Logf("%s: %d requests, %d of the other function served meanwhile; killed: %s; in use: %.0f MB",
			row.what, sent.Load(), served, kills(), held)
		if held > 179 {
			t.Errorf("%s: %.0f MB are in use, more than that from which on everybody is refused", row.what, held)
		}
	}
	if n := kills(); n != "0" {
		t.Errorf("the kernel has killed: %s", n)
	}
	if !p.logged(bounds.OverShare) || p.number(`egress_over_share_total{share="memory"}`) == 0 {
		t.Error("nothing says that a function holds its share")
	}
	p.unharmed(goroutines, files, target)
}

// attack is what attackers send on each of their connections.
type attack struct {
	what string
	raw  []string
}

// hoardRefused sends the text on connection after connection until ctx ends, and
// leaves each open, at most that many at a time: the oldest goes for the newest.
func (p *running) hoardRefused(ctx context.Context, source, text string, most int, sent *atomic.Int64) {
	conns := make([]net.Conn, most)
	for i := 0; ctx.Err() == nil; i = (i + 1) % most {
		if conns[i] != nil {
			_ = conns[i].Close()
		}
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
		if conns[i], _ = d.DialContext(ctx, "tcp", p.proxy); conns[i] == nil {
			continue
		}
		_ = conns[i].SetDeadline(time.Now().Add(patience))
		_, _ = io.WriteString(conns[i], text)
		sent.Add(1)
	}
	for _, c := range conns {
		if c != nil {
			_ = c.Close()
		}
	}
}

// All are let in while they hold next to nothing, and then grow, one after the other.
func TestMemoryThatIsClaimedAfterTheAdmissionIsNotGiven(t *testing.T) {
	needsFiles(t, 20000)
	enter, kills := memoryGroupOf(t, 256<<20)
	w := newWorld(t)
	target := w.echoing()
	host := "allowed.test:" + w.vars["echo"]
	p := w.startUnder(t, enter, abusePolicy+"limits: {tunnels: 20000, tunnels_per_function: 20000, hello_timeout: 1h}\n")
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
