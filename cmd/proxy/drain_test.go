package main

import (
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/miekg/dns"
)

// open opens n tunnels to the echoing origin and sees that they live.
func (p *running) open(n int) []reply {
	p.t.Helper()
	tunnels := make([]reply, n)
	for i := range tunnels {
		tunnels[i] = p.connect("billing", "before.test:"+p.world.vars["echo"])
		tunnels[i].carries(p.t)
	}
	return tunnels
}

// ended counts the records of ends by their cause.
func (p *running) ended() map[string]int {
	p.t.Helper()
	causes := map[string]int{}
	for _, r := range p.of("closed") {
		causes[r.Ended]++
	}
	return causes
}

func TestStoppingProgramRefusesWhatIsNewAndLetsTunnelsGoOn(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	p := w.start(only("before.test"))
	tunnels := p.open(20)
	if code, text := p.get("/readyz"); code != http.StatusOK || text != "ready\n" {
		t.Fatalf("/readyz says %d %q", code, text)
	}

	p.signal(syscall.SIGTERM)
	var refused reply
	w.eventually("new requests are refused", func() bool {
		refused = p.connect("billing", "before.test:"+w.vars["echo"])
		if refused.conn != nil {
			_ = refused.conn.Close()
		}
		return refused.StatusCode != http.StatusOK
	})
	// Readiness fails first: by the time that a request is refused it has.
	if code, text := p.get("/readyz"); code != http.StatusServiceUnavailable || text != "stopping\n" {
		t.Errorf("/readyz says %d %q", code, text)
	}
	if code, _ := p.get("/healthz"); code != http.StatusOK {
		t.Errorf("/healthz says %d; the program lives", code)
	}
	if refused.StatusCode != http.StatusServiceUnavailable || refused.reason() != "draining" || refused.Header.Get("Retry-After") == "" {
		t.Errorf("a new CONNECT gets %s, Retry-After %q", refused.Status, refused.Header.Get("Retry-After"))
	}
	for _, tunnel := range tunnels {
		tunnel.carries(t)
	}
	// The drain would go on for 110 s; it is over with the last tunnel.
	for _, tunnel := range tunnels {
		_ = tunnel.conn.Close()
	}
	if code := p.wait(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if got := p.ended(); got["shutdown"] != 0 || got["client"] < len(tunnels) {
		t.Errorf("tunnels ended as %v", got)
	}
}

func TestTunnelsThatOutliveTheDrainEndAsShutdown(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	p := w.start(strings.Replace(only("before.test"), "functions:", "limits: {drain: 1s}\nfunctions:", 1))
	tunnels := p.open(100)
	p.signal(syscall.SIGTERM)
	for _, tunnel := range tunnels {
		tunnel.ends(t)
	}
	if code := p.wait(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if got := p.ended(); len(got) != 1 || got["shutdown"] != len(tunnels) {
		t.Errorf("tunnels ended as %v", got)
	}
	if all := p.records(); all[len(all)-1].Event != "stopped" {
		t.Errorf("the last record is %s", all[len(all)-1].Event)
	}
	if !p.logged("the drain time is over; closing what is open") {
		t.Error("the log does not say so")
	}
}

func TestSecondSignalEndsTheProgramAtOnce(t *testing.T) {
	t.Parallel()
	for _, second := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		w := newEchoWorld(t)
		p := w.start(only("before.test")) // drains for 110 s
		tunnels := p.open(3)
		p.signal(syscall.SIGTERM)
		w.eventually("the first signal is seen", func() bool { return p.logged("stopping") })
		// A reload is no reason to hurry.
		p.signal(syscall.SIGHUP)
		for _, tunnel := range tunnels {
			tunnel.carries(t)
		}
		p.signal(second)
		if code := p.wait(); code != 0 {
			t.Errorf("%v: exit code %d, want 0", second, code)
		}
		if got := p.ended(); len(got) != 1 || got["shutdown"] != 3 {
			t.Errorf("%v: tunnels ended as %v", second, got)
		}
	}
}

// A question that nobody answers would keep the filter for the 5 s that a
// lookup may take, and then be dns_timeout. So it is where the signals come too
// late, on a machine that is busy; then they prove nothing.
func TestSecondSignalDoesNotWaitForQuestions(t *testing.T) {
	t.Parallel()
	w := newNamesWorld(t)
	w.names.set("two.test", silence)
	w.eventually("a question is not waited for", func() bool {
		r, p := w.signaledTwice()
		if r.Host != "two.test" || r.Reason != "draining" && r.Reason != "dns_timeout" {
			t.Fatalf("the record of the question: %+v", r)
		}
		if r.Reason == "draining" && !p.logged("a second signal; closing what is open") {
			t.Error("the program did not wait for the question before the second signal")
		}
		return r.Reason == "draining"
	})
}

// signaledTwice runs a program, asks what nobody answers, sends two signals, and
// returns the record of the question.
func (w *world) signaledTwice() (record, *running) {
	w.t.Helper()
	p := w.start(withDNS("", namesPolicy))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = p.tryLookup("127.0.1.1", "tcp", "two.test", dns.TypeA)
	}()
	w.eventually("the question waits", func() bool {
		return p.metric("egress_dns_in_flight") == "1" || len(p.of("answered")) > 0
	})
	p.signal(syscall.SIGTERM)
	w.eventually("the first signal is seen", func() bool { return p.logged("stopping") })
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended meanwhile
	if code := p.wait(); code != 0 {
		w.t.Errorf("exit code %d, want 0", code)
	}
	<-done
	return p.one("answered"), p
}

func TestProgramWithoutTunnelsStopsAtOnce(t *testing.T) {
	t.Parallel()
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		w := newEchoWorld(t)
		p := w.start(only("before.test")) // would drain for 110 s
		p.allows("after.test")
		p.signal(s)
		if code := p.wait(); code != 0 {
			t.Errorf("%v: exit code %d, want 0", s, code)
		}
		if all := p.records(); all[0].Event != "started" || all[len(all)-1].Event != "stopped" {
			t.Errorf("%v: records from %s to %s", s, all[0].Event, all[len(all)-1].Event)
		}
	}
}

// The instant between the last record and the end of the process is short, so
// it takes several ends to hit it.
func TestSignalThatComesLateLeavesACleanEnd(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	for range 10 {
		p := w.start(only("before.test"))
		for p.cmd.Process.Signal(syscall.SIGTERM) == nil {
			select {
			case <-p.exited:
			default:
			}
		}
		if code := p.wait(); code != 0 {
			t.Errorf("exit code %d, want 0", code)
		}
	}
}
