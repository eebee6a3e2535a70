package entries

import (
	"net/netip"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
)

// own is the beginning of the ARNs of an account's functions.
const own = "arn:aws:lambda:eu-west-1:111122223333:function:"

// Which entry a function is, by the order in which a gate itself looks: the ARN, the
// longest beginning, then the name.
func TestAFunctionIsTheEntryThatAGateWouldTakeItFor(t *testing.T) {
	t.Parallel()
	token, source := []identity.Token{{}}, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	table := New([]identity.Entry{
		{Function: "exact", AWS: []string{own + "shop-pay"}},
		{Function: "short", AWS: []string{own + "sh*"}},
		{Function: "long", AWS: []string{own + "shop-*"}, Sources: source},
		{Function: "named", Sources: source},
		{Function: "arn-alone", AWS: []string{own + "other"}},
		{Function: "both", AWS: []string{own + "else"}, Tokens: token},
		{Function: "task", AWS: []string{"arn:aws:iam::111122223333:role/task"}},
	})
	for _, row := range []struct {
		arn, name, want string
		bySource        bool
	}{
		{own + "shop-pay", "shop-pay", "exact", false},
		{own + "shop-cart", "shop-cart", "long", false},
		{own + "ship", "ship", "short", false},
		{own + "named", "named", "named", true},
		{own + "arn-alone", "arn-alone", "", false}, // its tokens name another function
		{own + "both", "both", "both", false},
		{own + "task", "task", "", false},
		{"arn:aws:lambda:eu-west-1:999988887777:function:shop-pay", "shop-pay", "", false},
		{own + "nobody", "nobody", "", false},
	} {
		e := table.Of(row.arn, row.name)
		if e == nil {
			e = &Entry{}
		}
		if e.Name != row.want || e.BySource != row.bySource {
			t.Errorf("%s is %+v, want %q, by source %t", row.arn, *e, row.want, row.bySource)
		}
	}
	var none *Table
	if e := none.Of(own+"named", "named"); e != nil {
		t.Errorf("without a policy it is %+v", e)
	}
}

func TestAnEntryWaitsForItsARNsOrForItsName(t *testing.T) {
	t.Parallel()
	wants := New([]identity.Entry{
		{Function: "a", AWS: []string{own + "x*", "arn:aws:iam::111122223333:role/r"}},
		{Function: "b", Tokens: []identity.Token{{}}},
	}).Wants()
	if len(wants) != 2 || wants[0] != (Want{"a", own + "x*", "111122223333", "eu-west-1"}) || wants[1] != (Want{Name: "b"}) {
		t.Fatalf("%+v", wants)
	}
	for _, row := range []struct {
		want      Want
		arn, name string
		fits      bool
	}{
		{wants[0], own + "xyz", "xyz", true}, {wants[0], own + "a", "a", false}, {wants[1], own + "b", "b", true}, {wants[1], own + "bb", "bb", false},
	} {
		if row.want.Fits(row.arn, row.name) != row.fits {
			t.Errorf("%+v and %s: want %t", row.want, row.arn, row.fits)
		}
	}
}
