package deploy

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A simulator of policies, for what the templates and the README say of theirs: the
// evaluation of one document as "Policy evaluation logic" and "IAM JSON policy elements:
// condition operators" of AWS's user guide have it. It knows the operators that are used here
// and fails on any other.

// request is what a policy is asked about. A key of context that is not there is absent from
// the request; one with several values is a key of many values.
type request struct {
	action, resource string
	context          map[string][]string
}

// decision is what one document says of a request.
type decision string

// The decisions; a document that says nothing of a request leaves it to others.
const (
	allowed decision = "allowed"
	denied  decision = "denied"
	silent  decision = "says nothing"
)

// simulate evaluates a document: a statement that denies goes before all that allow.
func simulate(t *testing.T, document any, r request) decision {
	t.Helper()
	statements := list(at(document, "Statement"))
	if len(statements) == 0 || at(document, "Version") != "2012-10-17" {
		t.Fatalf("no policy: %s", text(t, document))
	}
	result := silent
	for _, s := range statements {
		if !matches(at(s, "Action"), r.action, true) || !matches(at(s, "Resource"), r.resource, false) || !holds(t, at(s, "Condition"), r.context) {
			continue
		}
		switch at(s, "Effect") {
		case "Deny":
			return denied
		case "Allow":
			result = allowed
		default:
			t.Fatalf("no effect: %s", text(t, s))
		}
	}
	return result
}

// matches says whether one of the patterns fits; actions are compared without case.
func matches(patterns any, name string, fold bool) bool {
	for _, p := range list(patterns) {
		expression := strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(regexp.QuoteMeta(fmt.Sprint(p)))
		if fold {
			expression = "(?i)" + expression
		}
		if regexp.MustCompile("^" + strings.Replace(expression, "(?i)", "(?i)(?:", 1) + strings.Repeat(")", strings.Count(expression, "(?i)")) + "$").MatchString(name) {
			return true
		}
	}
	return false
}

// holds says whether every condition of a statement holds.
func holds(t *testing.T, conditions any, context map[string][]string) bool {
	t.Helper()
	operators, _ := conditions.(map[string]any)
	for operator, keys := range operators {
		for key, want := range keys.(map[string]any) {
			if !compare(t, operator, want, context[key]) {
				return false
			}
		}
	}
	return true
}

// compare evaluates one operator for the values of a key; nil: the key is absent.
func compare(t *testing.T, operator string, want any, got []string) bool {
	t.Helper()
	among := func(v string) bool { return slices.Contains(list(want), any(v)) }
	like := func(v string) bool { return matches(want, v, false) }
	switch operator {
	case "Null":
		return fmt.Sprint(want) == fmt.Sprint(got == nil)
	case "StringEquals", "Bool":
		return len(got) == 1 && among(got[0])
	case "StringNotEquals": // holds where the key is absent
		return !slices.ContainsFunc(got, among)
	case "ArnLike", "ArnEquals": // which are one
		return len(got) == 1 && like(got[0])
	case "ArnNotLike": // holds where the key is absent
		return !slices.ContainsFunc(got, like)
	case "ForAllValues:StringEquals": // holds where it is absent
		return !slices.ContainsFunc(got, func(v string) bool { return !among(v) })
	case "ForAnyValue:StringNotEquals": // does not hold where it is absent
		return slices.ContainsFunc(got, func(v string) bool { return !among(v) })
	default:
		t.Fatalf("operator %s is not known here", operator)
		return false
	}
}

func TestEndpointsServeOursAlone(t *testing.T) {
	t.Parallel()
	const account, other, organization = "111122223333", "999999999999", "o-aaaaaaaaaa"
	principal := func(account, organization, of, ofOrganization string) map[string][]string {
		return map[string][]string{
			"aws:PrincipalAccount": {account}, "aws:PrincipalOrgID": {organization}, "aws:ResourceAccount": {of}, "aws:ResourceOrgID": {ofOrganization},
		}
	}
	on := settings{
		"Sts": "yes", "SecretsManager": "yes", "Ssm": "yes", "Logs": "yes",
		"FurtherEndpoint1": "com.amazonaws.eu-west-1.kms", "FurtherEndpoint2": "com.amazonaws.eu-west-1.sqs", "FurtherEndpoint3": "com.amazonaws.eu-west-1.sns",
	}
	for _, org := range []string{"", organization} {
		on["OrganizationId"] = org
		endpoints := 0
		for name, r := range deployed(t, "network.yaml", on).Resources {
			if r.Type != "AWS::EC2::VPCEndpoint" {
				continue
			}
			endpoints++
			service := r.Properties["ServiceName"].(string)
			service = service[strings.LastIndex(service, ".")+1:]
			for what, row := range map[string]struct {
				context map[string][]string
				want    decision
			}{
				"ours":                                   {principal(account, organization, account, organization), allowed},
				"credentials of another account":         {principal(other, "o-bbbbbbbbbb", account, organization), silent},
				"a resource of another account":          {principal(account, organization, other, "o-bbbbbbbbbb"), silent},
				"both of another account":                {principal(other, "o-bbbbbbbbbb", other, "o-bbbbbbbbbb"), silent},
				"a resource of nobody, that AWS owns":    {principal(account, organization, "aws", ""), silent},
				"another account of the organization":    {principal(account, organization, other, organization), map[string]decision{"": silent, organization: allowed}[org]},
				"nobody, who has no account":             {map[string][]string{"aws:ResourceAccount": {account}, "aws:ResourceOrgID": {organization}}, silent},
				"a resource that no account is known of": {map[string][]string{"aws:PrincipalAccount": {account}, "aws:PrincipalOrgID": {organization}}, silent},
			} {
				r := request{action: service + ":Write", resource: "arn:aws:" + service + ":eu-west-1:" + account + ":thing", context: row.context}
				if got := simulate(t, at(deployed(t, "network.yaml", on).Resources[name].Properties, "PolicyDocument"), r); got != row.want {
					t.Errorf("%s, organization %q, %s: %s, want %s", name, org, what, got, row.want)
				}
			}
		}
		if endpoints != 10 {
			t.Errorf("%d endpoints, want 10", endpoints)
		}
	}
}

// Through the endpoint of the private subnets tasks fetch their image, and functions what the
// policy allows of S3; a stolen credential writes nothing to a bucket of its own.
func TestTheProxysS3EndpointServesImagesAndPartnersThatAreNamed(t *testing.T) {
	t.Parallel()
	const layer, partner = "arn:aws:s3:::prod-eu-west-1-starport-layer-bucket/a", "arn:aws:s3:::partner/a"
	ours := map[string][]string{"aws:PrincipalAccount": {"111122223333"}, "aws:ResourceAccount": {"999999999999"}}
	document := func(given settings) any {
		return deployed(t, "network.yaml", given).Resources["ProxyS3Endpoint"].Properties["PolicyDocument"]
	}
	alone, partners := document(nil), document(settings{"PartnerBuckets": "arn:aws:s3:::other,arn:aws:s3:::partner/*"})
	for _, row := range []struct {
		document any
		r        request
		want     decision
	}{
		{alone, request{"s3:GetObject", layer, nil}, allowed},
		{alone, request{"s3:PutObject", layer, ours}, silent},
		{alone, request{"s3:GetObject", "arn:aws:s3:::prod-us-east-1-starport-layer-bucket/a", nil}, silent},
		{alone, request{"s3:GetObject", partner, ours}, silent},
		{partners, request{"s3:PutObject", partner, ours}, allowed},
		{partners, request{"s3:PutObject", "arn:aws:s3:::partner-of-somebody/a", ours}, silent},
	} {
		if got := simulate(t, row.document, row.r); got != row.want {
			t.Errorf("%+v: %s, want %s", row.r, got, row.want)
		}
	}
	routes := deployed(t, "network.yaml", settings{"Zones": "3"}).Resources["ProxyS3Endpoint"]
	routes.want(t, []any{"${ProxyRoutes1}", "${ProxyRoutes2}", "${ProxyRoutes3}"}, "RouteTableIds")
}

// Whatever rights somebody has: the policy is read and written through the endpoint, or by
// its one writer.
func TestABoundBucketIsReachedThroughItsEndpointOrByItsWriter(t *testing.T) {
	t.Parallel()
	const writer = "arn:aws:iam::111122223333:role/pipeline"
	from := func(endpoint, principal string) map[string][]string {
		context := map[string][]string{"aws:SecureTransport": {"true"}, "aws:PrincipalArn": {principal}}
		if endpoint != "" {
			context["aws:SourceVpce"] = []string{endpoint}
		}
		return context
	}
	document := func(given settings) any {
		return deployed(t, "store.yaml", given).Resources["PolicyBucketPolicy"].Properties["PolicyDocument"]
	}
	bound := document(settings{"PolicyEndpointId": "vpce-0aaa", "PolicyWriterArn": writer})
	for what, row := range map[string]struct {
		context map[string][]string
		want    decision
	}{
		"a task through the endpoint":                {from("vpce-0aaa", "arn:aws:iam::111122223333:role/task"), silent}, // it takes a right from nobody, and gives none
		"an administrator from elsewhere":            {from("", "arn:aws:iam::111122223333:role/admin"), denied},
		"a task through another endpoint":            {from("vpce-0bbb", "arn:aws:iam::111122223333:role/task"), denied},
		"the writer from elsewhere":                  {from("", writer), silent},
		"a role whose name begins so":                {from("", writer+"-of-others"), denied},
		"nobody that is known":                       {map[string][]string{"aws:SecureTransport": {"true"}}, denied},
		"a task through the endpoint in clear text ": {map[string][]string{"aws:SecureTransport": {"false"}, "aws:SourceVpce": {"vpce-0aaa"}}, denied},
	} {
		for _, action := range []string{"s3:GetObject", "s3:GetObjectVersion", "s3:PutObject", "s3:DeleteObject", "s3:DeleteObjectVersion"} {
			if got := simulate(t, bound, request{action, "${PolicyBucket.Arn}/egress.yaml", row.context}); got != row.want {
				t.Errorf("%s by %s: %s, want %s", action, what, got, row.want)
			}
		}
	}
	if got := simulate(t, bound, request{"s3:PutBucketPolicy", "${PolicyBucket.Arn}", from("", "arn:aws:iam::111122223333:role/admin")}); got != silent {
		t.Errorf("the bucket's own policy cannot be mended any more: %s", got)
	}
	if got := simulate(t, document(nil), request{"s3:GetObject", "${PolicyBucket.Arn}/egress.yaml", from("", writer)}); got != silent {
		t.Errorf("a bucket that is not bound: %s", got)
	}
}

// The parameters that AWS publishes are of an account of AWS's own.
func TestParametersOfAWSCanBeReadAndNotWritten(t *testing.T) {
	t.Parallel()
	const public = "arn:aws:ssm:eu-west-1::parameter/aws/service/ami-amazon-linux-latest/al2023"
	document := deployed(t, "network.yaml", settings{"Ssm": "yes"}).Resources["SsmEndpoint"].Properties["PolicyDocument"]
	ours := map[string][]string{"aws:PrincipalAccount": {"111122223333"}, "aws:ResourceAccount": {"aws"}}
	stolen := map[string][]string{"aws:PrincipalAccount": {"999999999999"}, "aws:ResourceAccount": {"aws"}}
	for _, row := range []struct {
		r    request
		want decision
	}{
		{request{"ssm:GetParameter", public, ours}, allowed},
		{request{"ssm:GetParametersByPath", public, ours}, allowed},
		{request{"ssm:PutParameter", public, ours}, silent},
		{request{"ssm:GetParameter", public, stolen}, silent},
		{request{"ssm:GetParameter", "arn:aws:ssm:eu-west-1:999999999999:parameter/theirs", map[string][]string{"aws:PrincipalAccount": {"111122223333"}, "aws:ResourceAccount": {"999999999999"}}}, silent},
	} {
		if got := simulate(t, document, row.r); got != row.want {
			t.Errorf("%+v: %s, want %s", row.r, got, row.want)
		}
	}
}

// serviceControl returns the service control policy of the README.
func serviceControl(t *testing.T) (document any) {
	t.Helper()
	_, text, ok := strings.Cut(read(t, "ecs/README.md"), "\n```json\n{\n  \"Version\"")
	text, _, end := strings.Cut(text, "\n```\n")
	if !ok || !end {
		t.Fatal("README.md has no service control policy")
	}
	if err := json.Unmarshal([]byte("{\n  \"Version\""+text), &document); err != nil {
		t.Fatal(err)
	}
	return document
}

func TestServiceControlPolicyKeepsFunctionsBehindTheProxy(t *testing.T) {
	t.Parallel()
	document := serviceControl(t)
	in := func(vpc, group string, subnets ...string) map[string][]string {
		return map[string][]string{"lambda:VpcIds": {vpc}, "lambda:SubnetIds": subnets, "lambda:SecurityGroupIds": {group}}
	}
	both := in("vpc-0fff", "sg-0ccc", "subnet-0aaa", "subnet-0bbb")
	two := in("vpc-0fff", "sg-0ccc", "subnet-0aaa")
	two["lambda:SecurityGroupIds"] = []string{"sg-0ccc", "sg-open"}
	for what, row := range map[string]struct {
		context map[string][]string
		want    decision
	}{
		"in the isolated subnets":            {both, silent}, // a service control policy grants nothing
		"in one of them":                     {in("vpc-0fff", "sg-0ccc", "subnet-0bbb"), silent},
		"in no VPC":                          {nil, denied},
		"in another VPC":                     {in("vpc-0eee", "sg-0ddd", "subnet-0eee"), denied},
		"in a subnet of this VPC with NAT":   {in("vpc-0fff", "sg-0ccc", "subnet-0eee"), denied},
		"in one isolated subnet and one not": {in("vpc-0fff", "sg-0ccc", "subnet-0aaa", "subnet-0eee"), denied},
		"with another group":                 {in("vpc-0fff", "sg-open", "subnet-0aaa"), denied},
		"with a second group":                {two, denied},
	} {
		for _, action := range []string{"lambda:CreateFunction", "lambda:UpdateFunctionConfiguration"} {
			if got := simulate(t, document, request{action, "arn:aws:lambda:eu-west-1:111122223333:function:a", row.context}); got != row.want {
				t.Errorf("%s %s: %s, want %s", action, what, got, row.want)
			}
		}
	}
}

func TestServiceControlPolicyLetsNoURLBeOpen(t *testing.T) {
	t.Parallel()
	document := serviceControl(t)
	for _, action := range []string{"lambda:CreateFunctionUrlConfig", "lambda:UpdateFunctionUrlConfig", "lambda:AddPermission"} {
		for auth, want := range map[string]decision{"NONE": denied, "AWS_IAM": silent, "": silent} { // "": of no URL
			context := map[string][]string{}
			if auth != "" {
				context["lambda:FunctionUrlAuthType"] = []string{auth}
			}
			if got := simulate(t, document, request{action, "arn:aws:lambda:eu-west-1:111122223333:function:a", context}); got != want {
				t.Errorf("%s with %q: %s, want %s", action, auth, got, want)
			}
		}
	}
}

func TestServiceControlPolicyKeepsTheNetwork(t *testing.T) {
	t.Parallel()
	document := serviceControl(t)
	somebody := map[string][]string{"aws:PrincipalArn": {"arn:aws:iam::111122223333:role/developer"}}
	deployment := map[string][]string{"aws:PrincipalArn": {"arn:aws:iam::111122223333:role/egress-deployment"}}
	for action, resource := range map[string]string{
		"ec2:CreateRoute": "route-table/rtb-0ddd", "ec2:ReplaceRoute": "route-table/rtb-0ddd", "ec2:AuthorizeSecurityGroupEgress": "security-group/sg-0ccc",
		"ec2:ModifySecurityGroupRules": "security-group/sg-0ccc", "ec2:AssociateRouteTable": "subnet/subnet-0aaa", "ec2:DisassociateRouteTable": "route-table/rtb-0ddd",
		"ec2:ReplaceRouteTableAssociation": "route-table/rtb-0ddd", "ec2:CreateNetworkAclEntry": "network-acl/acl-0eee", "ec2:ReplaceNetworkAclEntry": "network-acl/acl-0eee",
		"ec2:DeleteNetworkAclEntry": "network-acl/acl-0eee", "ec2:ReplaceNetworkAclAssociation": "subnet/subnet-0bbb", "ec2:ModifyVpcEndpoint": "vpc-endpoint/vpce-0fff",
	} {
		arn := "arn:aws:ec2:eu-west-1:111122223333:" + resource
		for what, row := range map[string]struct {
			context map[string][]string
			want    decision
		}{"somebody": {somebody, denied}, "nobody that is known": {nil, denied}, "the deployment": {deployment, silent}} {
			if got := simulate(t, document, request{action, arn, row.context}); got != row.want {
				t.Errorf("%s by %s: %s, want %s", action, what, got, row.want)
			}
		}
		if got := simulate(t, document, request{action, "arn:aws:ec2:eu-west-1:111122223333:route-table/rtb-other", somebody}); got != silent {
			t.Errorf("%s on what is not the functions': %s", action, got)
		}
	}
}

// Who rolls out the policy writes versions of it and tries them; the service, its image and all
// else in the bucket are not its own. Nobody but one environment of one repository gets the role.
func TestRoleOfThePipelineWritesThePolicyAndNothingElse(t *testing.T) {
	t.Parallel()
	const key = "arn:aws:kms:eu-west-1:111122223333:key/1"
	role := deployed(t, "pipeline.yaml", settings{"KmsKeyArn": key}).Resources["Role"]
	document := at(role.Properties, "Policies", 0, "PolicyDocument")
	cluster := func(name string) map[string][]string {
		return map[string][]string{"ecs:cluster": {"arn:aws:ecs:eu-west-1:111122223333:cluster/" + name}}
	}
	to := func(service string) map[string][]string { return map[string][]string{"iam:PassedToService": {service}} }
	for _, row := range []struct {
		r    request
		want decision
	}{
		{request{"s3:PutObject", "arn:aws:s3:::policies/policy/manifest.json", nil}, allowed},
		{request{"s3:PutObject", "arn:aws:s3:::policies/egress.yaml", nil}, silent},
		{request{"s3:PutObject", "arn:aws:s3:::other/policy/manifest.json", nil}, silent},
		{request{"s3:DeleteObject", "arn:aws:s3:::policies/policy/manifest.json", nil}, silent},
		{request{"s3:DeleteObjectVersion", "arn:aws:s3:::policies/policy/manifest.json", nil}, silent},
		{request{"s3:PutBucketVersioning", "arn:aws:s3:::policies", nil}, silent},
		{request{"kms:GenerateDataKey", key, map[string][]string{"kms:ViaService": {"s3.eu-west-1.amazonaws.com"}}}, allowed},
		{request{"kms:GenerateDataKey", key, nil}, silent},
		{request{"ecs:RunTask", "arn:aws:ecs:eu-west-1:111122223333:task-definition/gate-of-eu:7", cluster("gate-of-eu")}, allowed},
		{request{"ecs:RunTask", "arn:aws:ecs:eu-west-1:111122223333:task-definition/gate-of-eu:7", cluster("other")}, silent},
		{request{"ecs:RunTask", "arn:aws:ecs:eu-west-1:111122223333:task-definition/other:1", cluster("gate-of-eu")}, silent},
		{request{"ecs:UpdateService", "arn:aws:ecs:eu-west-1:111122223333:service/gate-of-eu/gate-of-eu-Service", nil}, silent},
		{request{"ecs:RegisterTaskDefinition", "arn:aws:ecs:eu-west-1:111122223333:task-definition/gate-of-eu:8", nil}, silent},
		{request{"iam:PassRole", "arn:aws:iam::111122223333:role/gate-of-eu-TaskRole-ABC", to("ecs-tasks.amazonaws.com")}, allowed},
		{request{"iam:PassRole", "arn:aws:iam::111122223333:role/gate-of-eu-TaskRole-ABC", to("lambda.amazonaws.com")}, silent},
		{request{"iam:PassRole", "arn:aws:iam::111122223333:role/admin", to("ecs-tasks.amazonaws.com")}, silent},
		{request{"elasticloadbalancing:RegisterTargets", "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/gate/1", nil}, allowed},
		{request{"elasticloadbalancing:RegisterTargets", "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/other/1", nil}, silent},
		{request{"elasticloadbalancing:ModifyListener", "arn:aws:elasticloadbalancing:eu-west-1:111122223333:listener/net/gate/1/2", nil}, silent},
	} {
		if got := simulate(t, document, row.r); got != row.want {
			t.Errorf("%s on %s: %s, want %s", row.r.action, row.r.resource, got, row.want)
		}
	}
	role.want(t, map[string]any{"StringEquals": map[string]any{
		"token.actions.githubusercontent.com:aud": "sts.amazonaws.com",
		"token.actions.githubusercontent.com:sub": "repo:example/egress-policy:environment:egress",
	}}, "AssumeRolePolicyDocument", "Statement", 0, "Condition")
	for _, repository := range []string{"*/*", "example/*", "example", "example/a/b", "example/a:ref"} {
		if _, err := templates(t)["pipeline.yaml"].parameter("GitHubRepository", settings{"GitHubRepository": repository}); err == nil {
			t.Errorf("%s is taken for a repository", repository)
		}
	}
}

// What the roles may do, by the actions that they make and by those that they must not.
func TestRolesOfTheTaskReachTheirOwnAlone(t *testing.T) {
	t.Parallel()
	const key = "arn:aws:kms:eu-west-1:111122223333:key/1"
	proxy := deployed(t, "proxy.yaml", settings{"KmsKeyArn": key, "ImageRepositoryArn": "arn:aws:ecr:eu-west-1:111122223333:repository/egress"})
	document := func(role string) any { return at(proxy.Resources[role].Properties, "Policies", 0, "PolicyDocument") }
	by := func(service string) map[string][]string { return map[string][]string{"kms:ViaService": {service}} }
	for _, row := range []struct {
		role string
		r    request
		want decision
	}{
		{"TaskRole", request{"s3:GetObject", "arn:aws:s3:::policies/egress.yaml", nil}, allowed},
		{"TaskRole", request{"s3:GetObject", "arn:aws:s3:::other/egress.yaml", nil}, silent},
		{"TaskRole", request{"s3:PutObject", "arn:aws:s3:::policies/egress.yaml", nil}, silent},
		{"TaskRole", request{"kms:Decrypt", key, by("s3.eu-west-1.amazonaws.com")}, allowed},
		{"TaskRole", request{"kms:Decrypt", key, by("secretsmanager.eu-west-1.amazonaws.com")}, silent},
		{"TaskRole", request{"kms:Decrypt", key, nil}, silent},
		{"TaskRole", request{"logs:PutLogEvents", "arn:aws:logs:eu-west-1:111122223333:log-group:records:log-stream:a", nil}, silent},
		{"ExecutionRole", request{"logs:PutLogEvents", "arn:aws:logs:eu-west-1:111122223333:log-group:records:log-stream:a", nil}, allowed},
		{"ExecutionRole", request{"logs:PutLogEvents", "arn:aws:logs:eu-west-1:111122223333:log-group:records-of-others:log-stream:a", nil}, silent},
		{"ExecutionRole", request{"logs:DeleteLogGroup", "arn:aws:logs:eu-west-1:111122223333:log-group:records", nil}, silent},
		{"ExecutionRole", request{"ecr:BatchGetImage", "arn:aws:ecr:eu-west-1:111122223333:repository/egress", nil}, allowed},
		{"ExecutionRole", request{"ecr:BatchGetImage", "arn:aws:ecr:eu-west-1:111122223333:repository/other", nil}, silent},
		{"ExecutionRole", request{"ecr:PutImage", "arn:aws:ecr:eu-west-1:111122223333:repository/egress", nil}, silent},
	} {
		if got := simulate(t, document(row.role), row.r); got != row.want {
			t.Errorf("%s %s on %s: %s, want %s", row.role, row.r.action, row.r.resource, got, row.want)
		}
	}
}
