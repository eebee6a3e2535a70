package summary

import (
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/finding"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/snapshot"
)

// set has the functions a, b and c in one region.
func set() *snapshot.Set {
	return &snapshot.Set{Snapshots: []snapshot.Snapshot{{ID: "1", Regions: []snapshot.Region{{Name: "r", Functions: []snapshot.Function{{Name: "a"}, {Name: "b"}, {Name: "c"}}}}}}}
}

func TestAFunctionIsBehindOnlyWhereEverythingSaysSo(t *testing.T) {
	t.Parallel()
	var zero State
	if zero != Unknown {
		t.Error("a state that nobody set is not unknown")
	}
	for _, s := range []State{Unknown, Round, Behind} {
		var got State
		if err := got.UnmarshalText([]byte(s.String())); err != nil || got != s {
			t.Errorf("%s is read as %s: %v", s, got, err)
		}
	}
	if err := zero.UnmarshalText([]byte("fine")); err == nil || zero != Unknown {
		t.Errorf("fine is read as %s", zero)
	}
	at := finding.Finding{ID: "P02", Owner: "1", Region: "r", Functions: []string{"a"}}
	change := func(do func(*finding.Finding)) finding.Finding {
		f := at
		do(&f)
		return f
	}
	for _, row := range []struct {
		name                   string
		f                      finding.Finding
		behind, round, unknown int
	}{
		{"a way", at, 2, 1, 0},
		{"a private way", change(func(f *finding.Finding) { f.Severity = finding.Medium }), 2, 1, 0},
		{"an accepted way is one still", change(func(f *finding.Finding) { f.Accepted = "net" }), 2, 1, 0},
		{"of low severity", change(func(f *finding.Finding) { f.Severity = finding.Low }), 3, 0, 0},
		{"no way", change(func(f *finding.Finding) { f.ID = "P09" }), 3, 0, 0},
		{"another region", change(func(f *finding.Finding) { f.Region = "s" }), 3, 0, 0},
		{"a region not read", finding.Finding{ID: finding.Unread, Owner: "1", Region: "r", Resource: "ec2:DescribeSubnets"}, 0, 0, 3},
		{"an account not read", finding.Finding{ID: finding.Unread, Owner: "1", Resource: "ec2:DescribeRegions"}, 0, 0, 3},
		{"one not read", finding.Finding{ID: finding.Unread, Owner: "1", Region: "r", Resource: "subnet-x", Functions: []string{"a"}}, 2, 0, 1},
		{"roles not read", finding.Finding{ID: finding.Unread, Owner: "1", Resource: "iam:GetAccountAuthorizationDetails"}, 3, 0, 0},
		{"a region that is off", finding.Finding{ID: finding.Unread, Owner: "1", Region: "r", Severity: finding.Info, Resource: "r"}, 3, 0, 0},
	} {
		s := Of(set(), []finding.Finding{row.f})
		if s.Behind != row.behind || s.Round != row.round || s.Unknown != row.unknown || s.Total != 3 {
			t.Errorf("%s: %+v", row.name, s)
		}
	}
}

func TestTheHeadlineSaysWhatIsNotKnown(t *testing.T) {
	t.Parallel()
	if got := Of(set(), nil).Headline(); got != "3 of 3 functions are behind the gate" {
		t.Error(got)
	}
	got := Of(set(), []finding.Finding{{ID: finding.Unread, Owner: "1", Region: "r", Resource: "ec2:DescribeSubnets"}}).Headline()
	if got != "0 of 3 functions are behind the gate, of 3 nobody knows; not everything could be read" {
		t.Error(got)
	}
}
