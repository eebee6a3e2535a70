package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// mute is the reader of a program's log that a test stops.
type mute struct {
	w      *world
	reader *drain
	filler int // the end that is written to, without waiting
	muted  bool
}

// startMute starts a program whose log goes through a small pipe, which is read until
// the test says otherwise.
func (w *world) startMute(policy string, flags ...string) (*running, *mute) {
	w.t.Helper()
	dir := w.t.TempDir()
	config := filepath.Join(dir, "egress.yaml")
	w.write(config, policy)
	r, out := w.pipe()
	m := &mute{w: w, reader: w.newDrain(r, filepath.Join(dir, "stderr"), 0)}
	var err error
	m.filler, err = unix.Open("/proc/self/fd/"+strconv.Itoa(int(out.Fd())), unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	w.must(err)
	w.t.Cleanup(func() { _ = unix.Close(m.filler) })
	w.stderr = out
	p := w.startFile(dir, slices.Concat([]string{"run"}, flags, []string{"--config", config}))
	w.stderr = nil
	w.must(out.Close())
	w.t.Cleanup(m.stop) // before the program is made to end, and its log looked at
	return p, m
}

// start stops the reader and fills the pipe: the next write to it hangs.
func (m *mute) start() {
	m.w.t.Helper()
	m.muted = true
	m.reader.stop()
	for _, piece := range [][]byte{make([]byte, 512), {'\n'}} {
		var err error
		for err == nil {
			_, err = unix.Write(m.filler, piece)
		}
		if err != unix.EAGAIN {
			m.w.t.Fatal(err)
		}
	}
}

// stop lets the reader read again.
func (m *mute) stop() {
	if m.muted {
		m.muted = false
		m.reader.goOn()
	}
}

// manyProblems is a policy with more mistakes than are listed, each of which is a line
// of the log.
func manyProblems() string {
	return "version: 1\ndeny:\n" + strings.Repeat("  - a..b\n", 1100)
}

// The lookup that finds that an upstream fails, and the one that finds that it answers
// again, log it; so does a reload, each mistake of the file on a line.
func TestNobodyWaitsForALogThatNobodyReads(t *testing.T) {
	t.Parallel()
	w := newNamesWorld(t)
	p, m := w.startMute(withDNS("", namesPolicy))
	m.start()

	w.names.set("two.test", silence)
	if got := p.lookup("127.0.1.1", "udp", "two.test", dns.TypeA); got.rcode != dns.RcodeServerFailure {
		t.Fatalf("what nobody answers is answered %s", got)
	}
	w.names.set("two.test", "1.1.1.1")
	for _, name := range []string{"two.test", "before.test", "two.test"} {
		if got := p.lookup("127.0.1.1", "udp", name, dns.TypeA); got.rcode != dns.RcodeSuccess {
			t.Errorf("%s, when the upstream is well again: %s", name, got)
		}
	}

	// A file that is loaded twice, by the signal and by the change, is recorded twice.
	bad := 0
	for p.metric("egress_log_lines_dropped_total") == "0" {
		w.write(p.config, manyProblems()+strings.Repeat("#", bad)+"\n")
		p.signal(syscall.SIGHUP)
		w.eventually("the bad file is recorded", func() bool { return len(p.of("reload_failed")) > bad })
		bad = len(p.of("reload_failed"))
	}
	p.reloadWith(withDNS("", strings.ReplaceAll(namesPolicy, "two.test", "new.test")))
	w.names.set("new.test", "1.1.1.1")
	if got := p.lookup("127.0.1.1", "udp", "new.test", dns.TypeA); got.rcode != dns.RcodeSuccess {
		t.Errorf("what the new policy allows: %s", got)
	}
	if status := p.statusOf("/readyz"); status != http.StatusOK {
		t.Errorf("/readyz: %d", status)
	}

	m.stop()
	w.eventually("the log says what it lost", func() bool {
		return p.logged("lines of this log were lost: standard error did not take them")
	})
	m.start()
	for range 3 {
		p.signal(syscall.SIGHUP) // each is a line or two that nobody reads
	}
	p.signal(syscall.SIGTERM)
	if code := p.wait(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if last := p.verifyChain(); last.Event != "stopped" {
		t.Errorf("the last record is %s", last.Event)
	}
}

// storm sends SIGHUP until the program has ended.
func (p *running) storm() (wait func()) {
	var done sync.WaitGroup
	done.Go(func() {
		for p.cmd.Process.Signal(syscall.SIGHUP) == nil {
			select {
			case <-p.exited:
			default:
			}
		}
	})
	return done.Wait
}

// With tunnels that outlive the drain, a log that nobody reads, and signals that come
// faster than they are carried out.
func TestProgramStopsAmongSignalsAndWithoutItsLog(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	p, m := w.startMute(strings.Replace(only("before.test"), "functions:", "limits: {drain: 1s}\nfunctions:", 1))
	tunnels := p.open(3)
	m.start()
	wait := p.storm()
	p.signal(syscall.SIGTERM)
	for _, tunnel := range tunnels {
		tunnel.ends(t)
	}
	if code := p.wait(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	wait()
	if last := p.verifyChain(); last.Event != "stopped" {
		t.Errorf("the last record is %s", last.Event)
	}
}

// Neither output is read. The end then takes what is left of the time, the last record
// cannot be written, and the exit code says so or not; but there is an end.
func TestProgramStopsThoughItsRecordsAndItsLogHang(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	s := unreadPipe(w)
	w.vars["on_failure"] = "refuse"
	p := w.startOn(s, "limits: {drain: 1s}\n"+sinkPolicy)
	p.finished = true // its records have no end
	p.open(3)
	s.fail()
	w.eventually("the records hang", func() bool { return p.connect("billing", "evil.test:443").StatusCode == http.StatusServiceUnavailable })
	wait := p.storm()
	p.signal(syscall.SIGTERM)
	p.wait()
	wait()
	s.mend()
}

// The policy's server does not answer: not the first load, nor a reload.
func TestProgramStopsThoughItsPolicyHangs(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	policy := w.fill(only("before.test"))
	asked, hangs := make(chan struct{}, 1), make(chan struct{})
	answers := make(chan bool, 10)
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		select {
		case <-answers:
			fmt.Fprint(rw, policy)
			return
		default:
		}
		select {
		case asked <- struct{}{}:
		default:
		}
		<-hangs
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(hangs) })

	first := exec.Command("proxy", "run", "--config", server.URL+"/egress.yaml")
	first.Env = []string{exitAtOnce}
	w.must(first.Start())
	<-asked
	w.must(first.Process.Signal(syscall.SIGTERM))
	if err := first.Wait(); err != nil {
		t.Errorf("a program that has not served yet ends with %v", err)
	}

	answers <- true
	p := w.startFile(t.TempDir(), []string{"run", "--config-poll", "1h", "--config", server.URL + "/egress.yaml"})
	p.signal(syscall.SIGHUP)
	<-asked
	p.signal(syscall.SIGTERM)
	if code := p.wait(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}
