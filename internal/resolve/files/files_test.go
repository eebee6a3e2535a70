package files

import (
	"net/netip"
	"strings"
	"testing"
)

func TestOneNameOfTheHostsFileHoldsSixteenAddressesAtMost(t *testing.T) {
	var text strings.Builder
	for i := range 100 {
		text.WriteString(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}).String() + " x.example\n")
	}
	if got := parseHosts([]byte(text.String()), 16)["x.example"].Both; len(got) != 16 {
		t.Errorf("%d addresses, want 16", len(got))
	}
}
