// Package reader reads accounts of AWS into snapshots.
//
// What it does: it makes the calls of Calls, page by page, again where AWS throttles, some
// functions at a time. A call that fails for good becomes a line of the snapshot's Unread,
// and the rest is read all the same.
//
// What it does not do: it changes nothing, and judges nothing. The content of environment
// variables stays where it is (package secrets).
//
//	cfg, err := reader.Config(ctx)
//	set, err := reader.Read(ctx, &reader.Options{Config: cfg})
package reader

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// calls are all that is called, as IAM writes them. sts:AssumeRole is called where another
// role is asked for, s3:GetBucketPolicy where a bucket is.
var calls = []string{
	"ec2:DescribeManagedPrefixLists", "ec2:DescribeNetworkInterfaces", "ec2:DescribeRegions", "ec2:DescribeRouteTables", "ec2:DescribeSecurityGroups",
	"ec2:DescribeSubnets", "ec2:DescribeVpcEndpoints", "ec2:DescribeVpcs", "ec2:GetManagedPrefixListEntries",
	"iam:GetAccountAuthorizationDetails",
	"lambda:GetPolicy", "lambda:ListAliases", "lambda:ListEventSourceMappings", "lambda:ListFunctionUrlConfigs", "lambda:ListFunctions",
	"route53resolver:ListFirewallConfigs", "route53resolver:ListFirewallRuleGroupAssociations", "route53resolver:ListFirewallRules",
	"s3:GetBucketPolicy",
	"sts:AssumeRole", "sts:GetCallerIdentity",
}

// Calls returns what is called, sorted.
func Calls() []string { return slices.Clone(calls) }

// IAMPolicy returns a policy, as indented JSON, that allows what is called and nothing
// else: of the policies s3://bucket/key the objects in their folders, where what they name is
// too. None of it writes. sts:GetCallerIdentity needs no permission and is left out.
func IAMPolicy(roles, buckets, policies []string) ([]byte, error) {
	type statement struct {
		Sid, Effect string
		Action      []string
		Resource    []string
	}
	var read []string
	for _, c := range calls {
		if c != "sts:GetCallerIdentity" && c != "sts:AssumeRole" && c != "s3:GetBucketPolicy" {
			read = append(read, c)
		}
	}
	statements := []statement{{"Read", "Allow", read, []string{"*"}}}
	if len(buckets) > 0 {
		s := statement{"PolicyBuckets", "Allow", []string{"s3:GetBucketPolicy"}, nil}
		for _, name := range buckets {
			s.Resource = append(s.Resource, "arn:aws:s3:::"+name)
		}
		statements = append(statements, s)
	}
	if len(policies) > 0 {
		s := statement{"Policies", "Allow", []string{"s3:GetObject"}, nil}
		for _, name := range policies {
			key, ok := strings.CutPrefix(name, "s3://")
			if !ok || !strings.Contains(key, "/") {
				return nil, fmt.Errorf("%q is no s3://bucket/key, and reading it needs no permission of AWS", name)
			}
			s.Resource = append(s.Resource, "arn:aws:s3:::"+key[:strings.LastIndexByte(key, '/')+1]+"*")
		}
		statements = append(statements, s)
	}
	if len(roles) > 0 {
		statements = append(statements, statement{"OtherAccounts", "Allow", []string{"sts:AssumeRole"}, roles})
	}
	return json.MarshalIndent(map[string]any{"Version": "2012-10-17", "Statement": statements}, "", "  ")
}
