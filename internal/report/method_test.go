package report

import (
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
)

func TestEveryMethodOfIdentificationIsCounted(t *testing.T) {
	t.Parallel()
	g := &group{via: map[string]uint64{}}
	ways := uint64(0)
	for v := identity.MethodNone + 1; v.String() != ""; v++ {
		g.via[v.String()] = 1
		ways++
	}
	if ways == 0 {
		t.Fatal("there is no method")
	}
	if credential, source := g.known(); credential+source != ways || source != 1 {
		t.Errorf("%d requests by credential and %d by source of %d, one by each method", credential, source, ways)
	}
	table := g.methodsTable()
	shown := uint64(0)
	for i, c := range table.rows[0] {
		if c.text == "1" {
			shown++
		} else if i >= 2 && i < len(table.rows[0])-1 {
			t.Errorf("%s shows %q", table.columns[i].key, c.text)
		}
	}
	if shown != ways {
		t.Errorf("the section of a function shows %d of %d methods", shown, ways)
	}
}
