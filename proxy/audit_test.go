package proxy_test

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
)

// failingSink is an output that can fail.
type failingSink struct {
	recordBuffer
	broken atomic.Bool
	writes atomic.Int64
}

func (s *failingSink) Write(p []byte) (int, error) {
	s.writes.Add(1)
	if s.broken.Load() {
		return 0, errors.New("no space left on device")
	}
	return s.recordBuffer.Write(p)
}

func TestWhatCannotBeRecordedIsRefused(t *testing.T) {
	o := newOrigin(t, echo)
	sink := &failingSink{}
	r := openRig(t, o, rigOptions{sink: sink})
	good, bad := connectAs("billing", o.at("any.test")), connectAs("billing", "evil.test:443")

	sink.broken.Store(true)
	want503 := func(raw, what string) {
		t.Helper()
		got := r.ask(raw)
		if got.StatusCode != 503 || got.reason() != "audit_unavailable" || got.Header.Get("Retry-After") == "" {
			t.Errorf("%s: got %s, reason %q", what, got.Status, got.reason())
		}
		if strings.Contains(got.Status+got.body, "no space") {
			t.Errorf("%s: the error reaches the client: %q %q", what, got.Status, got.body)
		}
	}
	// The failure is not known yet: the connection is dialed, and gets no byte.
	want503(good+"early bytes", "a permit that the output does not take")
	if n := o.connections(t); n != 1 {
		t.Errorf("%d connections to the origin", n)
	}
	if s := o.text(); s != "" {
		t.Errorf("the origin got %q", s)
	}
	want503(bad, "a refusal that the output does not take")
	// Now it is known: nothing is dialed.
	want503(good, "a permit while the output fails")
	if n := o.connections(t); n != 1 {
		t.Errorf("%d connections to the origin while the output fails", n)
	}
	if n := r.decisions()[outcome{"billing", "deny", "audit_unavailable", "connect"}]; n != 3 {
		t.Errorf("audit_unavailable is counted %v times, want 3", n)
	}
	if n := r.log.Lost(); n != 3 {
		t.Errorf("%d records are counted as lost, want 3", n)
	}

	sink.broken.Store(false)
	if err := r.log.Probe(); err != nil {
		t.Fatal(err)
	}
	c, br := r.send(good)
	wantEstablished(t, br)
	c.Close()
}

func TestOnFailureCountLetsThroughAndCounts(t *testing.T) {
	o := newOrigin(t, echo)
	sink := &failingSink{}
	sink.broken.Store(true)
	r := openRig(t, o, rigOptions{sink: sink, audit: audit.Options{OnFailure: audit.Count}})
	c, br := r.send(connectAs("billing", o.at("any.test")))
	wantEstablished(t, br)
	if n := r.log.Lost(); n != 1 {
		t.Errorf("%d records are counted as lost, want 1", n)
	}
	c.Close()
}

// gateSink lets a write pass when the test says so.
type gateSink struct {
	recordBuffer
	gate chan struct{}
}

func (s *gateSink) Write(p []byte) (int, error) {
	<-s.gate
	return s.recordBuffer.Write(p)
}

// The output holds each record back. Until it is written the client must have
// nothing and the origin no byte.
func TestTheRecordIsWrittenBeforeTheClientOrTheOriginSeeAnything(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, echo)
	for _, row := range []struct{ name, raw, want string }{
		{"a refusal", connectAs("billing", "evil.test:443"), "HTTP/1.1 403"},
		{"a challenge", "CONNECT x.test:443 HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 407"},
		{"a malformed request", "CONNECT x.test HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 400"},
		{"a permit", connectAs("billing", o.at("any.test")) + "early", "HTTP/1.1 200"},
	} {
		t.Run(row.name, func(t *testing.T) {
			sink := &gateSink{gate: make(chan struct{})}
			r := openRig(t, o, rigOptions{sink: sink})
			c, br := r.send(row.raw)
			_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			if b, err := br.Peek(1); err == nil {
				t.Errorf("the client has %q before the record is written", b)
			}
			if s := o.text(); s != "" {
				t.Errorf("the origin has %q before the record is written", s)
			}
			close(sink.gate)
			_ = c.SetReadDeadline(time.Now().Add(patience))
			wantExactly(t, br, row.want)
			if len(sink.all(t)) == 0 {
				t.Error("the client has the reply and there is no record")
			}
			c.Close()
		})
	}
}

// At the moment a client has its reply the record is there, however many ask
// at the same time; and the metric adds up to the records.
func TestEveryRefusalThatAClientSeesIsInTheRecords(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, echo)
	r := openRig(t, o, rigOptions{functions: []function{{name: "reports"}}})
	raws := []string{
		connectAs("billing", "evil.test:443"), connectAs("reports", o.at("any.test")),
		connectAs("billing", "any.test:1"), connectAs("billing", "nosuch.test"),
		"CONNECT x.test:443 HTTP/1.1\r\nHost: x\r\n\r\n", "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		connectAs("nobody", o.at("any.test")), "GET https://x.test/ HTTP/1.1\r\nHost: x.test\r\n\r\n",
	}
	var wg sync.WaitGroup
	for _, raw := range raws {
		for range 5 {
			c, br := r.send(raw)
			wg.Go(func() {
				defer c.Close()
				got := readReply(t, br)
				id := got.Header.Get("X-Egress-Request-Id")
				for _, m := range r.records.all(t) {
					if m["id"] == id && m["reason"] == got.reason() {
						return
					}
				}
				t.Errorf("%s (%s) has no record", id, got.Status)
			})
		}
	}
	wg.Wait()
	r.reconcile()
}

func TestNothingThatIsAbsentBreaksARecord(t *testing.T) {
	r := newRig(t, rigOptions{functions: []function{{name: "billing"}}})
	r.ask("CONNECT x.test HTTP/1.1\r\n\r\n")
	m := r.one("refused")
	for _, field := range []string{"host", "port", "function", "owner", "via", "rule", "line", "ticket", "addresses", "dialed", "sni"} {
		if v, there := m[field]; !there || v != nil {
			t.Errorf("%s = %v, there: %v; want null", field, v, there)
		}
	}
}

// A function names another host behind each CONNECT, more often than it may have records
// for. What ends its tunnels shares a record then, and others are neither slowed nor
// mixed with it.
func TestRefusedHellosBeyondTheBudgetShareARecord(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, echo)
	rules := []rule{{host: "tls.test", ports: []uint16{o.port}, addresses: loopback}}
	for _, first := range []struct{ what, bytes, reason string }{
		{"another host", clientHello(names("other.test")), "sni_mismatch"},
		{"no host", clientHello(), "sni_missing"},
		{"no TLS", "SSH-2.0-OpenSSH_9.6\r\n", "not_tls"},
	} {
		t.Run(first.what, func(t *testing.T) {
			t.Parallel()
			const n, budget = 60, 5
			r := newRig(t, rigOptions{
				functions: []function{{name: "floods", rules: rules}, {name: "billing", rules: rules}},
				audit:     audit.Options{RefusalRecords: budget},
			})
			r.resolves("tls.test", "127.0.0.1")
			var all sync.WaitGroup
			for range n {
				all.Go(func() {
					c, br := r.send(connectAs("floods", o.at("tls.test")) + first.bytes)
					defer c.Close()
					wantEstablished(t, br)
					wantEnd(t, br)
				})
			}
			all.Go(func() {
				c, br := r.send(connectAs("billing", o.at("tls.test")) + first.bytes)
				defer c.Close()
				wantEstablished(t, br)
				wantEnd(t, br)
			})
			all.Wait()
			sum := 0
			for _, m := range r.of("refused") {
				shared, _ := m["suppressed"].(float64)
				sum += 1 + int(shared)
				if m["reason"] != first.reason || m["function"] == "billing" && shared > 0 {
					t.Errorf("record %v", m)
				}
			}
			// Twenty records more, if the machine takes that many seconds.
			if got := len(r.of("refused")); sum != n+1 || got > budget+1+20 || len(r.of("opened")) != n+1 {
				t.Errorf("%d records of %d refusals, %d opened", got, sum, len(r.of("opened")))
			}
		})
	}
}
