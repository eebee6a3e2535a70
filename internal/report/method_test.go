package report

import (
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/report/tally"
)

func TestEveryMethodOfIdentificationIsCounted(t *testing.T) {
	t.Parallel()
	g := &tally.Group{Methods: map[string]uint64{}}
	ways := uint64(0)
	for v := identity.MethodNone + 1; v.String() != ""; v++ {
		g.Methods[v.String()] = 1
		ways++
	}
	if ways == 0 {
		t.Fatal("there is no method")
	}
	if credential, source := byMethod(g); credential+source != ways || source != 1 {
		t.Errorf("%d requests by credential and %d by source of %d, one by each method", credential, source, ways)
	}
	table := methodsTable(g)
	shown := uint64(0)
	for i, c := range table.Rows[0] {
		if c.String() == "1" {
			shown++
		} else if i >= 2 && i < len(table.Rows[0])-1 {
			t.Errorf("%s shows %q", table.Columns[i].Key, c.String())
		}
	}
	if shown != ways {
		t.Errorf("the section of a function shows %d of %d methods", shown, ways)
	}
}
