package gate_test

import (
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/gate"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// Whether a refused name has names below it is answered from the list of whoever asks: a
// source's own, or that of all for a source of none.
func TestNamesBelowAreThoseOfWhoeverAsks(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		source, name string
		lone         bool // sources of no function get nothing
		want         bool
	}{
		{source: fromBilling, name: "test", want: true},
		{source: fromBilling, name: "wild.test", want: true},
		{source: fromBilling, name: "deep.test"},
		{source: fromBilling, name: "other.test"},
		{source: fromBilling, name: "a.evil.test"},
		{source: fromBilling, name: "test", lone: true, want: true},
		{source: fromNightly, name: "deep.test", want: true},
		{source: fromNightly, name: "other.test", want: true}, // it reports
		{source: fromNightly, name: "a.evil.test"},
		{source: fromNobody, name: "deep.test", want: true},
		{source: fromNobody, name: "other.test"},
		{source: fromNobody, name: "a.evil.test"},
		{source: fromNobody, name: "deep.test", lone: true},
	} {
		d := question(t, row.source, row.name, typeA, classIN)
		if row.lone {
			d.Rules.Union = nil
		}
		d.Next()
		if got := d.HasBelow(); got != row.want {
			t.Errorf("%s for %s: %t", row.name, row.source, got)
		}
	}
	if (&gate.LookupDecision{}).HasBelow() {
		t.Error("a question without rules has names below it")
	}
}

// A question that is refused before its first step is recorded with its function.
func TestSourceOfARefusedQuestionCanBeFound(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{fromBilling: "billing of payments by source", fromNobody: " of  by "} {
		d := question(t, source, "", typeA, classIN)
		d.FindSource()
		d.Refuse(verdict.ReasonBadRequest)
		e := d.Event
		if got := e.Function + " of " + e.Owner + " by " + e.Via; got != want || e.Reason != verdict.ReasonBadRequest || e.Verdict != verdict.Deny {
			t.Errorf("%s: %s; %v, %q", source, got, e.Verdict, e.Reason)
		}
	}
	var d gate.LookupDecision
	d.FindSource()
	if need := d.Next(); need != gate.Refused || d.Event.Function != "" {
		t.Errorf("without rules: need %s, function %q", lookupNeeds[need], d.Event.Function)
	}
}
