package clientconn

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/admission"
)

// A connection that waits for its next request counts to whoever has asked last on it.
func TestKeptConnectionCountsToWhoHasAskedLast(t *testing.T) {
	var s admission.Slots
	s.Init(admission.SlotsOptions{
		Total: 10, PerFunction: 10, KeepAlive: 2, Excess: &admission.Excess{},
		Short: func() bool { return false }, NewData: func(string) any { return nil },
	})
	a, _, _ := s.Acquire("a", 0)
	b, _, _ := s.Acquire("b", 0)
	var one, other Conn
	for i, step := range []struct {
		c     *Conn
		by    *admission.Usage
		kept  bool
		total int64
	}{
		{&one, nil, false, 0},
		{&one, a, true, 1},
		{&one, a, true, 1},
		{&other, a, false, 1}, // it has its share, one
		{&one, b, true, 1},
		{&other, a, true, 2},
		{&other, nil, false, 1},
	} {
		if kept := step.c.TakeKeepAlive(step.by); kept != step.kept || s.IdleKeepAlive() != step.total {
			t.Errorf("step %d: %t, %d are kept", i, kept, s.IdleKeepAlive())
		}
	}
}

// deadlines is a connection that remembers the last deadline.
type deadlines struct {
	net.Conn
	last time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error { d.last = t; return nil }

func TestRefusedRequestLeavesFiveSecondsForTheNextAndAnyOtherAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &deadlines{}
		c := Conn{Conn: d, set: NewSet(Options{})}
		for i, refused := range []bool{false, true, false} {
			c.Refused = refused
			c.AwaitNext()
			want := time.Minute
			if refused {
				want = 5 * time.Second
			}
			if wait := time.Until(d.last); wait != want {
				t.Errorf("request %d, refused %t, leaves %s", i, refused, wait)
			}
		}
	})
}
