//go:build aws

package reader

import (
	"cmp"
	"context"
	"net/netip"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/snapshot"
)

// network reads the network of a region.
func (r *reading) network(ctx context.Context, cfg aws.Config, region *snapshot.Region) {
	client := ec2.NewFromConfig(cfg)
	pages(ctx, r, region.Name, "ec2:DescribeVpcs", "", ec2.NewDescribeVpcsPaginator(client, &ec2.DescribeVpcsInput{}), func(page *ec2.DescribeVpcsOutput) {
		for i := range page.Vpcs {
			region.VPCs = append(region.VPCs, vpc(&page.Vpcs[i]))
		}
	})
	pages(ctx, r, region.Name, "ec2:DescribeSubnets", "", ec2.NewDescribeSubnetsPaginator(client, &ec2.DescribeSubnetsInput{}), func(page *ec2.DescribeSubnetsOutput) {
		for i := range page.Subnets {
			s := &page.Subnets[i]
			region.Subnets = append(region.Subnets, snapshot.Subnet{
				ID: aws.ToString(s.SubnetId), VPC: aws.ToString(s.VpcId), Owner: aws.ToString(s.OwnerId), Zone: cmp.Or(aws.ToString(s.AvailabilityZoneId), aws.ToString(s.AvailabilityZone)),
				Free: int(aws.ToInt32(s.AvailableIpAddressCount)), Native: aws.ToBool(s.Ipv6Native), IPv6: len(s.Ipv6CidrBlockAssociationSet) > 0,
			})
		}
	})
	pages(ctx, r, region.Name, "ec2:DescribeRouteTables", "", ec2.NewDescribeRouteTablesPaginator(client, &ec2.DescribeRouteTablesInput{}), func(page *ec2.DescribeRouteTablesOutput) {
		for i := range page.RouteTables {
			region.Tables = append(region.Tables, table(&page.RouteTables[i]))
		}
	})
	pages(ctx, r, region.Name, "ec2:DescribeSecurityGroups", "", ec2.NewDescribeSecurityGroupsPaginator(client, &ec2.DescribeSecurityGroupsInput{}), func(page *ec2.DescribeSecurityGroupsOutput) {
		for i := range page.SecurityGroups {
			g := &page.SecurityGroups[i]
			region.Groups = append(region.Groups, snapshot.Group{
				ID: aws.ToString(g.GroupId), Name: aws.ToString(g.GroupName), VPC: aws.ToString(g.VpcId), Egress: rules(g.IpPermissionsEgress), Ingress: rules(g.IpPermissions),
			})
		}
	})
	r.endpoints(ctx, client, region)
	r.lists(ctx, client, region)
	r.interfaces(ctx, client, region)
}

// vpc takes over a VPC with all of its blocks.
func vpc(v *types.Vpc) snapshot.VPC {
	out := snapshot.VPC{ID: aws.ToString(v.VpcId), Owner: aws.ToString(v.OwnerId)}
	blocks := []string{}
	for _, b := range v.CidrBlockAssociationSet {
		blocks = append(blocks, aws.ToString(b.CidrBlock))
	}
	for _, b := range v.Ipv6CidrBlockAssociationSet {
		blocks = append(blocks, aws.ToString(b.Ipv6CidrBlock))
	}
	for _, b := range blocks {
		if p, err := netip.ParsePrefix(b); err == nil { // what is none widens nothing
			out.Blocks = append(out.Blocks, p)
		}
	}
	return out
}

// table takes over a route table.
func table(t *types.RouteTable) snapshot.Table {
	out := snapshot.Table{ID: aws.ToString(t.RouteTableId), VPC: aws.ToString(t.VpcId)}
	for _, a := range t.Associations {
		if aws.ToBool(a.Main) {
			out.Main = true
		}
		if id := aws.ToString(a.SubnetId); id != "" {
			out.Subnets = append(out.Subnets, id)
		}
	}
	for i := range t.Routes {
		r := &t.Routes[i]
		out.Routes = append(out.Routes, snapshot.Route{
			To: first(r.DestinationCidrBlock, r.DestinationIpv6CidrBlock, r.DestinationPrefixListId),
			// An instance has an interface beside it, and is the better name.
			Target: cmp.Or(first(r.GatewayId, r.NatGatewayId, r.EgressOnlyInternetGatewayId, r.TransitGatewayId, r.VpcPeeringConnectionId, r.InstanceId,
				r.NetworkInterfaceId, r.LocalGatewayId, r.CarrierGatewayId, r.CoreNetworkArn, r.OdbNetworkArn), "unknown"),
			Blackhole: r.State == types.RouteStateBlackhole,
		})
	}
	return out
}

// first returns the first text that is there.
func first(texts ...*string) string {
	for _, t := range texts {
		if s := aws.ToString(t); s != "" {
			return s
		}
	}
	return ""
}

// rules takes over the rules of a group.
func rules(all []types.IpPermission) (out []snapshot.Rule) {
	for _, p := range all {
		r := snapshot.Rule{Protocol: aws.ToString(p.IpProtocol), From: -1, To: -1}
		if p.FromPort != nil {
			r.From = *p.FromPort
		}
		if p.ToPort != nil {
			r.To = *p.ToPort
		}
		for _, b := range p.IpRanges {
			r.Blocks = append(r.Blocks, aws.ToString(b.CidrIp))
		}
		for _, b := range p.Ipv6Ranges {
			r.Blocks = append(r.Blocks, aws.ToString(b.CidrIpv6))
		}
		for _, l := range p.PrefixListIds {
			r.Lists = append(r.Lists, aws.ToString(l.PrefixListId))
		}
		for _, g := range p.UserIdGroupPairs {
			r.Groups = append(r.Groups, aws.ToString(g.GroupId))
		}
		out = append(out, r)
	}
	return out
}

// endpoints reads the VPC endpoints.
func (r *reading) endpoints(ctx context.Context, client *ec2.Client, region *snapshot.Region) {
	p := ec2.NewDescribeVpcEndpointsPaginator(client, &ec2.DescribeVpcEndpointsInput{})
	pages(ctx, r, region.Name, "ec2:DescribeVpcEndpoints", "", p, func(page *ec2.DescribeVpcEndpointsOutput) {
		for i := range page.VpcEndpoints {
			e := &page.VpcEndpoints[i]
			out := snapshot.Endpoint{
				ID: aws.ToString(e.VpcEndpointId), VPC: aws.ToString(e.VpcId), Service: aws.ToString(e.ServiceName), Kind: string(e.VpcEndpointType),
				Policy: aws.ToString(e.PolicyDocument), Tables: e.RouteTableIds,
			}
			for _, g := range e.Groups {
				out.Groups = append(out.Groups, aws.ToString(g.GroupId))
			}
			region.Endpoints = append(region.Endpoints, out)
		}
	})
}

// lists reads the prefix lists, and the entries of those that are not AWS's.
func (r *reading) lists(ctx context.Context, client *ec2.Client, region *snapshot.Region) {
	p := ec2.NewDescribeManagedPrefixListsPaginator(client, &ec2.DescribeManagedPrefixListsInput{})
	var all []snapshot.List
	pages(ctx, r, region.Name, "ec2:DescribeManagedPrefixLists", "", p, func(page *ec2.DescribeManagedPrefixListsOutput) {
		for _, l := range page.PrefixLists {
			all = append(all, snapshot.List{ID: aws.ToString(l.PrefixListId), Name: aws.ToString(l.PrefixListName), Owner: aws.ToString(l.OwnerId)})
		}
	})
	for _, l := range all {
		whole := true
		if l.Owner != "AWS" {
			entries := ec2.NewGetManagedPrefixListEntriesPaginator(client, &ec2.GetManagedPrefixListEntriesInput{PrefixListId: &l.ID})
			whole = pages(ctx, r, region.Name, "ec2:GetManagedPrefixListEntries", l.ID, entries, func(page *ec2.GetManagedPrefixListEntriesOutput) {
				for _, e := range page.Entries {
					l.Entries = append(l.Entries, aws.ToString(e.Cidr))
				}
			})
		}
		if whole { // one of which a part is missing would look narrower than it is
			region.Lists = append(region.Lists, l)
		}
	}
}

// interfaces reads the interfaces of Lambda.
func (r *reading) interfaces(ctx context.Context, client *ec2.Client, region *snapshot.Region) {
	p := ec2.NewDescribeNetworkInterfacesPaginator(client, &ec2.DescribeNetworkInterfacesInput{
		Filters: []types.Filter{{Name: aws.String("interface-type"), Values: []string{"lambda"}}},
	})
	pages(ctx, r, region.Name, "ec2:DescribeNetworkInterfaces", "", p, func(page *ec2.DescribeNetworkInterfacesOutput) {
		for i := range page.NetworkInterfaces {
			n := &page.NetworkInterfaces[i]
			out := snapshot.Interface{ID: aws.ToString(n.NetworkInterfaceId), Subnet: aws.ToString(n.SubnetId)}
			for _, g := range n.Groups {
				out.Groups = append(out.Groups, aws.ToString(g.GroupId))
			}
			for _, a := range n.PrivateIpAddresses {
				out.IPs = append(out.IPs, aws.ToString(a.PrivateIpAddress))
			}
			region.Interfaces = append(region.Interfaces, out)
		}
	})
}
