package snapshot

import (
	"bytes"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

func TestASetIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	set := &Set{Format: Format, Made: "2026-01-31T00:00:00Z", Snapshots: []Snapshot{{
		ID: "111122223333",
		Regions: []Region{{
			Name:      "eu-west-1",
			Functions: []Function{{ARN: "arn", Network: Network{Subnets: []string{"subnet-a"}, IPv6: true}, Vars: []Var{{Name: "A", Secret: "named"}}, URLs: []URL{{Auth: "NONE"}}}},
			VPCs:      []VPC{{ID: "vpc-1", Blocks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}, Firewall: Firewall{Groups: 1}}},
		}},
		Roles:  []Role{{ARN: "role", Boundary: &Policy{Name: "b"}}},
		Unread: []Unread{{Call: "lambda:GetPolicy", Gone: true}},
	}}}
	var b bytes.Buffer
	if err := set.Write(&b); err != nil {
		t.Fatal(err)
	}
	got, err := Read(&b)
	if err != nil || !reflect.DeepEqual(got, set) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, set)
	}
}

// A member that nobody knows may be what a newer version has found.
func TestWhatIsNoSnapshotIsRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "{}", "null", `{"format":2,"made":"2026-01-31T00:00:00Z","accounts":[{}]}`, `{"format":1,"made":"yesterday","accounts":[{}]}`,
		`{"format":1,"made":"2026-01-31T00:00:00Z","accounts":[]}`, `{"format":1,"made":"2026-01-31T00:00:00Z","accounts":[{"planets":[]}]}`,
		`{"format":1,"made":"2026-01-31T00:00:00Z","accounts":[{}]} {}`,
	} {
		if set, err := Read(strings.NewReader(text)); err == nil {
			t.Errorf("%s is read as %+v", text, set)
		}
	}
}

func TestTheMainTableHoldsWhereASubnetNamesNone(t *testing.T) {
	t.Parallel()
	r := &Region{Tables: []Table{{ID: "other", VPC: "vpc-2", Main: true}, {ID: "main", VPC: "vpc-1", Main: true}, {ID: "own", VPC: "vpc-1", Subnets: []string{"a"}}}}
	for subnet, want := range map[string]string{"a": "own", "b": "main"} {
		if got := r.TableOf(&Subnet{ID: subnet, VPC: "vpc-1"}); got == nil || got.ID != want {
			t.Errorf("%s has %+v, want %s", subnet, got, want)
		}
	}
	if got := r.TableOf(&Subnet{ID: "a2", VPC: "vpc-3"}); got != nil {
		t.Errorf("a subnet of another VPC has %+v", got)
	}
}
