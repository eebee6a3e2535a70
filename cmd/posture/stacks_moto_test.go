//go:build aws

package main

import (
	"encoding/json"
	"fmt"
	"slices"
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
func judgeStacks(t *testing.T, faults ...string) *output.Report {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: making the stacks takes a while")
	}
	var made stacksOfMoto
	if err := json.Unmarshal([]byte(serveMoto(t, "stacks.py", faults...)), &made); err != nil {
		t.Fatal(err)
	}
	const of = "arn:aws:lambda:eu-west-1:123456789012:function:"
	policy := file(t, fmt.Sprintf(`version: 1
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
	report := &output.Report{}
	if err := json.Unmarshal(out, report); err != nil {
		t.Fatal(err)
	}
	return report
}

// What an operator gets by the page of the templates, a function with a token and one
// without a secret, and every endpoint that they make.
func TestTheTemplatesOwnStacksGiveNothingAboveLow(t *testing.T) {
	t.Parallel()
	report := judgeStacks(t)
	for i := range report.Findings {
		if f := &report.Findings[i]; f.Severity < finding.Low {
			t.Errorf("%s %s %s: %s", f.ID, f.Severity, f.Resource, f.Evidence)
		}
	}
	if s := report.Summary; s.Total != 2 || s.Behind != 2 || !s.Whole {
		t.Errorf("%d functions, %d behind, whole %t", s.Total, s.Behind, s.Whole)
	}
}

// The same stacks, each with one fault in its template: the checks look at what the templates
// make, and not past it.
func TestAFaultInATemplateIsFoundInItsStack(t *testing.T) {
	t.Parallel()
	report := judgeStacks(t,
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
}
