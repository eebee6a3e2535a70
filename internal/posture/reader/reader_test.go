//go:build aws

package reader

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/checks"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/finding"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/snapshot"
)

// readSet is what was read, with what tests ask of it.
type readSet struct{ *snapshot.Set }

// unread returns the calls that were not read.
func (s *readSet) unread() (out []string) {
	for _, u := range s.Snapshots[0].Unread {
		out = append(out, u.Call+" "+u.Code)
	}
	return slices.Compact(out)
}

func TestWhatIsCalledIsWhatThePolicySays(t *testing.T) {
	t.Parallel()
	s := newStandIn()
	set := read(t, s.options())
	if got := set.unread(); got != nil {
		t.Errorf("not read: %q", got)
	}
	if got := s.calledBy(); !slices.Equal(got, Calls()) {
		t.Errorf("called\n%q\nthe list has\n%q", got, Calls())
	}
	document, err := IAMPolicy([]string{"arn:aws:iam::111122223333:role/reader"}, []string{"policies"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var policy struct{ Statement []struct{ Action []string } }
	if err := json.Unmarshal(document, &policy); err != nil {
		t.Fatal(err)
	}
	var allowed []string
	for _, st := range policy.Statement {
		allowed = append(allowed, st.Action...)
	}
	allowed = append(allowed, "sts:GetCallerIdentity") // which needs no permission
	if slices.Sort(allowed); !slices.Equal(allowed, s.calledBy()) {
		t.Errorf("the policy allows\n%q\ncalled\n%q", allowed, s.calledBy())
	}
}

func TestEachPermissionTakenAwayIsAFinding(t *testing.T) {
	t.Parallel()
	for _, call := range Calls() {
		s := newStandIn()
		s.fail(call, "AccessDeniedException")
		set := read(t, s.options())
		found := slices.ContainsFunc(checks.All(set.Set, &checks.Options{}), func(f finding.Finding) bool {
			// How the SDK wraps the failure of a role that it takes on is its own.
			return f.ID == finding.Unread && f.Severity == finding.High && f.Resource == call && strings.Contains(f.Evidence, "AccessDenied")
		})
		if !found {
			t.Errorf("without %s nothing is said; not read: %q", call, set.unread())
		}
	}
}

func TestAFunctionIsReadWithAllThatReachesIt(t *testing.T) {
	t.Parallel()
	set := read(t, newStandIn().options())
	got := set.Snapshots[0].Regions[1].Functions
	if len(got) != 1 {
		t.Fatalf("got %+v", got)
	}
	f := got[0]
	want := snapshot.Network{VPC: "vpc-1", Subnets: []string{"subnet-a"}, Groups: []string{"sg-f"}}
	if f.ARN != name || !f.Network.Same(want) || len(f.Versions) != 1 || f.Versions[0].Number != "1" || len(f.Aliases) != 1 || len(f.URLs) != 1 || len(f.Policies) != 2 || len(f.Mappings) != 1 {
		t.Errorf("got %+v", f)
	}
	if fw := set.Snapshots[0].Regions[1].VPCs[0].Firewall; fw != (snapshot.Firewall{Groups: 1, Blocks: 1, FailOpen: true}) {
		t.Errorf("firewall %+v", fw)
	}
	if policies := set.Snapshots[0].Roles[0].Policies; len(policies) != 2 || policies[0].Document != `{"Statement":[]}` || policies[1].Document != `{"a+b"}` {
		t.Errorf("policies %+v", policies)
	}
	var b bytes.Buffer
	if err := set.Write(&b); err != nil || strings.Contains(b.String(), "n33dle") {
		t.Errorf("the snapshot has the secret, or %v", err)
	}
}

// Who waits sees which account and region is being read.
func TestProgressNamesAccountAndRegion(t *testing.T) {
	t.Parallel()
	s := newStandIn()
	var lines []string
	opts := s.options()
	opts.Progress = func(line string) { lines = append(lines, line) }
	read(t, opts)
	if want := []string{"account 111122223333, region eu-west-1", "region eu-west-1: 1 functions listed", "account 111122223333: roles"}; !slices.Equal(lines, want) {
		t.Errorf("got %q, want %q", lines, want)
	}
}

// A region that the account has not enabled is not called, and is named.
func TestARegionThatIsOffIsNamedAndNotCalled(t *testing.T) {
	t.Parallel()
	s := newStandIn()
	list := s.answers["lambda:ListFunctions"]
	s.answers["lambda:ListFunctions"] = func(region string, in any) (any, error) {
		if region != "eu-west-1" {
			t.Errorf("region %s is called", region)
		}
		return list(region, in)
	}
	opts := s.options()
	opts.Regions = append(opts.Regions, "xx-nowhere-1")
	set := read(t, opts)
	if regions := set.Snapshots[0].Regions; len(regions) != 2 || !regions[0].Off || regions[1].Off {
		t.Errorf("regions %+v", regions)
	}
	if got := set.unread(); !slices.Equal(got, []string{"ec2:DescribeRegions unknown"}) {
		t.Errorf("not read: %q", got)
	}
}

func TestAFunctionDeletedBetweenTwoCallsIsLeftOutAndNamed(t *testing.T) {
	t.Parallel()
	s := newStandIn()
	for _, call := range []string{"lambda:GetPolicy", "lambda:ListFunctionUrlConfigs", "lambda:ListAliases"} {
		s.answers[call] = func(string, any) (any, error) { return nil, &types.ResourceNotFoundException{} }
	}
	set := read(t, s.options())
	un := set.Snapshots[0].Unread
	if n := len(set.Snapshots[0].Regions[1].Functions); n != 0 || len(un) != 1 || !un[0].Gone || un[0].Resource != name {
		t.Errorf("%d functions, not read: %+v", n, un)
	}
}

// That a function has no policy is no failure.
func TestNoPolicyIsNoFinding(t *testing.T) {
	t.Parallel()
	s := newStandIn()
	s.answers["lambda:GetPolicy"] = func(string, any) (any, error) { return nil, &types.ResourceNotFoundException{} }
	s.fail("s3:GetBucketPolicy", "NoSuchBucketPolicy")
	set := read(t, s.options())
	if f := set.Snapshots[0].Regions[1].Functions[0]; set.unread() != nil || f.Policies != nil || len(set.Snapshots[0].Buckets) != 1 {
		t.Errorf("not read %q, %+v", set.unread(), f)
	}
}

func TestThrottledCallsAreTriedAgain(t *testing.T) {
	t.Parallel()
	s := newStandIn()
	list, n := s.answers["lambda:ListAliases"], 0
	s.answers["lambda:ListAliases"] = func(region string, in any) (any, error) {
		if n++; n < attempts {
			return nil, &smithy.GenericAPIError{Code: "ThrottlingException"}
		}
		return list(region, in)
	}
	if set := read(t, s.options()); set.unread() != nil || n != attempts {
		t.Errorf("tried %d times, not read: %q", n, set.unread())
	}
	s.fail("lambda:ListAliases", "ThrottlingException") // for good
	if got := read(t, s.options()).unread(); !slices.Equal(got, []string{"lambda:ListAliases ThrottlingException"}) {
		t.Errorf("not read: %q", got)
	}
}

// Each call has its attempts, however many others are throttled too.
func TestAThrottledAccountIsReadToItsEnd(t *testing.T) {
	t.Parallel()
	const functions, throttled = 200, 5
	s := newStandIn()
	s.answers["lambda:ListFunctions"] = func(string, any) (any, error) {
		out := &lambda.ListFunctionsOutput{}
		for i := range functions {
			out.Functions = append(out.Functions, function(fmt.Sprintf("f%d", i), latest))
		}
		return out, nil
	}
	var mu sync.Mutex
	tried, n := map[string]int{}, 0
	s.answers["lambda:GetPolicy"] = func(_ string, in any) (any, error) {
		mu.Lock()
		defer mu.Unlock()
		n++
		what := in.(*smithyhttp.Request).URL.String()
		if tried[what]++; tried[what] < throttled {
			return nil, &smithy.GenericAPIError{Code: "TooManyRequestsException"}
		}
		return &lambda.GetPolicyOutput{Policy: aws.String("{}")}, nil
	}
	set := read(t, s.options())
	if got := set.unread(); got != nil || n != 2*functions*throttled {
		t.Errorf("not read: %q, after %d attempts", got, n)
	}
}

func TestEveryPageIsReadAndOneThatFailsIsToldWithTheRest(t *testing.T) {
	t.Parallel()
	const pages, each = 40, 50
	fails := false
	s := newStandIn()
	at := 0
	s.answers["lambda:ListFunctions"] = func(string, any) (any, error) {
		if at++; fails && at == pages {
			return nil, &smithy.GenericAPIError{Code: "ServiceException"}
		}
		out := &lambda.ListFunctionsOutput{}
		if at < pages {
			out.NextMarker = aws.String(fmt.Sprint(at))
		}
		for i := range each {
			out.Functions = append(out.Functions, function(fmt.Sprintf("f%d-%d", at, i), latest))
		}
		return out, nil
	}
	if set := read(t, s.options()); len(set.Snapshots[0].Regions[1].Functions) != pages*each || set.unread() != nil {
		t.Errorf("%d functions, not read: %q", len(set.Snapshots[0].Regions[1].Functions), set.unread())
	}
	fails, at = true, 0
	set := read(t, s.options())
	if got := set.unread(); len(set.Snapshots[0].Regions[1].Functions) != (pages-1)*each || !slices.Equal(got, []string{"lambda:ListFunctions ServiceException"}) {
		t.Errorf("%d functions, not read: %q", len(set.Snapshots[0].Regions[1].Functions), got)
	}
}

// A role that cannot be taken on is an account that was not read, and does not end the
// others.
func TestAnAccountThatCannotBeEnteredIsAFinding(t *testing.T) {
	t.Parallel()
	s := newStandIn()
	s.fail("sts:AssumeRole", "AccessDenied")
	opts := s.options()
	opts.Roles = append(opts.Roles, "arn:aws:iam::999988887777:role/reader")
	set, err := Read(t.Context(), opts)
	if err != nil || len(set.Snapshots) != 2 || set.Snapshots[1].ID != "999988887777" || len(set.Snapshots[1].Unread) != 1 {
		t.Errorf("%v, %+v", err, set)
	}
	if n := s.called["lambda:ListFunctions"]; n != 0 {
		t.Errorf("%d calls without credentials", n)
	}
}

// A policy of a role that is not in the list may be what opens it.
func TestAManagedPolicyThatIsMissingIsTold(t *testing.T) {
	t.Parallel()
	s := newStandIn()
	all := s.answers["iam:GetAccountAuthorizationDetails"]
	s.answers["iam:GetAccountAuthorizationDetails"] = func(region string, in any) (any, error) {
		out, err := all(region, in)
		without := *out.(*iam.GetAccountAuthorizationDetailsOutput)
		without.Policies = nil
		return &without, err
	}
	if got := read(t, s.options()).unread(); !slices.Equal(got, []string{"iam:GetAccountAuthorizationDetails missing"}) {
		t.Errorf("not read: %q", got)
	}
}

func TestWhoEndsItGetsNoSet(t *testing.T) {
	t.Parallel()
	s := newStandIn()
	ctx, cancel := context.WithCancel(t.Context())
	s.answers["ec2:DescribeVpcs"] = func(string, any) (any, error) { cancel(); return nil, context.Canceled }
	if set, err := Read(ctx, s.options()); set != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("%+v, %v", set, err)
	}
}
