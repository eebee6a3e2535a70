//go:build aws

package reader

import (
	"context"
	"errors"
	"net/url"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/route53resolver"
	"github.com/aws/aws-sdk-go-v2/service/route53resolver/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/snapshot"
)

// roles reads the roles that functions run with, in one list with their policies.
func (r *reading) roles(ctx context.Context) {
	wanted := map[string]bool{}
	for i := range r.snap.Regions {
		for _, f := range r.snap.Regions[i].Functions {
			wanted[f.Role] = true
		}
	}
	if len(wanted) == 0 {
		return
	}
	r.progress("account %s: roles", r.snap.ID)
	var roles []iamtypes.RoleDetail
	managed := map[string]string{}
	p := iam.NewGetAccountAuthorizationDetailsPaginator(iam.NewFromConfig(r.cfg), &iam.GetAccountAuthorizationDetailsInput{
		Filter: []iamtypes.EntityType{iamtypes.EntityTypeRole, iamtypes.EntityTypeLocalManagedPolicy, iamtypes.EntityTypeAWSManagedPolicy},
	})
	pages(ctx, r, "", "iam:GetAccountAuthorizationDetails", "", p, func(page *iam.GetAccountAuthorizationDetailsOutput) {
		for i := range page.RoleDetailList {
			if wanted[aws.ToString(page.RoleDetailList[i].Arn)] {
				roles = append(roles, page.RoleDetailList[i])
			}
		}
		for i := range page.Policies {
			for _, v := range page.Policies[i].PolicyVersionList {
				if v.IsDefaultVersion {
					managed[aws.ToString(page.Policies[i].Arn)] = aws.ToString(v.Document)
				}
			}
		}
	})
	for i := range roles {
		r.snap.Roles = append(r.snap.Roles, r.role(&roles[i], managed))
	}
}

// role takes over a role with the documents of its policies.
func (r *reading) role(d *iamtypes.RoleDetail, managed map[string]string) snapshot.Role {
	out := snapshot.Role{ARN: aws.ToString(d.Arn)}
	for _, p := range d.RolePolicyList {
		out.Policies = append(out.Policies, snapshot.Policy{Name: aws.ToString(p.PolicyName), Document: decoded(aws.ToString(p.PolicyDocument))})
	}
	attached := func(arn string) *snapshot.Policy {
		document, ok := managed[arn]
		if !ok {
			r.add(&snapshot.Unread{Call: "iam:GetAccountAuthorizationDetails", Resource: out.ARN + " " + arn, Code: "missing", Detail: "a policy of a role is not in the list"})
			return nil
		}
		return &snapshot.Policy{Name: arn, Document: decoded(document)}
	}
	for _, p := range d.AttachedManagedPolicies {
		if policy := attached(aws.ToString(p.PolicyArn)); policy != nil {
			out.Policies = append(out.Policies, *policy)
		}
	}
	if b := d.PermissionsBoundary; b != nil {
		out.Boundary = attached(aws.ToString(b.PermissionsBoundaryArn))
	}
	return out
}

// decoded undoes the percent-encoding in which IAM gives documents (RFC 3986). What is not
// encoded so stays as it is, and fails to parse, which is told.
func decoded(document string) string {
	if plain, err := url.PathUnescape(document); err == nil {
		return plain
	}
	return document
}

// firewalls reads what DNS Firewall does in each VPC.
func (r *reading) firewalls(ctx context.Context, cfg aws.Config, region *snapshot.Region) {
	client := route53resolver.NewFromConfig(cfg)
	at := map[string]*snapshot.Firewall{}
	for i := range region.VPCs {
		at[region.VPCs[i].ID] = &region.VPCs[i].Firewall
	}
	groups := map[string][]*snapshot.Firewall{}
	associations := route53resolver.NewListFirewallRuleGroupAssociationsPaginator(client, &route53resolver.ListFirewallRuleGroupAssociationsInput{})
	pages(ctx, r, region.Name, "route53resolver:ListFirewallRuleGroupAssociations", "", associations, func(page *route53resolver.ListFirewallRuleGroupAssociationsOutput) {
		for _, a := range page.FirewallRuleGroupAssociations {
			if fw := at[aws.ToString(a.VpcId)]; fw != nil && a.Status != types.FirewallRuleGroupAssociationStatusDeleting {
				fw.Groups++
				groups[aws.ToString(a.FirewallRuleGroupId)] = append(groups[aws.ToString(a.FirewallRuleGroupId)], fw)
			}
		}
	})
	for id, in := range groups {
		p := route53resolver.NewListFirewallRulesPaginator(client, &route53resolver.ListFirewallRulesInput{FirewallRuleGroupId: &id})
		// A group of which nobody knows the rules leaves the whole check unmade: no resource.
		pages(ctx, r, region.Name, "route53resolver:ListFirewallRules", "", p, func(page *route53resolver.ListFirewallRulesOutput) {
			for i := range page.FirewallRules {
				if page.FirewallRules[i].Action == types.ActionBlock {
					for _, fw := range in {
						fw.Blocks++
					}
				}
			}
		})
	}
	configs := route53resolver.NewListFirewallConfigsPaginator(client, &route53resolver.ListFirewallConfigsInput{})
	pages(ctx, r, region.Name, "route53resolver:ListFirewallConfigs", "", configs, func(page *route53resolver.ListFirewallConfigsOutput) {
		for _, c := range page.FirewallConfigs {
			if fw := at[aws.ToString(c.ResourceId)]; fw != nil {
				fw.FailOpen = c.FirewallFailOpen == types.FirewallFailOpenStatusEnabled
			}
		}
	})
}

// buckets reads the policies of buckets.
func (r *reading) buckets(ctx context.Context) {
	client := s3.NewFromConfig(r.cfg, func(o *s3.Options) { o.UsePathStyle = r.cfg.BaseEndpoint != nil })
	for _, name := range r.opts.Buckets {
		out, err := client.GetBucketPolicy(ctx, &s3.GetBucketPolicyInput{Bucket: &name})
		none := smithy.APIError(nil)
		switch {
		case errors.As(err, &none) && none.ErrorCode() == "NoSuchBucketPolicy":
			r.snap.Buckets = append(r.snap.Buckets, snapshot.Bucket{Name: name})
		case err != nil:
			r.unread("", "s3:GetBucketPolicy", name, err)
		default:
			r.snap.Buckets = append(r.snap.Buckets, snapshot.Bucket{Name: name, Policy: aws.ToString(out.Policy)})
		}
	}
}
