package report

import (
	"bytes"
	"encoding/csv"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// stream is the records of one boot, written by the log that the proxy writes
// with, at times that the test says.
type stream struct {
	t    testing.TB
	log  *audit.Log
	now  time.Time
	out  bytes.Buffer
	pol  *policy.Policy
	hash string
}

// began is when the streams of the tests begin.
var began = time.Date(2026, 11, 22, 4, 0, 0, 0, time.UTC)

// newStream returns a stream that is empty, of a boot with that name.
func newStream(t testing.TB, boot string) *stream {
	t.Helper()
	s := &stream{t: t, now: began, hash: "0cef9cd995fc"}
	s.log = audit.New(&s.out, audit.Options{Process: boot, Version: "v1.2.3", Now: func() time.Time { return s.now }})
	conditions := &policy.Conditions{Ports: hostname.Ports(443), Ticket: "SEC-1"}
	pattern := func(s string) hostname.Pattern {
		p, err := hostname.ParsePattern(s)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	pol, err := policy.Compile(policy.Spec{Hash: s.hash, Functions: []policy.FunctionSpec{
		{Name: "billing", Owner: "payments", Rules: []policy.RuleSpec{
			{Line: 8, Pattern: pattern("api.stripe.com"), Conditions: conditions}, {Line: 9, Pattern: pattern("*.example.org"), Conditions: conditions},
		}},
		{Name: "nightly", Rules: []policy.RuleSpec{{Line: 12, Pattern: pattern("data.example.net"), Conditions: conditions}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	s.pol = pol
	return s
}

// after moves the clock on.
func (s *stream) after(d time.Duration) *stream { s.now = s.now.Add(d); return s }

// event returns the event of a request from a client, with the rule that the
// policy has for it.
func (s *stream) event(kind audit.Kind, client, function, host string) audit.Event {
	e := audit.Event{
		Kind: kind, Policy: s.hash, ID: s.log.NextID(), Protocol: "connect", Client: netip.MustParseAddrPort(client), Method: "CONNECT",
		Function: function, Host: host, Port: 443,
	}
	if f := s.pol.Function(function); f != nil {
		e.Owner, e.Via = f.Owner(), "token"
		if target, err := hostname.ParseTarget(host + ":443"); err == nil {
			d := s.pol.Decide(f, target, s.now)
			e.Rule, e.Verdict, e.Reason = d.Rule, d.Verdict, d.Reason
		}
	}
	return e
}

// record writes events.
func (s *stream) record(events ...audit.Event) {
	s.t.Helper()
	for i := range events {
		if err := s.log.Record(&events[i]); err != nil {
			s.t.Fatal(err)
		}
	}
}

// refuse writes a refusal.
func (s *stream) refuse(client, function, host string, reason verdict.Reason) {
	s.t.Helper()
	e := s.event(audit.Refused, client, function, host)
	e.Verdict, e.Reason = verdict.Deny, reason
	s.record(e)
}

// end writes the last record and returns the stream.
func (s *stream) end() []byte {
	s.record(audit.Event{Kind: audit.Stopped, Policy: s.hash})
	return s.out.Bytes()
}

// reportOf makes a report of streams, as of one file.
func reportOf(t testing.TB, o Options, streams ...[]byte) *Report {
	t.Helper()
	b := New(o)
	for _, one := range streams {
		feed(b, "records.jsonl", one)
	}
	return b.Report()
}

// feed gives the lines of a stream to a builder.
func feed(b *Builder, file string, stream []byte) {
	n := 0
	for line := range bytes.Lines(stream) {
		n++
		_ = b.Add(evidence.Line{File: file, Number: n, Raw: bytes.TrimSuffix(line, []byte("\n"))})
	}
}

// written returns a report in a format.
func (r *Report) written(t testing.TB, f Format) string {
	t.Helper()
	var b bytes.Buffer
	if err := r.Write(&b, f); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// rowsOf reads a report's CSV and returns the rows of a section as maps.
func rowsOf(t testing.TB, report, section string) (all []map[string]string) {
	t.Helper()
	lines, err := csv.NewReader(strings.NewReader(report)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines[1:] {
		if line[0] != section {
			continue
		}
		m := map[string]string{}
		for i, key := range lines[0] {
			m[key] = line[i]
		}
		all = append(all, m)
	}
	return all
}

// pick returns the only row in which the keys have the values.
func pick(t testing.TB, rows []map[string]string, pairs ...string) map[string]string {
	t.Helper()
	var found []map[string]string
	for _, row := range rows {
		fits := true
		for i := 0; i < len(pairs); i += 2 {
			fits = fits && row[pairs[i]] == pairs[i+1]
		}
		if fits {
			found = append(found, row)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d rows have %v, want 1: %v", len(found), pairs, rows)
	}
	return found[0]
}

// has compares some values of a row.
func has(t testing.TB, row map[string]string, pairs ...string) {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if row[pairs[i]] != pairs[i+1] {
			t.Errorf("%s is %q, want %q; the row: %v", pairs[i], row[pairs[i]], pairs[i+1], row)
		}
	}
}

// summed is by event what its requests are called in the summary.
var summed = map[string]string{
	eventOpened: "let through (opened), by a rule or by report mode", eventRefused: "refused",
	eventChallenged: "asked for a credential (challenged)",
	eventAnswered:   "DNS questions with a record (answered, refused ones included)",
}

// sumsOf returns the summary of a report.
func sumsOf(t testing.TB, r *Report) map[string]int {
	t.Helper()
	sums := map[string]int{}
	for _, row := range rowsOf(t, r.written(t, CSV), "sums") {
		sums[row["what"]] = atoi(t, row["requests"])
	}
	return sums
}

// requests returns how many requests a report counts.
func requests(t testing.TB, r *Report) int {
	t.Helper()
	return sumsOf(t, r)["requests in all"]
}

func atoi(t testing.TB, s string) int {
	t.Helper()
	if s == "" {
		return 0
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
