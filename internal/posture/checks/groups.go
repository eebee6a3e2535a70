package checks

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/finding"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/snapshot"
)

// wideEgress is P05. A rule that names a group, an address or a part of the VPC is what
// the gate's own group looks like; one that goes beyond the VPC, or takes all of it, is not.
func wideEgress(s *scope) {
	functions := map[string][]string{}
	vpcs := map[string]string{}
	for _, f := range s.inside() {
		for _, id := range f.Network.Groups {
			functions[id], vpcs[id] = append(functions[id], f.Name), f.Network.VPC
		}
	}
	for _, id := range sorted(keys(functions)) {
		group, vpc := s.region.GroupByID(id), s.region.VPCByID(vpcs[id])
		switch {
		case group == nil:
			s.unseen(id, "a function has this group, and no group of that ID was seen", functions[id]...)
			continue
		case vpc == nil:
			s.unseen(vpcs[id], "a function is in this VPC, and no VPC of that ID was seen", functions[id]...)
			continue
		}
		for i := range group.Egress {
			s.egressRule(group, vpc, &group.Egress[i], functions[id])
		}
	}
}

// keys returns the keys of a map.
func keys[V any](m map[string]V) (out []string) {
	for k := range m {
		out = append(out, k)
	}
	return out
}

// egressRule judges one rule, once for each thing that it names.
func (s *scope) egressRule(group *snapshot.Group, vpc *snapshot.VPC, rule *snapshot.Rule, functions []string) {
	for _, block := range rule.Blocks {
		if severity, why := width(block, vpc); why != "" {
			s.add(severity, group.ID+" "+block, portsOf(rule)+" to "+block+": "+why, revoke(group, rule, block), functions...)
		}
	}
	for _, id := range rule.Lists {
		list := s.region.ListByID(id)
		switch {
		case list == nil:
			s.unseen(id, group.ID+" names a prefix list that was not seen", functions...)
		case list.Owner == "AWS" && (strings.HasSuffix(list.Name, ".s3") || strings.HasSuffix(list.Name, ".dynamodb")):
			// What a gateway endpoint serves; P14 judges its policy.
		case list.Owner == "AWS":
			s.add(finding.Medium, group.ID+" "+id, portsOf(rule)+" to "+list.Name+", addresses that AWS gives to everybody", revoke(group, rule, id), functions...)
		default:
			s.listed(group, vpc, rule, list, functions)
		}
	}
	for _, id := range rule.Groups {
		if s.region.GroupByID(id) == nil {
			s.add(finding.Low, group.ID+" "+id, portsOf(rule)+" to a group of another account or VPC, which was not seen", revoke(group, rule, id), functions...)
		}
	}
}

// listed judges the entries of a prefix list: the widest of them is the finding.
func (s *scope) listed(group *snapshot.Group, vpc *snapshot.VPC, rule *snapshot.Rule, list *snapshot.List, functions []string) {
	worst, evidence := finding.Info, ""
	for _, entry := range list.Entries {
		if severity, why := width(entry, vpc); why != "" && severity < worst {
			worst, evidence = severity, portsOf(rule)+" to "+entry+" of the prefix list: "+why
		}
	}
	if evidence != "" {
		s.add(worst, group.ID+" "+list.ID, evidence, revoke(group, rule, list.ID), functions...)
	}
}

// width says what is wrong with a block in a rule of egress, "" for nothing.
func width(block string, vpc *snapshot.VPC) (finding.Severity, string) {
	p, err := netip.ParsePrefix(block)
	switch {
	case err != nil:
		return finding.High, "no prefix that can be understood"
	case slices.ContainsFunc(vpc.Blocks, func(b netip.Prefix) bool { return within(p, b) && p.Bits() > b.Bits() }):
		return finding.Info, ""
	case slices.ContainsFunc(vpc.Blocks, func(b netip.Prefix) bool { return p == b.Masked() }):
		return finding.Medium, "the whole VPC"
	case isPublic(p):
		return finding.High, "addresses of the internet"
	default:
		return finding.Medium, "private addresses outside of the VPC"
	}
}

// portsOf writes what a rule lets through.
func portsOf(r *snapshot.Rule) string {
	switch {
	case r.Protocol == "-1":
		return "everything"
	case r.Protocol == "icmp" || r.Protocol == "icmpv6" || r.From < 0:
		return r.Protocol
	case r.From == r.To:
		return fmt.Sprintf("%s %d", r.Protocol, r.From)
	default:
		return fmt.Sprintf("%s %d-%d", r.Protocol, r.From, r.To)
	}
}

// revoke writes the command that takes a rule away.
func revoke(g *snapshot.Group, r *snapshot.Rule, what string) string {
	where := "IpRanges=[{CidrIp=" + what + "}]"
	switch {
	case strings.HasPrefix(what, "pl-"):
		where = "PrefixListIds=[{PrefixListId=" + what + "}]"
	case strings.HasPrefix(what, "sg-"):
		where = "UserIdGroupPairs=[{GroupId=" + what + "}]"
	case strings.Contains(what, ":"):
		where = "Ipv6Ranges=[{CidrIpv6=" + what + "}]"
	}
	return fmt.Sprintf("aws ec2 revoke-security-group-egress --group-id %s --ip-permissions 'IpProtocol=%s,FromPort=%d,ToPort=%d,%s'", g.ID, r.Protocol, r.From, r.To, where)
}

// wideEndpointGroups is P15.
func wideEndpointGroups(s *scope) {
	functions := s.byVPC()
	for _, e := range s.region.Endpoints {
		vpc := s.region.VPCByID(e.VPC)
		if len(functions[e.VPC]) == 0 || vpc == nil || e.Kind != "Interface" {
			continue
		}
		for _, id := range e.Groups {
			group := s.region.GroupByID(id)
			if group == nil {
				s.unseen(id, e.ID+" has this group, and no group of that ID was seen")
				continue
			}
			s.ingress(&e, group, vpc)
		}
	}
}

// ingress judges who may reach an endpoint.
func (s *scope) ingress(e *snapshot.Endpoint, group *snapshot.Group, vpc *snapshot.VPC) {
	for _, rule := range group.Ingress {
		for _, block := range rule.Blocks {
			p, err := netip.ParsePrefix(block)
			whole := err == nil && slices.ContainsFunc(vpc.Blocks, func(b netip.Prefix) bool { return within(b, p) })
			if err == nil && !whole {
				continue
			}
			severity := finding.Medium
			if whole && !isPublic(p) {
				severity = finding.Low
			}
			s.add(severity, e.ID+" "+group.ID, portsOf(&rule)+" from "+block,
				"in the endpoint's group: SourceSecurityGroupId of the functions' group in place of CidrIp "+block)
		}
	}
}

// sharedInterfaces is P08: Lambda gives functions with the same subnets and groups the
// same interfaces.
func sharedInterfaces(s *scope) {
	shared := map[string][]*snapshot.Function{}
	for _, f := range s.inside() {
		shared[f.Network.Key()] = append(shared[f.Network.Key()], f)
	}
	for _, key := range sorted(keys(shared)) {
		var by []string
		for _, f := range shared[key] {
			if e := s.opts.Entries.Of(f.ARN, f.Name); e != nil && e.BySource {
				by = append(by, f.Name)
			}
		}
		if len(by) == 0 || len(shared[key]) < 2 {
			continue
		}
		s.add(finding.High, key, fmt.Sprintf("%s share %s; the policy knows %s by address alone", shorten(names(shared[key])), s.interfaces(shared[key][0]), shorten(by)),
			"give each entry a group of its own (VpcConfig.SecurityGroupIds), or tokens or certificates under identify", names(shared[key])...)
	}
}

// interfaces names the interfaces of a function as they were seen.
func (s *scope) interfaces(f *snapshot.Function) string {
	var seen []string
	for _, i := range s.region.Interfaces {
		if slices.Contains(f.Network.Subnets, i.Subnet) && slices.Equal(sorted(i.Groups), sorted(f.Network.Groups)) {
			seen = append(seen, i.ID+" "+strings.Join(i.IPs, " "))
		}
	}
	if len(seen) == 0 {
		return "subnets and groups"
	}
	return shorten(seen)
}
