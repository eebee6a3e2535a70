package tally

import (
	"fmt"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence"
)

// began is the time of the first record.
var began = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// refused returns the record of a refusal.
func refused(function, host string, at time.Time) *evidence.Record {
	return &evidence.Record{Time: at, Event: eventRefused, Function: function, Host: host, Reason: "host_not_allowed"}
}

func TestManyFunctionsAreSummedUp(t *testing.T) {
	t.Parallel()
	c := New(Options{MaxRows: 10})
	c.maxGroups = 20
	for i := range 3 * c.maxGroups {
		c.Add("records.jsonl", refused(fmt.Sprintf("f%02d", i), "evil.example", began), nil)
	}
	c.Add("records.jsonl", refused("", "evil.example", began), nil)
	groups := c.Groups()
	if len(groups) != c.maxGroups+1 {
		t.Fatalf("%d functions are kept, want %d and one for the others", len(groups), c.maxGroups)
	}
	last := groups[len(groups)-1]
	if rows, requests := last.Sum(Refused); last.CallerKey != others || rows != 1 || requests != 40 {
		t.Errorf("the last function is %v, with %d requests to %d hosts", last.CallerKey, requests, rows)
	}
	if _, requests := last.Sum(Caller); requests != 1 {
		t.Errorf("%d requests of a caller that was not identified, who comes beyond the bound too", requests)
	}
}

func TestCallersWithoutAFunctionStandLast(t *testing.T) {
	t.Parallel()
	c := New(Options{MaxRows: 10})
	if g := c.Nobody(); !g.IsNobody() || !g.IsEmpty(Caller) {
		t.Errorf("before the first record there is %v", g)
	}
	for _, function := range []string{"", "b", "a"} {
		c.Add("records.jsonl", refused(function, "evil.example", began), nil)
	}
	var order []string
	for _, g := range c.Groups() {
		order = append(order, g.Function)
	}
	if fmt.Sprint(order) != "[a b ]" || c.Nobody().IsEmpty(Caller) || !c.Nobody().IsEmpty(Refused) {
		t.Errorf("the functions are %q", order)
	}
}

func TestHostsBeyondTheRowsAreCountedTogether(t *testing.T) {
	t.Parallel()
	const hosts, rows = 1_000, 100
	c := New(Options{MaxRows: rows})
	for i := range 2 * hosts {
		c.Add("records.jsonl", refused("f", fmt.Sprintf("h%d.evil.example", i%hosts), began), nil)
	}
	if c.rows != rows || len(c.attempts.last) > rows {
		t.Errorf("%d rows and %d attempts are kept, want %d", c.rows, len(c.attempts.last), rows)
	}
	g := c.Groups()[0]
	if rest := g.Rest(Refused); rest.Rows != hosts-rows || rest.Requests != 2*(hosts-rows) || len(g.Rows(Refused)) != rows {
		t.Errorf("beyond %d rows there are %+v", len(g.Rows(Refused)), rest)
	}
	if known, requests := g.Sum(Refused); known != hosts || requests != 2*hosts {
		t.Errorf("in all there are %d hosts with %d requests", known, requests)
	}
}

func TestAttemptsAreForgottenWhenNothingCanRepeatThem(t *testing.T) {
	t.Parallel()
	c := New(Options{MaxRows: 10_000})
	for i := range 5_000 {
		c.Add("records.jsonl", refused("f", fmt.Sprintf("h%d", i), began.Add(time.Duration(i)*time.Second)), nil)
	}
	if n := len(c.attempts.last); n > 30 {
		t.Errorf("%d attempts are remembered of one a second, want those of the last seconds", n)
	}
}

// What ends several requests that were opened is counted once with them, though it has
// the id of one.
func TestRefusalThatEndsSeveralRequestsCountsThemOnce(t *testing.T) {
	t.Parallel()
	c := New(Options{MaxRows: 10})
	for i := range 3 {
		r := refused("f", "api.example", began)
		r.Event, r.Verdict, r.ID = eventOpened, verdictAllow, fmt.Sprint("b-", i)
		c.Add("records.jsonl", r, nil)
	}
	r := refused("f", "api.example", began)
	r.ID, r.Suppressed = "b-1", 2
	c.Add("records.jsonl", r, nil)
	if s := c.Sums(); s.Requests() != 3 || s.Refused != 3 || s.RefusedOpen != 3 || s.Opened != 3 {
		t.Errorf("%+v", *s)
	}
}
