package acceptance

import (
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/finding"
)

const file = `accept:
  - {finding: P02, resource: subnet-a nat-1, owner: net, reason: until the move, until: 2026-06-30}
  - {finding: P05, resource: "sg-*", account: "111122223333", region: eu-west-1, owner: net, reason: x, until: 2026-06-30}
`

// day is the time at which a day begins.
func day(t *testing.T, s string) time.Time {
	t.Helper()
	d, err := time.Parse(time.DateOnly, s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestWhatIsAcceptedIsMarkedUntilItsLastDay(t *testing.T) {
	t.Parallel()
	lines, err := Parse("a.yaml", []byte(file))
	if err != nil || len(lines) != 2 {
		t.Fatalf("%v, %+v", err, lines)
	}
	found := []finding.Finding{
		{ID: "P02", Resource: "subnet-a nat-1", Owner: "1"}, {ID: "P02", Resource: "subnet-a nat-12"}, {ID: "P03", Resource: "subnet-a nat-1"},
		{ID: "P05", Resource: "sg-1 0.0.0.0/0", Owner: "111122223333", Region: "eu-west-1"}, {ID: "P05", Resource: "sg-1", Owner: "2", Region: "eu-west-1"},
		{ID: "P05", Resource: "sg-1", Owner: "111122223333", Region: "us-east-1"},
	}
	accepted := map[string]string{}
	for _, f := range Apply(lines, found, day(t, "2026-06-30").Add(23*time.Hour)) {
		if f.ID == finding.Acceptance {
			t.Errorf("%+v", f)
		}
		if f.Accepted != "" {
			accepted[f.ID+" "+f.Resource+" "+f.Owner] = f.Accepted
		}
	}
	if len(accepted) != 2 || accepted["P02 subnet-a nat-1 1"] != "net until 2026-06-30: until the move" || accepted["P05 sg-1 0.0.0.0/0 111122223333"] == "" {
		t.Errorf("%q", accepted)
	}
	ended := 0
	for _, f := range Apply(lines, found, day(t, "2026-07-01")) {
		if f.Accepted != "" {
			t.Errorf("accepted for too long: %+v", f)
		}
		if f.ID == finding.Acceptance && f.Severity == finding.Medium {
			ended++
		}
	}
	if ended != 2 {
		t.Errorf("%d lines have ended, want 2", ended)
	}
}

func TestALineThatFitsNothingIsAFinding(t *testing.T) {
	t.Parallel()
	lines, err := Parse("a.yaml", []byte(file))
	if err != nil {
		t.Fatal(err)
	}
	got := Apply(lines, nil, day(t, "2026-01-01"))
	if len(got) != 2 || got[0].ID != finding.Acceptance || got[0].Severity != finding.Low || got[0].Resource != "a.yaml:2" {
		t.Errorf("%+v", got)
	}
}

func TestALineSaysAllOfIt(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ file, want string }{
		{"", "empty"}, {"{}", "accept"}, {"accept: [{}]", "owner"}, {"accept: [{finding: P02, resource: a, owner: b, reason: c}]", "until"},
		{"accept: [{finding: P02, resource: a, owner: '', reason: c, until: 2026-06-30}]", "empty"},
		{"accept: [{finding: P02, resource: a, owner: b, reason: c, until: soon}]", "until"},
		{"accept: [{finding: P02, resource: a, owner: b, reason: c, until: 2026-06-30, forever: true}]", "forever"},
		{"accept: [{finding: acceptance, resource: a, owner: b, reason: c, until: 2026-06-30}]", "excepted"},
	} {
		if lines, err := Parse("a.yaml", []byte(row.file)); err == nil || lines != nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %+v, %v", row.file, lines, err)
		}
	}
}
