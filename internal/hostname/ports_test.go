package hostname_test

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
)

func TestARangeOfPortsHasBothItsEnds(t *testing.T) {
	for text, want := range map[string]hostname.PortRange{
		"443": {First: 443, Last: 443}, "8000-8010": {First: 8000, Last: 8010}, "1-65535": {First: 1, Last: 65535}, "80-80": {First: 80, Last: 80},
	} {
		r, err := hostname.ParsePortRange(text)
		if err != nil || r != want {
			t.Errorf("%s: %v, %v", text, r, err)
		}
		if r.Contains(want.First-1) || !r.Contains(want.First) || !r.Contains(want.Last) || r.Contains(want.Last+1) {
			t.Errorf("%s has a port more or less than it says", text)
		}
	}
	for _, text := range []string{"", "-", "0", "0-1", "1-", "-1", "10-1", "1-65536", "1-2-3", "01-2", "1 - 2", "+1-2", "1-٢", "http"} {
		if r, err := hostname.ParsePortRange(text); !errors.Is(err, hostname.ErrBadPorts) || r != (hostname.PortRange{}) {
			t.Errorf("%q: %v, %v", text, r, err)
		}
	}
}

func TestPortsAreWrittenAsTheFileHasThem(t *testing.T) {
	text, err := json.Marshal([]hostname.PortRange{hostname.Port(443), {First: 8000, Last: 8010}})
	if string(text) != `[443,"8000-8010"]` || err != nil {
		t.Errorf("%s, %v", text, err)
	}
	var back []hostname.PortRange
	if err := json.Unmarshal(text, &back); err != nil || !slices.Equal(back, []hostname.PortRange{hostname.Port(443), {First: 8000, Last: 8010}}) {
		t.Errorf("%v, %v", back, err)
	}
	if err := json.Unmarshal([]byte(`["0-7"]`), &back); err == nil {
		t.Error("no error")
	}
}

func TestMergedPortsAreTheSamePorts(t *testing.T) {
	in := []hostname.PortRange{{First: 90, Last: 95}, {First: 65535, Last: 65535}, {First: 1, Last: 9}, {First: 3, Last: 4}, {First: 10, Last: 10}, {First: 60000, Last: 65534}, {First: 97, Last: 97}}
	want := []hostname.PortRange{{First: 1, Last: 10}, {First: 90, Last: 95}, {First: 97, Last: 97}, {First: 60000, Last: 65535}}
	if got := hostname.MergePorts(in); !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
	if got := hostname.MergePorts(nil); len(got) > 0 {
		t.Errorf("%v", got)
	}
}
