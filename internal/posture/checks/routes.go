package checks

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/finding"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/snapshot"
)

// outside is P01.
func outside(s *scope) {
	for _, f := range s.region.Functions {
		if !f.Network.Inside() {
			s.add(finding.High, f.ARN, "VpcConfig has no subnet",
				"aws lambda update-function-configuration --function-name "+f.Name+" --vpc-config SubnetIds=SUBNETS,SecurityGroupIds=GROUP", f.Name)
		}
	}
}

// natRoutes is P02.
func natRoutes(s *scope) {
	s.eachRoute(true, func(at *routeAt) {
		if strings.HasPrefix(at.route.Target, "nat-") {
			s.addRoute(at, severityOf(at.public), at.functions)
		}
	})
}

// internetRoutes is P03. A function has no public address of IPv4, so that the route alone
// is no way out there; with IPv6 it is.
func internetRoutes(s *scope) {
	s.eachRoute(false, func(at *routeAt) {
		if !strings.HasPrefix(at.route.Target, "igw-") {
			return
		}
		severity := finding.Medium
		if at.six && len(withIPv6(at)) > 0 {
			severity = finding.High
		}
		s.addRoute(at, severity, at.functions)
	})
}

// kinds are the ways out of P04 by the beginning of their targets' IDs.
var kinds = map[string]string{
	"pcx-": "peering", "tgw-": "transit gateway", "vgw-": "VPN gateway", "eigw-": "egress-only gateway", "eni-": "interface", "i-": "instance",
	"lgw-": "local gateway", "cagw-": "carrier gateway", "vpce-": "endpoint of a Gateway Load Balancer", "arn:": "core network", "odb-": "database network",
}

// otherRoutes is P04. What leads to a target that has no name here is one too: it is
// unknown, and so no wall.
func otherRoutes(s *scope) {
	s.eachRoute(false, func(at *routeAt) {
		target := at.route.Target
		known := target == "local" || strings.HasPrefix(target, "nat-") || strings.HasPrefix(target, "igw-")
		gatewayEndpoint := strings.HasPrefix(target, "vpce-") && strings.HasPrefix(at.route.To, "pl-")
		if known || gatewayEndpoint {
			return
		}
		severity := severityOf(at.public)
		if strings.HasPrefix(target, "eigw-") && len(withIPv6(at)) == 0 {
			severity = finding.Medium
		}
		at.kind = "unknown target"
		for prefix, kind := range kinds {
			if strings.HasPrefix(target, prefix) {
				at.kind = kind
			}
		}
		s.addRoute(at, severity, at.functions)
	})
}

// routeAt is a route that holds for a subnet with functions.
type routeAt struct {
	subnet    *snapshot.Subnet
	table     *snapshot.Table
	route     *snapshot.Route
	functions []*snapshot.Function
	public    bool   // it leads to addresses of the internet, or nobody can say
	six       bool   // some of them are of IPv6
	kind      string // "": the target's ID says it
	unsure    string // "": the destination was understood
}

// eachRoute calls do with each route that holds for a subnet with functions and leads
// anywhere. Report says that this check tells of subnets that were not seen: one of the
// three that walk routes does.
func (s *scope) eachRoute(report bool, do func(*routeAt)) {
	ids, functions := s.bySubnet()
	for _, id := range ids {
		subnet := s.region.SubnetByID(id)
		if subnet == nil {
			if report {
				s.unseen(id, "a function is in this subnet, and no subnet of that ID was seen", names(functions[id])...)
			}
			continue
		}
		table := s.region.TableOf(subnet)
		if table == nil {
			if report {
				s.unseen(id, s.whoHas(subnet), names(functions[id])...)
			}
			continue
		}
		for i := range table.Routes {
			if at := (&routeAt{subnet: subnet, table: table, route: &table.Routes[i], functions: functions[id]}); !at.route.Blackhole {
				at.public, at.six, at.unsure = s.destination(at.route.To)
				do(at)
			}
		}
	}
}

// whoHas says why no table of a subnet was seen.
func (s *scope) whoHas(subnet *snapshot.Subnet) string {
	if subnet.Owner != "" && subnet.Owner != s.snap.ID {
		return "no route table was seen: account " + subnet.Owner + " shares this subnet, and shows its tables to itself alone"
	}
	return "no route table was seen, neither its own nor the main one of " + subnet.VPC
}

// severityOf returns high for what leads to the internet, medium for what leads to
// private addresses.
func severityOf(public bool) finding.Severity {
	if public {
		return finding.High
	}
	return finding.Medium
}

// withIPv6 returns the functions of a subnet that may have IPv6 in it.
func withIPv6(at *routeAt) (out []*snapshot.Function) {
	for _, f := range at.functions {
		if at.subnet.Native || at.subnet.IPv6 && f.Network.IPv6 {
			out = append(out, f)
		}
	}
	return out
}

// addRoute adds a finding about a route.
func (s *scope) addRoute(at *routeAt, severity finding.Severity, functions []*snapshot.Function) {
	held := "its own table"
	if !slices.Contains(at.table.Subnets, at.subnet.ID) {
		held = "the main table of the VPC"
	}
	evidence := fmt.Sprintf("%s %s has %s → %s", held, at.table.ID, at.route.To, at.route.Target)
	for _, more := range []string{at.kind, at.unsure} {
		if more != "" {
			evidence += " (" + more + ")"
		}
	}
	flag := "--destination-cidr-block "
	switch {
	case strings.HasPrefix(at.route.To, "pl-"):
		flag = "--destination-prefix-list-id "
	case strings.Contains(at.route.To, ":"):
		flag = "--destination-ipv6-cidr-block "
	}
	s.add(severity, at.subnet.ID+" "+at.route.Target, evidence, "aws ec2 delete-route --route-table-id "+at.table.ID+" "+flag+at.route.To, names(functions)...)
}

// destination says of a prefix, or of the ID of a prefix list, whether it holds addresses
// of the internet and of IPv6. What cannot be read holds both.
func (s *scope) destination(to string) (public, six bool, unsure string) {
	if !strings.HasPrefix(to, "pl-") {
		prefix, err := netip.ParsePrefix(to)
		if err != nil {
			return true, true, "the destination is no prefix"
		}
		return isPublic(prefix), prefix.Addr().Is6(), ""
	}
	list := s.region.ListByID(to)
	if list == nil {
		return true, true, "the prefix list was not seen"
	}
	if list.Owner == "AWS" {
		return true, true, "a prefix list of AWS, " + list.Name
	}
	for _, entry := range list.Entries {
		p, v6, why := s.destination(entry)
		public, six = public || p, six || v6
		if why != "" {
			unsure = why
		}
	}
	return public, six, unsure
}

// private are the blocks that no internet route carries: RFC 1918, 6598, 4193 and 4291.
var private = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("fc00::/7"), netip.MustParsePrefix("fe80::/10"),
}

// isPublic reports whether some address of a prefix is one of the internet.
func isPublic(p netip.Prefix) bool {
	return !slices.ContainsFunc(private, func(block netip.Prefix) bool { return within(p, block) })
}

// within reports whether all of a prefix is in a block.
func within(p, block netip.Prefix) bool {
	return block.Bits() <= p.Bits() && block.Contains(p.Addr())
}
