package upstream

import (
	"net/netip"
	"testing"
	"time"
)

func TestProbeOfAnUpstreamIsOneQuestionAndNotAll(t *testing.T) {
	u := []*server{{addr: netip.MustParseAddrPort("127.0.0.1:53")}, {addr: netip.MustParseAddrPort("127.0.0.2:53")}}
	u[0].down.Store(int64(time.Second))
	if got := order(u, 2*time.Second); got[0] != u[0] {
		t.Error("the first question after the pause does not probe")
	}
	if got := order(u, 2*time.Second); got[0] != u[1] {
		t.Error("the second waits for the same probe")
	}
}
