package distinct_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/dnsfilter/distinct"
)

var client = netip.MustParseAddr("192.0.2.1")

func TestNamesAreCountedByClientAndWildcardForAMinute(t *testing.T) {
	c := distinct.New(2, distinct.MaxNames)
	now := time.Unix(1000, 0)
	for _, row := range []struct {
		after          time.Duration
		client         string
		wildcard, name string
		want           bool
	}{
		{0, "192.0.2.1", "*.a.example", "1.a.example", true},
		{0, "192.0.2.1", "*.a.example", "2.a.example", true},
		{0, "192.0.2.1", "*.a.example", "3.a.example", false},
		{0, "192.0.2.1", "*.a.example", "1.a.example", true}, // it is counted already
		{0, "192.0.2.1", "*.b.example", "3.b.example", true},
		{0, "192.0.2.2", "*.a.example", "3.a.example", true},
		{59 * time.Second, "192.0.2.1", "*.a.example", "3.a.example", false},
		{time.Minute, "192.0.2.1", "*.a.example", "3.a.example", true},
	} {
		if got := c.Allow(netip.MustParseAddr(row.client), row.wildcard, row.name, now.Add(row.after)); got != row.want {
			t.Errorf("after %v, %s by %s: %t", row.after, row.name, row.client, got)
		}
	}
}

// What all clients hold is bounded, and free again once its minute is over.
func TestMemoryOfAllClientsIsBounded(t *testing.T) {
	c := distinct.New(1000, 100)
	now := time.Unix(1000, 0)
	allowed := 0
	for i := range 1000 {
		if c.Allow(client, "*.a.example", fmt.Sprintf("%d.a.example", i), now) {
			allowed++
		}
	}
	if allowed < 80 || allowed > 100 {
		t.Errorf("%d names are remembered, want about 100", allowed)
	}
	if !c.Allow(client, "*.a.example", "0.a.example", now) {
		t.Error("a name that is remembered is refused")
	}
	other := netip.MustParseAddr("192.0.2.2")
	if c.Allow(other, "*.a.example", "new.a.example", now) {
		t.Error("there is room where there is none")
	}
	if !c.Allow(other, "*.a.example", "new.a.example", now.Add(2*time.Minute)) {
		t.Error("there is no room after the windows are over")
	}
}
