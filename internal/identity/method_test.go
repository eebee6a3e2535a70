package identity_test

import (
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
)

func TestEveryMethodHasItsRow(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, m := range identity.Methods() {
		if m.String() == "" || m.Key() == "" || seen[m.String()] || seen[m.Key()] {
			t.Errorf("method %d has the word %q and the key %q", m, m, m.Key())
		}
		seen[m.String()], seen[m.Key()] = true, true
	}
	if len(seen) == 0 {
		t.Error("there is no method")
	}
	first := identity.Method(len(identity.Methods()) + 1) // of those that are unknown
	for _, m := range []identity.Method{identity.MethodNone, first, 200} {
		if m.String() != "" || m.Key() != "" || m.IsCredential() {
			t.Errorf("method %d is %q, %q", m, m, m.Key())
		}
	}
}
