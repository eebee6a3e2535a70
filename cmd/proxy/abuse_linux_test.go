package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/bounds"
)

// startUnder runs the program behind shell commands that set its limits.
func (w *world) startUnder(commands, policy string) *running {
	w.t.Helper()
	w.shell = commands
	defer func() { w.shell = "" }()
	return w.start(policy)
}

// slack is how many goroutines and descriptors may come and go by themselves.
const slack = 5

// unharmed is what has to hold after every abuse, once the clients have gone: the
// process lives, has the descriptors and goroutines that it had, holds no tunnel, no
// dial and no connection, has had no panic, and serves who means well.
func (p *running) unharmed(goroutines, files float64, target string) {
	p.t.Helper()
	p.world.eventually("as many goroutines and descriptors as before", func() bool {
		return p.hasNoMoreThan(goroutines, files)
	})
	if got := p.number("egress_panics_total"); got != 0 {
		p.t.Errorf("%v panics", got)
	}
	// The slack has room for a tunnel or two that are about to end.
	for _, name := range []string{"egress_tunnels", "egress_dials", "egress_memory_short"} {
		p.world.eventually(name+" is 0", func() bool { return p.number(name) == 0 })
	}
	r := p.connect("billing", target)
	if r.StatusCode != http.StatusOK {
		p.t.Fatalf("status %s", r.Status)
	}
	r.carries(p.t)
	_ = r.conn.Close()
}

// hasNoMoreThan reports whether the program has few goroutines and descriptors more, those of
// connections to origins aside that wait for the next plain request.
func (p *running) hasNoMoreThan(goroutines, files float64) bool {
	p.t.Helper()
	return p.number("go_goroutines") <= goroutines+slack &&
		p.number("process_open_fds")-p.number(`egress_bound_used{bound="pooled"}`) <= files+slack
}

// holds returns the goroutines and descriptors that the program has. It has begun
// all that it begins once it has carried something to the target.
func (p *running) holds(target string) (goroutines, files float64) {
	p.t.Helper()
	r := p.connect("billing", target)
	r.carries(p.t)
	_ = r.conn.Close()
	p.world.eventually("the tunnel has ended", func() bool { return p.number("egress_tunnels") == 0 })
	return p.number("go_goroutines"), p.number("process_open_fds")
}

// needsFiles skips the test where it may not open that many files: what it
// opens, and what the program does for it.
func needsFiles(t *testing.T, n uint64) {
	t.Helper()
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil || l.Cur < n {
		t.Skipf("%d files may be open here, it needs %d: %v", l.Cur, n, err)
	}
}

// openConns opens n connections to the program, sends text on each, and returns them.
func (p *running) openConns(n int, text string) []net.Conn {
	p.t.Helper()
	conns := make([]net.Conn, 0, n)
	for range n {
		c, err := net.Dial("tcp", p.proxy)
		p.world.must(err)
		p.t.Cleanup(func() { _ = c.Close() })
		_ = c.SetDeadline(time.Now().Add(patience))
		_, err = io.WriteString(c, text)
		p.world.must(err)
		conns = append(conns, c)
	}
	return conns
}

// answersOf reads the answers to what openConns has sent and counts them; "closed" is
// a connection that ended without one, "waits" one that has none yet.
func answersOf(conns []net.Conn, wait time.Duration) map[string]int {
	n := map[string]int{}
	for _, c := range conns {
		_ = c.SetReadDeadline(time.Now().Add(wait))
		resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: http.MethodConnect})
		switch {
		case err == nil:
			n[strings.TrimSpace(fmt.Sprint(resp.StatusCode, " ", resp.Header.Get("X-Egress-Reason")))]++
		case isTimeout(err):
			n["waits"]++
		default:
			n["closed"]++
		}
	}
	return n
}

// abusePolicy lets "billing" reach an echo at a literal address, where nothing
// has to be asked for first, and one that wants a ClientHello.
const abusePolicy = head + `functions:
  billing:
    identify: {${token_billing}}
    allow:
      - {cidr: 127.0.0.1/32, ports: [${echo}], tls: any}
      - {host: allowed.test, ports: [${echo}], addresses: [127.0.0.0/8]}
`

// echoing gives the world an origin that echoes and returns its address.
func (w *world) echoing() string {
	l := w.listen(echo)
	w.vars["echo"] = port(l)
	return l.Addr().String()
}

// The program may open 256 files, and one function may have all tunnels. Clients ask for more than twice what fits, and
// others say nothing: what does not fit is told to come again or waits, the
// admin listener answers all the while, and the last descriptor is never reached.
func TestDescriptorsThatRunOutAreNotTheAdminListeners(t *testing.T) {
	w := newWorld(t)
	target := w.echoing()
	p := w.startUnder("ulimit -n 256", abusePolicy+"limits: {tunnels_per_function: 20000}\n")
	if !p.logged("the limits do not fit the descriptors or the memory of the process and are cut; raise those, or lower the limits") {
		t.Error("nothing says that the limits do not fit")
	}
	goroutines, files := p.holds(target)
	tunnels := p.openConns(200, connectLine("billing", target))
	got := answersOf(tunnels, patience)
	// So many at once may reach the bound of dials to one target too.
	if got["200"] < 40 || got["503 limit_total"] == 0 || got["200"]+got["503 limit_total"]+got["503 limit_function"] != 200 {
		t.Errorf("of 200 clients: %v", got)
	}
	silent := p.openConns(300, "")
	refused := p.openConns(100, connectLine("billing", "evil.test:443"))
	for range 20 {
		if status, _ := p.get("/readyz"); status != http.StatusOK {
			t.Errorf("readyz answers %d", status)
		}
		if n := p.number("process_open_fds"); n > 256-32 {
			t.Errorf("%v descriptors are open", n)
		}
	}
	if p.logged("accepting a connection failed, retrying") {
		t.Error("the last descriptor was reached")
	}
	for _, c := range append(append(tunnels, silent...), refused...) {
		_ = c.Close()
	}
	p.unharmed(goroutines, files, target)
}

// The program may open 256, 1,024 or 20,000 files. One function asks for every tunnel there is,
// and another has one at once.
func TestFunctionThatAsksForEveryTunnelCostsAnotherNone(t *testing.T) {
	for _, files := range []int{256, 1024, 20_000} {
		t.Run(fmt.Sprint(files), func(t *testing.T) { testFunctionThatAsksForEveryTunnel(t, files) })
	}
}

func testFunctionThatAsksForEveryTunnel(t *testing.T, files int) {
	w := newWorld(t)
	target := w.echoing()
	p := w.startUnder(fmt.Sprintf("ulimit -n %d", files), abusePolicy+`  greedy:
    identify: {${token_greedy}}
    allow: [{cidr: 127.0.0.1/32, ports: [${echo}], tls: any}]
`)
	tunnels := p.openConns(min(files, 2500), connectLine("greedy", target))
	got := answersOf(tunnels, patience)
	// So many at once may reach the bound of dials to one target too.
	if got["200"] < 12 || got["503 limit_function"] == 0 || got["503 limit_total"] > 0 {
		t.Errorf("%d descriptors: the function that asks for all: %v", files, got)
	}
	for range 10 {
		r := p.connect("billing", target)
		if r.conn == nil {
			t.Fatalf("%d descriptors: another is answered %s %s", files, r.Status, r.reason())
		}
		r.carries(t)
		_ = r.conn.Close()
	}
	w.eventually("the log says who crowds", func() bool { return p.logged(bounds.OverShare) })
	if p.number(`egress_over_share_total{share="tunnels"}`) == 0 {
		t.Errorf("%d descriptors: nobody is counted as over its share", files)
	}
	for _, c := range tunnels {
		_ = c.Close()
	}
}

// The limit falls below what is open already, which no count foresees.
func TestDescriptorsThatAreTakenAwayCostRequestsAndNotTheProgram(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	target := w.echoing()
	p := w.start(abusePolicy)
	goroutines, files := p.holds(target)
	var old unix.Rlimit
	w.must(unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_NOFILE, nil, &old))
	lower := func(n int) {
		w.must(unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(n), Max: old.Max}, nil))
	}
	// The lowest descriptor that is free goes to the next client, and none is left
	// for the dial. Where the program was late to close another, one is.
	w.eventually("a dial has no descriptor", func() bool {
		lower(p.settled() + 1)
		r := p.connect("billing", target)
		lower(int(old.Cur))
		if r.conn != nil {
			_ = r.conn.Close()
			return false
		}
		if r.StatusCode != http.StatusServiceUnavailable || r.reason() != "limit_total" || r.Header.Get("Retry-After") == "" {
			t.Errorf("a dial without a descriptor is answered %s %v", r.Status, r.Header)
		}
		return true
	})
	shed := 1.0
	w.eventually("a client has no descriptor", func() bool {
		lower(p.settled())
		waiting := p.openConns(1, connectLine("billing", target))
		got := map[string]int{"waits": 1}
		for got["waits"] > 0 && !p.logged("accepting a connection failed, retrying") {
			got = answersOf(waiting, 50*time.Millisecond)
		}
		lower(int(old.Cur))
		if got["waits"] > 0 {
			got = answersOf(waiting, patience)
			if got["200"] != 1 {
				t.Errorf("who waited got %v", got)
			}
			_ = waiting[0].Close()
			return true
		}
		shed += float64(got["503 limit_total"]) // it had one after all, and its dial had none
		_ = waiting[0].Close()
		return false
	})
	if n := p.number(`egress_shed_total{cause="descriptors"}`); n != shed {
		t.Errorf("%v counted as shed for want of descriptors, want %v", n, shed)
	}
	p.unharmed(goroutines, files, target)
}

// settled returns lowestFree once what was before has closed what it closes.
func (p *running) settled() int {
	p.t.Helper()
	free, same := p.lowestFree(), 0
	p.world.eventually("descriptors stay as they are", func() bool {
		now := p.lowestFree()
		if same++; now != free {
			free, same = now, 0
		}
		return same == 60
	})
	return free
}

// lowestFree returns the lowest descriptor that the program does not have.
func (p *running) lowestFree() int {
	p.t.Helper()
	for n := 0; ; n++ {
		if _, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", p.cmd.Process.Pid, n)); err != nil {
			return n
		}
	}
}

// Ten thousand connections that say nothing come from one address, and those
// who say who they are get through as if they were not there.
func TestTenThousandSilentConnectionsOfOneSourceDoNotHoldOthersUp(t *testing.T) {
	if testing.Short() {
		t.Skip("opens 10,000 connections")
	}
	needsFiles(t, 16000)
	w := newWorld(t)
	target := w.echoing()
	// Few are to go because of a head that does not come, and not because of others.
	p := w.start(abusePolicy + "limits: {header_timeout: 40s}\n")
	goroutines, files := p.holds(target)
	stop := make(chan struct{})
	var served sync.WaitGroup
	times := 0
	served.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			for _, source := range []string{"127.0.0.1", "127.0.0.2"} {
				r, err := p.askFrom(source, connectLine("billing", target))
				if err != nil && r.spoke > time.Second {
					continue // this machine made it one that says nothing
				}
				if err != nil || r.StatusCode != http.StatusOK {
					t.Errorf("a good client from %s got %v", source, err)
					return
				}
				_ = r.conn.Close()
				times++
			}
		}
	})
	silent := make([]net.Conn, 0, 10000)
	for range cap(silent) {
		c, err := net.Dial("tcp", p.proxy)
		w.must(err)
		silent = append(silent, c)
	}
	w.eventually("all beyond the share are closed", func() bool { return p.number("egress_unidentified_closed_total") > 5000 })
	w.eventually("no more than the share of 1,024 is left", func() bool { return p.number("egress_unidentified") <= 1100 })
	close(stop)
	served.Wait()
	if times == 0 {
		t.Error("no good client was served meanwhile")
	}
	for _, c := range silent {
		_ = c.Close()
	}
	// Of some the kernel may have lost the end, and tells it again ever more seldom.
	w.within(3*patience, "they have gone", func() bool { return p.number("egress_unidentified") <= 1 })
	p.unharmed(goroutines, files, target)
}
