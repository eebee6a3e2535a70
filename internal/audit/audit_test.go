package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// at is the instant of records whose text is compared.
var at = time.Date(2026, 3, 4, 5, 6, 7, 89, time.UTC)

// row is the part of a record that tests look at.
type row struct {
	Time, Event, Boot, Prev, Host, Reason string
	Seq                                   uint64
	Totals                                map[string]map[string]uint64
	Lost                                  uint64
}

// verify parses a stream of one boot and checks what an auditor would: whole
// lines of JSON, seq from 1 without a gap, an unbroken chain.
func verify(t *testing.T, stream []byte, boot string) []row {
	t.Helper()
	if len(stream) > 0 && stream[len(stream)-1] != '\n' {
		t.Fatalf("the stream ends in the middle of a line: %q", stream)
	}
	prev := sha256.Sum256([]byte(boot))
	var rows []row
	for line := range bytes.Lines(stream) {
		line = line[:len(line)-1]
		var r row
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatalf("line %d: %v: %q", len(rows)+1, err, line)
		}
		if want := uint64(len(rows) + 1); r.Seq != want {
			t.Fatalf("line %d has seq %d", want, r.Seq)
		}
		if r.Boot != boot || r.Prev != hex.EncodeToString(prev[:]) {
			t.Fatalf("line %d does not chain to the one before it: %s", r.Seq, line)
		}
		prev = sha256.Sum256(line)
		rows = append(rows, r)
	}
	return rows
}

// hosts returns the hosts of rows as a set.
func hosts(rows []row) map[string]bool {
	set := map[string]bool{}
	for _, r := range rows {
		if r.Host != "" {
			set[r.Host] = true
		}
	}
	return set
}

// refusal is an event that is told from others by its host.
func refusal(host string) *Event {
	return &Event{Kind: Refused, Host: host, Port: 443, Reason: verdict.ReasonHostNotAllowed}
}

// counter returns the value of a counter without labels.
func counter(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// output is what a log writes to while a test reads it: what was posted is
// written by the clock.
type output = egresstest.Buffer

// deadWriter fails while err is set.
type deadWriter struct {
	mu  sync.Mutex
	err error
	output
}

func (w *deadWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return 0, w.err
	}
	return w.output.Write(p)
}

func (w *deadWriter) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
}

func TestRecordsOfHundredGoroutinesHaveNoGapAndChain(t *testing.T) {
	var out output
	l := New(&out, Options{})
	var wg sync.WaitGroup
	for g := range 100 {
		wg.Go(func() {
			for i := range 20 {
				if err := l.Record(refusal(fmt.Sprintf("h%d-%d.example", g, i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := len(hosts(verify(t, out.Bytes(), l.Process()))); got != 2000 {
		t.Errorf("%d of 2000 records are in the stream", got)
	}
}

func TestAnEventWithoutAKindIsRefused(t *testing.T) {
	for _, mode := range []Failure{Refuse, Count} {
		var out output
		l := New(&out, Options{OnFailure: mode})
		for _, e := range []*Event{nil, {}, {Kind: Expired + 1}, {Kind: 255}} {
			if err := l.Record(e); !errors.Is(err, ErrKind) {
				t.Errorf("%v, %+v: %v", mode, e, err)
			}
		}
		if out.Len() != 0 {
			t.Errorf("it was written: %s", &out)
		}
	}
}

func TestTheZeroFailureRefuses(t *testing.T) {
	l := New(&deadWriter{err: errors.New("EIO")}, Options{})
	if err := l.Record(refusal("a.example")); !errors.Is(err, ErrUnavailable) || l.Healthy() {
		t.Errorf("Record: %v, Healthy: %v", err, l.Healthy())
	}
	l = New(&deadWriter{err: errors.New("EIO")}, Options{OnFailure: 7})
	if err := l.Record(refusal("a.example")); !errors.Is(err, ErrUnavailable) {
		t.Errorf("an unknown mode: %v", err)
	}
}

func TestBootsDifferAndHave16HexDigits(t *testing.T) {
	a, b := New(&output{}, Options{}).Process(), New(&output{}, Options{}).Process()
	if _, err := hex.DecodeString(a); err != nil || len(a) != 16 || a == b {
		t.Errorf("boots %q and %q", a, b)
	}
}

func TestIDsAreUniqueAndPrintedAsInTheRecord(t *testing.T) {
	var out output
	l := New(&out, Options{Process: "b007"})
	first, second := l.NextID(), l.NextID()
	if first == 0 || first == second || l.FormatID(0) != "" {
		t.Fatalf("ids %d and %d, %q for none", first, second, l.FormatID(0))
	}
	if err := l.Record(&Event{Kind: Opened, ID: second}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), `"id":"`+l.FormatID(second)+`"`) {
		t.Errorf("%s is not in %s", l.FormatID(second), &out)
	}
}

func TestCountModeLosesNothingUncounted(t *testing.T) {
	w := &deadWriter{}
	reg := prometheus.NewRegistry()
	l := New(w, Options{OnFailure: Count, Registerer: reg})
	for i := range 30 {
		w.fail(nil)
		if i >= 10 && i < 20 {
			w.fail(errors.New("EIO"))
		}
		e := refusal("a.example")
		e.Suppressed = 2
		if err := l.Record(e); err != nil {
			t.Fatal(err)
		}
	}
	if !l.Healthy() {
		t.Error("count mode is unhealthy")
	}
	if got := counter(t, reg, "egress_audit_lost_total"); got != 30 || l.Lost() != 30 {
		t.Errorf("lost: metric %v, Lost %d, want ten records that stand for three events each", got, l.Lost())
	}
	if rows := verify(t, w.Bytes(), l.Process()); len(rows) != 20 {
		t.Errorf("%d records, want 20", len(rows))
	}
}

func TestAHeartbeatHasTheTotalsOfTheRecordsBeforeIt(t *testing.T) {
	w := &deadWriter{}
	l := New(w, Options{})
	record := func(e Event) {
		if err := l.Record(&e); err != nil {
			t.Fatal(err)
		}
	}
	record(Event{Kind: Started})
	record(Event{Kind: Refused, Reason: verdict.ReasonHostNotAllowed})
	record(Event{Kind: Refused, Reason: verdict.ReasonHostNotAllowed, Suppressed: 41})
	record(Event{Kind: Refused, Reason: verdict.ReasonDNSFailed})
	record(Event{Kind: Opened, Verdict: verdict.Allow})
	record(Event{Kind: Opened, Verdict: verdict.Report, Reason: verdict.ReasonHostNotAllowed})
	w.fail(errors.New("EIO"))
	if err := l.Record(refusal("lost.example")); err == nil {
		t.Fatal("no error")
	}
	if err := l.Heartbeat("p"); err == nil {
		t.Fatal("no error")
	}
	w.fail(nil)
	if err := l.Heartbeat("p"); err != nil {
		t.Fatal(err)
	}
	rows := verify(t, w.Bytes(), l.Process())
	last := rows[len(rows)-1]
	want := `map[opened:map[host_not_allowed:1 none:1] refused:map[dns_failed:1 host_not_allowed:43]]`
	if got := fmt.Sprint(last.Totals); got != want || last.Lost != 1 || last.Event != "heartbeat" {
		t.Errorf("%s with %s, %d lost\nwant %s, 1 lost", last.Event, got, last.Lost, want)
	}
	totals := l.Totals()
	if len(totals) != 4 || totals[0] != (Total{Kind: Refused, Verdict: verdict.Deny, Reason: verdict.ReasonHostNotAllowed, Count: 43}) {
		t.Errorf("Totals: %+v", totals)
	}
}

func TestProbeNoticesRecoveryWithoutARequest(t *testing.T) {
	for _, mode := range []Failure{Refuse, Count} {
		w := &deadWriter{}
		l := New(w, Options{OnFailure: mode})
		if err := l.Probe(); err != nil || w.Len() != 0 {
			t.Fatalf("a probe of a log that works: %v, %q", err, &w.output)
		}
		w.fail(errors.New("EIO"))
		_ = l.Record(&Event{Kind: Refused, Policy: "0123456789ab"})
		if err := l.Probe(); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%v: a probe of a dead output: %v", mode, err)
		}
		if got := l.Healthy(); got != (mode == Count) {
			t.Errorf("%v: Healthy is %v", mode, got)
		}
		w.fail(nil)
		if err := l.Probe(); err != nil || !l.Healthy() {
			t.Errorf("%v: after recovery: %v", mode, err)
		}
		rows := verify(t, w.Bytes(), l.Process())
		if len(rows) != 1 || rows[0].Lost != 1 || !strings.Contains(w.String(), `"policy":"0123456789ab"`) {
			t.Errorf("%v: %s", mode, &w.output)
		}
	}
}

func TestAfterCloseRecordsAreUnavailable(t *testing.T) {
	l := New(&output{}, Options{})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Record(refusal("a.example")); !errors.Is(err, ErrUnavailable) || l.Lost() != 1 {
		t.Errorf("%v, %d lost", err, l.Lost())
	}
	if err := l.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
}

// request is an event with every field of a request set.
func request(tb testing.TB) *Event {
	tb.Helper()
	name, err := hostname.ParseName("api.stripe.com")
	if err != nil {
		tb.Fatal(err)
	}
	pattern, err := hostname.ParsePattern("api.stripe.com")
	if err != nil {
		tb.Fatal(err)
	}
	p, err := policy.Compile(policy.Spec{Functions: []policy.FunctionSpec{{
		Name:  "billing-webhook",
		Rules: []policy.RuleSpec{{Line: 41, Pattern: pattern, Conditions: &policy.Conditions{Ports: hostname.Ports(443), Ticket: "SEC-1234"}}},
	}}})
	if err != nil {
		tb.Fatal(err)
	}
	d := p.Decide(p.Function("billing-webhook"), hostname.Target{Host: hostname.NameHost(name), Port: 443}, at)
	return &Event{
		Kind: Closed, Policy: "0123456789ab", ID: 0xbeef, Protocol: "connect",
		Client:   netip.MustParseAddrPort("[::ffff:10.0.12.7]:40123"),
		Function: "billing-webhook", Owner: "payments-team", Via: "token", Method: "CONNECT",
		Host: "api.stripe.com", Port: 443, Verdict: d.Verdict, Reason: d.Reason, Rule: d.Rule,
		Addresses: []netip.Addr{netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr("2001:db8::7")},
		Dialed:    netip.MustParseAddrPort("203.0.113.7:443"), SNI: "api.stripe.com", HasSNI: true,
		BytesUp: 1234, BytesDown: 56789, Duration: 61*time.Second + 4567*time.Microsecond, Ended: "client",
	}
}
