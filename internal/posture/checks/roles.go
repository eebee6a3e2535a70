package checks

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/entries"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/finding"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/policydoc"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/snapshot"
)

// networkActions are what changes where a function gets to, or gives a role more. What
// Lambda needs to attach a function (ec2:CreateNetworkInterface and its kin) is not there.
var networkActions = []string{
	"lambda:UpdateFunctionConfiguration", "lambda:CreateFunction",
	"ec2:AuthorizeSecurityGroupEgress", "ec2:ModifySecurityGroupRules", "ec2:ModifyNetworkInterfaceAttribute", "ec2:AssociateAddress",
	"ec2:CreateRoute", "ec2:ReplaceRoute", "ec2:AssociateRouteTable", "ec2:ReplaceRouteTableAssociation", "ec2:CreateNatGateway",
	"ec2:AttachInternetGateway", "ec2:CreateVpcPeeringConnection", "ec2:CreateVpcEndpoint", "ec2:ModifyVpcEndpoint", "ec2:ModifyManagedPrefixList",
	"ec2:AssociateDhcpOptions", "route53resolver:DisassociateFirewallRuleGroup", "route53resolver:UpdateFirewallConfig", "route53resolver:UpdateFirewallRule",
	"iam:AttachRolePolicy", "iam:PutRolePolicy", "iam:CreatePolicyVersion",
}

// networkRoles is P21.
func networkRoles(s *scope) {
	functions := map[string][]string{}
	for _, r := range s.snap.Regions {
		for _, f := range r.Functions {
			functions[f.Role] = append(functions[f.Role], f.Name)
		}
	}
	for _, arn := range sorted(keys(functions)) {
		i := slices.IndexFunc(s.snap.Roles, func(r snapshot.Role) bool { return r.ARN == arn })
		if i < 0 {
			s.unseen(arn, "functions run with this role, and it was not seen", functions[arn]...)
			continue
		}
		s.role(&s.snap.Roles[i], functions[arn])
	}
}

// role judges one role.
func (s *scope) role(r *snapshot.Role, functions []string) {
	all, boundary, err := statements(r)
	if err != nil {
		s.unseen(r.ARN, err.Error(), functions...)
		return
	}
	var may, unknown []string
	for _, action := range networkActions {
		by := policydoc.Allowed(all, action)
		if len(by) == 0 || r.Boundary != nil && len(policydoc.Allowed(boundary, action)) == 0 {
			continue
		}
		may = append(may, action)
		for _, st := range by {
			for _, c := range st.Conditions {
				unknown = append(unknown, c.Operator+" "+c.Key)
			}
		}
	}
	if len(may) == 0 {
		return
	}
	evidence := fmt.Sprintf("it may %s", strings.Join(may[:min(3, len(may))], ", "))
	if len(may) > 3 {
		evidence += fmt.Sprintf(" and %d more", len(may)-3)
	}
	s.add(finding.High, r.ARN, evidence+policydoc.Unevaluated(sorted(unknown)), "take these actions out of the role's policies: "+strings.Join(may, ", "), functions...)
}

// statements returns those of all policies of a role, and those of its boundary. One
// policy that cannot be understood may deny what the others allow, or allow more: then
// there are none.
func statements(r *snapshot.Role) (all, boundary []policydoc.Statement, err error) {
	for _, p := range r.Policies {
		doc, err := policydoc.Parse(p.Document)
		if err != nil {
			return nil, nil, fmt.Errorf("policy %s: %w", p.Name, err)
		}
		all = append(all, doc...)
	}
	if r.Boundary != nil {
		if boundary, err = policydoc.Parse(r.Boundary.Document); err != nil {
			return nil, nil, fmt.Errorf("boundary %s: %w", r.Boundary.Name, err)
		}
	}
	return all, boundary, nil
}

// differences is P19: functions without an entry, and entries without a function. The
// latter are of all accounts together, so the first one has them.
func differences(s *scope) {
	if s.opts.Entries == nil {
		return
	}
	for i := range s.snap.Regions {
		for _, f := range s.snap.Regions[i].Functions {
			if f.Network.Inside() && s.opts.Entries.Of(f.ARN, f.Name) == nil {
				s.add(finding.Medium, f.ARN, "the policy has no entry for it, neither by its ARN (identify.aws) nor by its name", "add an entry to functions of the policy", f.Name)
			}
		}
	}
	if s.snap != &s.set.Snapshots[0] {
		return
	}
	for _, w := range s.opts.Entries.Wants() {
		if evidence := s.missing(&w); evidence != "" {
			resource := "functions." + w.Name
			if w.ARN != "" {
				resource += " " + w.ARN
			}
			s.add(finding.Low, resource, evidence, "take "+resource+" out of the policy, or read the account and region that has it")
		}
	}
}

// missing says that no function is there which an entry waits for, "" where one is. What
// lies in an account or a region that was not read is not there as far as anybody knows.
func (s *scope) missing(w *entries.Want) string {
	read := false
	for i := range s.set.Snapshots {
		for j := range s.set.Snapshots[i].Regions {
			r := &s.set.Snapshots[i].Regions[j]
			read = read || s.set.Snapshots[i].ID == w.Owner && r.Name == w.Region && !r.Off
			if slices.ContainsFunc(r.Functions, func(f snapshot.Function) bool { return w.Fits(f.ARN, f.Name) }) {
				return ""
			}
		}
	}
	switch {
	case w.ARN == "":
		return "no function of that name was seen"
	case !read:
		return "no function with that ARN was seen: account " + w.Owner + " was not read in " + w.Region
	default:
		return "no function with that ARN was seen"
	}
}

// dnsFirewall is P16.
func dnsFirewall(s *scope) {
	functions := s.byVPC()
	for _, id := range sorted(keys(functions)) {
		vpc := s.region.VPCByID(id)
		if vpc == nil {
			s.unseen(id, "functions are in this VPC, and it was not seen", functions[id]...)
			continue
		}
		switch fw := vpc.Firewall; {
		case fw.Groups == 0:
			s.add(finding.High, id, "no group of rules of Route 53 Resolver DNS Firewall is associated", "deploy/ecs/dns-firewall.yaml, with VpcId "+id, functions[id]...)
		case fw.Blocks == 0:
			s.add(finding.High, id, fmt.Sprintf("%d groups of rules are associated, and no rule blocks", fw.Groups), "deploy/ecs/dns-firewall.yaml: Action BLOCK for all that is not allowed", functions[id]...)
		case fw.FailOpen:
			s.add(finding.Medium, id, "FirewallFailOpen is ENABLED: lookups pass when the firewall does not answer", "aws route53resolver update-firewall-config --resource-id "+id+" --firewall-fail-open DISABLED", functions[id]...)
		}
	}
}

// gatewayEndpoints is P17: the two services that have one, which costs nothing.
func gatewayEndpoints(s *scope) {
	functions := s.byVPC()
	for _, vpc := range sorted(keys(functions)) {
		for _, service := range []string{"s3", "dynamodb"} {
			has := func(e snapshot.Endpoint) bool { return e.VPC == vpc && strings.HasSuffix(e.Service, "."+service) }
			if !slices.ContainsFunc(s.region.Endpoints, has) {
				s.add(finding.Low, vpc+" "+service, "no endpoint for "+service, "aws ec2 create-vpc-endpoint --vpc-id "+vpc+" --service-name com.amazonaws."+s.region.Name+"."+service, functions[vpc]...)
			}
		}
	}
}
