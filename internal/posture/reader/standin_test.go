//go:build aws

package reader

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/route53resolver"
	r53types "github.com/aws/aws-sdk-go-v2/service/route53resolver/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
)

const (
	us   = "111122223333"
	name = "arn:aws:lambda:eu-west-1:111122223333:function:f"
	role = "arn:aws:iam::111122223333:role/f"
)

// standIn answers calls in place of AWS, behind the SDK's retries, and records them.
type standIn struct {
	mu      sync.Mutex
	called  map[string]int
	answers map[string]func(region string, in any) (any, error)
}

// newStandIn returns one that has an account with one function.
func newStandIn() *standIn {
	s := &standIn{called: map[string]int{}}
	s.answers = map[string]func(string, any) (any, error){
		"sts:GetCallerIdentity": always(&sts.GetCallerIdentityOutput{Account: aws.String(us)}),
		"sts:AssumeRole": always(&sts.AssumeRoleOutput{Credentials: &ststypes.Credentials{
			AccessKeyId: aws.String("id"), SecretAccessKey: aws.String("s"), SessionToken: aws.String("t"), Expiration: aws.Time(time.Now().Add(time.Hour)),
		}}),
		"ec2:DescribeRegions": always(&ec2.DescribeRegionsOutput{Regions: []ec2types.Region{
			{RegionName: aws.String("eu-west-1"), OptInStatus: aws.String("opt-in-not-required")}, {RegionName: aws.String("af-south-1"), OptInStatus: aws.String("not-opted-in")},
		}}),
		"lambda:ListFunctions": always(&lambda.ListFunctionsOutput{Functions: []lambdatypes.FunctionConfiguration{function("f", latest), function("f", "1")}}),
		"lambda:GetPolicy":     always(&lambda.GetPolicyOutput{Policy: aws.String(`{"Statement":[]}`)}),
		"lambda:ListFunctionUrlConfigs": always(&lambda.ListFunctionUrlConfigsOutput{FunctionUrlConfigs: []lambdatypes.FunctionUrlConfig{
			{AuthType: lambdatypes.FunctionUrlAuthTypeNone, FunctionArn: aws.String(name)},
		}}),
		"lambda:ListAliases": always(&lambda.ListAliasesOutput{Aliases: []lambdatypes.AliasConfiguration{{Name: aws.String("live"), FunctionVersion: aws.String("1")}}}),
		"lambda:ListEventSourceMappings": always(&lambda.ListEventSourceMappingsOutput{EventSourceMappings: []lambdatypes.EventSourceMappingConfiguration{
			{EventSourceArn: aws.String("arn:aws:sqs:eu-west-1:111122223333:q"), FunctionArn: aws.String(name + ":live")},
		}}),
		"ec2:DescribeVpcs": always(&ec2.DescribeVpcsOutput{Vpcs: []ec2types.Vpc{{
			VpcId: aws.String("vpc-1"), OwnerId: aws.String(us), CidrBlockAssociationSet: []ec2types.VpcCidrBlockAssociation{{CidrBlock: aws.String("10.0.0.0/16")}},
		}}}),
		"ec2:DescribeSubnets": always(&ec2.DescribeSubnetsOutput{Subnets: []ec2types.Subnet{{SubnetId: aws.String("subnet-a"), VpcId: aws.String("vpc-1"), AvailableIpAddressCount: aws.Int32(200)}}}),
		"ec2:DescribeRouteTables": always(&ec2.DescribeRouteTablesOutput{RouteTables: []ec2types.RouteTable{{
			RouteTableId: aws.String("rtb-1"), VpcId: aws.String("vpc-1"), Associations: []ec2types.RouteTableAssociation{{Main: aws.Bool(true)}},
			Routes: []ec2types.Route{{DestinationCidrBlock: aws.String("0.0.0.0/0"), NatGatewayId: aws.String("nat-1")}},
		}}}),
		"ec2:DescribeSecurityGroups": always(&ec2.DescribeSecurityGroupsOutput{SecurityGroups: []ec2types.SecurityGroup{{
			GroupId: aws.String("sg-f"), IpPermissionsEgress: []ec2types.IpPermission{{IpProtocol: aws.String("-1"), IpRanges: []ec2types.IpRange{{CidrIp: aws.String("0.0.0.0/0")}}}},
		}}}),
		"ec2:DescribeVpcEndpoints":        always(&ec2.DescribeVpcEndpointsOutput{VpcEndpoints: []ec2types.VpcEndpoint{{VpcEndpointId: aws.String("vpce-1"), VpcId: aws.String("vpc-1")}}}),
		"ec2:DescribeManagedPrefixLists":  always(&ec2.DescribeManagedPrefixListsOutput{PrefixLists: []ec2types.ManagedPrefixList{{PrefixListId: aws.String("pl-1"), OwnerId: aws.String(us)}}}),
		"ec2:GetManagedPrefixListEntries": always(&ec2.GetManagedPrefixListEntriesOutput{Entries: []ec2types.PrefixListEntry{{Cidr: aws.String("10.0.8.0/24")}}}),
		"ec2:DescribeNetworkInterfaces":   always(&ec2.DescribeNetworkInterfacesOutput{NetworkInterfaces: []ec2types.NetworkInterface{{NetworkInterfaceId: aws.String("eni-1")}}}),
		"iam:GetAccountAuthorizationDetails": always(&iam.GetAccountAuthorizationDetailsOutput{
			RoleDetailList: []iamtypes.RoleDetail{{
				Arn: aws.String(role), RolePolicyList: []iamtypes.PolicyDetail{{PolicyName: aws.String("p"), PolicyDocument: aws.String(url.PathEscape(`{"Statement":[]}`))}},
				AttachedManagedPolicies: []iamtypes.AttachedPolicy{{PolicyArn: aws.String("arn:aws:iam::aws:policy/X")}},
			}},
			Policies: []iamtypes.ManagedPolicyDetail{{
				Arn: aws.String("arn:aws:iam::aws:policy/X"), PolicyVersionList: []iamtypes.PolicyVersion{{IsDefaultVersion: true, Document: aws.String("%7B%22a+b%22%7D")}},
			}},
		}),
		"route53resolver:ListFirewallRuleGroupAssociations": always(&route53resolver.ListFirewallRuleGroupAssociationsOutput{
			FirewallRuleGroupAssociations: []r53types.FirewallRuleGroupAssociation{{VpcId: aws.String("vpc-1"), FirewallRuleGroupId: aws.String("rslvr-1")}},
		}),
		"route53resolver:ListFirewallRules":   always(&route53resolver.ListFirewallRulesOutput{FirewallRules: []r53types.FirewallRule{{Action: r53types.ActionBlock}}}),
		"route53resolver:ListFirewallConfigs": always(&route53resolver.ListFirewallConfigsOutput{FirewallConfigs: []r53types.FirewallConfig{{ResourceId: aws.String("vpc-1"), FirewallFailOpen: "ENABLED"}}}),
		"s3:GetBucketPolicy":                  always(&s3.GetBucketPolicyOutput{Policy: aws.String(`{}`)}),
	}
	return s
}

// always is an answer that is the same each time. Each call gets a copy, for the SDK
// writes into what it is given.
func always[T any](out *T) func(string, any) (any, error) {
	return func(string, any) (any, error) {
		copied := *out
		return &copied, nil
	}
}

// function is a function as the list has it.
func function(of, version string) lambdatypes.FunctionConfiguration {
	return lambdatypes.FunctionConfiguration{
		FunctionArn: aws.String("arn:aws:lambda:eu-west-1:111122223333:function:" + of + ":" + version), FunctionName: aws.String(of), Version: aws.String(version), Role: aws.String(role),
		VpcConfig:   &lambdatypes.VpcConfigResponse{VpcId: aws.String("vpc-1"), SubnetIds: []string{"subnet-a"}, SecurityGroupIds: []string{"sg-f"}},
		Environment: &lambdatypes.EnvironmentResponse{Variables: map[string]string{"DB_PASSWORD": "n33dle"}},
	}
}

// fail makes a call fail with a code.
func (s *standIn) fail(call, code string) {
	s.answers[call] = func(string, any) (any, error) { return nil, &smithy.GenericAPIError{Code: code, Message: "no"} }
}

// config returns the SDK's configuration with the stand-in in it.
func (s *standIn) config() aws.Config {
	return aws.Config{
		Region: "eu-west-1", Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "id", SecretAccessKey: "secret"}, nil
		}),
		Retryer: func() aws.Retryer { return retryer(time.Nanosecond) },
		APIOptions: []func(*middleware.Stack) error{func(stack *middleware.Stack) error {
			return stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc("stand-in", s.answer), "Retry", middleware.After)
		}},
	}
}

// answer answers one attempt.
func (s *standIn) answer(ctx context.Context, in middleware.FinalizeInput, _ middleware.FinalizeHandler) (out middleware.FinalizeOutput, md middleware.Metadata, err error) {
	call := strings.ToLower(strings.ReplaceAll(awsmiddleware.GetServiceID(ctx), " ", "")) + ":" + middleware.GetOperationName(ctx)
	s.mu.Lock()
	s.called[call]++
	answer := s.answers[call]
	s.mu.Unlock()
	if answer == nil {
		return out, md, fmt.Errorf("nobody answers %s", call)
	}
	out.Result, err = answer(awsmiddleware.GetRegion(ctx), in.Request)
	return out, md, err
}

// options are those that make every call.
func (s *standIn) options() *Options {
	return &Options{Config: s.config(), Roles: []string{"arn:aws:iam::111122223333:role/reader"}, Regions: []string{"eu-west-1", "af-south-1"}, Buckets: []string{"policies"}}
}

// read reads, and fails the test where that fails.
func read(t *testing.T, opts *Options) *readSet {
	t.Helper()
	set, err := Read(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	return &readSet{set}
}

// calledBy returns what was called.
func (s *standIn) calledBy() (out []string) {
	for call := range s.called {
		out = append(out, call)
	}
	slices.Sort(out)
	return out
}
