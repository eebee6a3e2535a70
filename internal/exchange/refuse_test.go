package exchange

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/gate"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/httphead"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// A dial or a lookup that the end of the program has cut short has not failed: the
// reasons that blame the world beyond the proxy become draining, others stay.
func TestWhatTheEndCutsShortIsDrainingForEveryReasonFromOutside(t *testing.T) {
	outside := []string{"dns_failed", "dns_timeout", "dial_failed", "dial_timeout", "origin_failed"}
	for _, ended := range []bool{false, true} {
		var records bytes.Buffer
		s := NewShared(Options{
			Policy: func() (*policy.Policy, *identity.Table) { return nil, nil },
			Audit:  audit.New(&records, audit.Options{}),
		})
		if ended {
			s.Stop()
		}
		blamed := 0
		for _, r := range verdict.Reasons() {
			if r == verdict.ReasonAuditUnavailable {
				continue // is no record
			}
			want := r.String()
			for _, word := range outside {
				if word == want && ended {
					want = "draining"
					blamed++
				}
			}
			if got := refusedWith(t, s, r); !strings.Contains(got, "\r\nX-Egress-Reason: "+want+"\r\n") {
				t.Errorf("ended %t: %s is answered %q, want %s", ended, r, got, want)
			}
		}
		if ended && blamed != len(outside) {
			t.Errorf("%d reasons are from outside, want %d", blamed, len(outside))
		}
		s.Stop()
	}
}

// refusedWith returns what a client reads whose request is refused.
func refusedWith(t *testing.T, s *Shared, r verdict.Reason) string {
	t.Helper()
	client, server := net.Pipe()
	if !s.Conns.Acquire(nil) {
		t.Fatal("no place for a connection")
	}
	go func() {
		defer server.Close()
		x := s.Begin(s.Conns.Add(server), gate.Plain, &httphead.Head{})
		x.Refuse(r, nil)
		x.SendRefusal()
	}()
	reply, err := io.ReadAll(client)
	if err != nil {
		t.Error(err)
	}
	return string(reply)
}
