package hostname_test

import (
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
)

func TestTheZeroOfEveryParsedValueIsNothing(t *testing.T) {
	if !(hostname.Name{}).IsZero() || !(hostname.Host{}).IsZero() || !(hostname.Pattern{}).IsZero() {
		t.Error("a zero value says that it is something")
	}
	if s := (hostname.Host{}).String(); s != "" {
		t.Errorf("the zero Host prints as %q", s)
	}
	if _, err := hostname.ParseTarget((hostname.Target{}).String()); err == nil {
		t.Error("the zero Target prints as a target")
	}
	var scope hostname.WildcardScope
	if scope != hostname.ScopeRegistry {
		t.Error("the zero WildcardScope is not the widest")
	}
}
