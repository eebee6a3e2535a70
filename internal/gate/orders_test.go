package gate

import (
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// An order that came to its end without having permitted anything has refused.
func TestBehindTheLastStepIsARefusal(t *testing.T) {
	for _, f := range []Front{Connect, Plain} {
		d := Decision{front: f, at: len(stepsOf(f))}
		if need := d.Next(); need != Refused || d.Reason != verdict.ReasonHostNotAllowed {
			t.Errorf("front %d: need %d, reason %q", f, need, d.Reason)
		}
	}
	d := LookupDecision{Rules: &LookupRules{}, at: uint8(len(lookupOrder))}
	if need := d.Next(); need != Refused || d.Reason != verdict.ReasonHostNotAllowed || d.Event.Verdict != verdict.Deny || d.Event.Reason != d.Reason {
		t.Errorf("a lookup: need %d, reason %q", need, d.Reason)
	}
}
