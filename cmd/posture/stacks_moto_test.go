//go:build aws

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/finding"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/output"
)

// stacksOfMoto are what testdata/stacks.py has made.
type stacksOfMoto struct {
	Port             int
	Bucket, Host     string
	Sample, Attested string // names of functions
}

// judgeStacks makes the stacks of deploy/ecs in moto, with faults, and judges them beside a
// policy that has both functions.
func judgeStacks(t *testing.T, faults ...string) (report *output.Report, at *stacksOfMoto) {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: making the stacks takes a while")
	}
	made := &stacksOfMoto{}
	if err := json.Unmarshal([]byte(serveMoto(t, "stacks.py", faults...)), made); err != nil {
		t.Fatal(err)
	}
	const of = "arn:aws:lambda:eu-west-1:123456789012:function:"
	policy := inBucket(t, made, "egress.yaml", fmt.Sprintf(`version: 1
aws:
  audience: https://egress.example.internal
  accounts: {"123456789012": {issuer: "https://00000000-0000-0000-0000-000000000000.tokens.sts.global.api.aws"}}
functions:
  sample-function:
    identify: {tokens: ["sha256:6599df66895ae8909b5a9db26311fdf9e99f7cc7ff84ca1280b48bf9bf547694"], aws: [%q]}
    allow: []
  attested:
    identify: {aws: [%q]}
    allow: []
`, of+made.Sample, of+made.Attested))
	out, err := atMoto(t, fmt.Sprint(made.Port), "--bucket", made.Bucket, "--gate", made.Host, "--policy", policy).Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	report = &output.Report{}
	if err := json.Unmarshal(out, report); err != nil {
		t.Fatal(err)
	}
	return report, made
}

// inBucket puts an object into the bucket of the policy, and returns its address.
func inBucket(t *testing.T, made *stacksOfMoto, name, text string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, fmt.Sprintf("http://127.0.0.1:%d/%s/%s", made.Port, made.Bucket, name), strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", name, answer.Status)
	}
	return "s3://" + made.Bucket + "/" + name
}

// What an operator gets by the page of the templates, a function with a token and one
// without a secret, and every endpoint that they make.
func TestTheTemplatesOwnStacksGiveNothingAboveLow(t *testing.T) {
	t.Parallel()
	report, made := judgeStacks(t)
	for i := range report.Findings {
		if f := &report.Findings[i]; f.Severity < finding.Low {
			t.Errorf("%s %s %s: %s", f.ID, f.Severity, f.Resource, f.Evidence)
		}
	}
	if s := report.Summary; s.Total != 2 || s.Behind != 2 || !s.Whole {
		t.Errorf("%d functions, %d behind, whole %t", s.Total, s.Behind, s.Whole)
	}
	if got := runsInMoto(t, made, 1); got[0] != 0 {
		t.Errorf("%v is new and high", got)
	}
}

// runsInMoto lets so many runs keep what they find in a bucket, as the scheduled task does, and
// returns how many findings each calls new and high.
func runsInMoto(t *testing.T, made *stacksOfMoto, times int) (fresh []float64) {
	t.Helper()
	for range times {
		cmd := atMoto(t, fmt.Sprint(made.Port), "--archive", "s3://"+made.Bucket+"/found", "--format", "emf", "--deployment", "blue")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		number, _ := metricsOf(t, string(out))["FindingsHighNew"].(float64)
		fresh = append(fresh, number)
	}
	return fresh
}

// The same stacks, each with one fault in its template: the checks look at what the templates
// make, and not past it.
func TestAFaultInATemplateIsFoundInItsStack(t *testing.T) {
	t.Parallel()
	report, made := judgeStacks(t,
		"network.yaml", "Properties: {SubnetId: !Ref FunctionSubnet1, RouteTableId: !Ref FunctionRoutes}", "Properties: {SubnetId: !Ref FunctionSubnet1, RouteTableId: !Ref ProxyRoutes1}",
		"network.yaml", "{aws:PrincipalAccount: !Ref AWS::AccountId, aws:ResourceAccount: !Ref AWS::AccountId}", "{aws:PrincipalAccount: !Ref AWS::AccountId}",
		"network.yaml", "ToPort: 443, SourceSecurityGroupId: !Ref FunctionSecurityGroup}", "ToPort: 443, CidrIp: 0.0.0.0/0}",
		"dns-firewall.yaml", "Action: !Ref Action", "Action: ALERT",
		"store.yaml", "StringNotEquals: {aws:SourceVpce", "StringEquals: {aws:SourceVpce",
		"function.yaml", "!Sub \"https://${ProxyHost}:3129\"", "https://elsewhere.example:3129",
	)
	var got []string
	for i := range report.Findings {
		if f := &report.Findings[i]; f.Severity < finding.Low {
			got = append(got, f.ID+" "+f.Severity.String())
		}
	}
	slices.Sort(got)
	want := []string{"P02 high", "P06 medium", "P14 medium", "P15 medium", "P16 high", "P18 medium"}
	if got = slices.Compact(got); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if fresh := runsInMoto(t, made, 2); fresh[0] == 0 || fresh[1] != 0 {
		t.Errorf("two runs call %v findings new", fresh)
	}
}
