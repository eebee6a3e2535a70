package deploy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// A simulator of network ACLs, as "Control subnet traffic with network access control lists" of
// the VPC user guide has them: entries by number, the first that fits decides, nothing fits is a
// refusal, and there is no state.

// outside is an address of the internet, peer one of another VPC.
const (
	outside = "198.51.100.7"
	peer    = "10.200.0.9"
)

// The protocols that entries name.
const (
	tcp = 6
	udp = 17
)

// hostIn returns an address in the subnet of that name; what is an address already stays.
func hostIn(s *stack, name string) netip.Addr {
	s.t.Helper()
	if r, ok := s.Resources[name]; ok {
		return netip.MustParsePrefix(r.Properties["CidrBlock"].(string)).Addr().Next().Next().Next().Next().Next()
	}
	return netip.MustParseAddr(name)
}

// lets reports whether the ACL of a subnet lets a packet in or out. What is no subnet of the
// stack has no ACL.
func lets(s *stack, subnet string, egress bool, protocol, port int, other netip.Addr) bool {
	s.t.Helper()
	acl := ""
	for _, r := range s.Resources {
		if r.Type == "AWS::EC2::SubnetNetworkAclAssociation" && r.Properties["SubnetId"] == "${"+subnet+"}" {
			acl = r.Properties["NetworkAclId"].(string)
		}
	}
	if _, ours := s.Resources[subnet]; !ours {
		return true
	}
	var entries []resource
	for _, r := range s.Resources {
		if r.Type == "AWS::EC2::NetworkAclEntry" && r.Properties["NetworkAclId"] == acl && r.Properties["Egress"] == egress {
			entries = append(entries, r)
		}
	}
	number := func(r resource) int { return r.Properties["RuleNumber"].(int) }
	slices.SortFunc(entries, func(a, b resource) int { return cmp.Compare(number(a), number(b)) })
	for _, r := range entries {
		from, ranged := at(r.Properties, "PortRange", "From").(int)
		to, _ := at(r.Properties, "PortRange", "To").(int)
		fits := r.Properties["Protocol"] == -1 || r.Properties["Protocol"] == protocol && ranged && from <= port && port <= to
		if fits && netip.MustParsePrefix(r.Properties["CidrBlock"].(string)).Contains(other) {
			return r.Properties["RuleAction"] == "allow"
		}
	}
	return false
}

// passes reports whether a packet and its answer get from one subnet to another, as far as the
// ACLs go. Both may be addresses.
func passes(s *stack, from, to string, protocol, port int) bool {
	s.t.Helper()
	const own = 40000 // the port that the caller has
	a, b := hostIn(s, from), hostIn(s, to)
	return lets(s, from, true, protocol, port, b) && lets(s, to, false, protocol, port, a) &&
		lets(s, to, true, protocol, own, a) && lets(s, from, false, protocol, own, b)
}

// Whatever routes and groups say, the ACLs keep each kind of subnet to those that it has to do
// with.
func TestNetworkACLsKeepSubnetsApart(t *testing.T) {
	t.Parallel()
	bare := deployed(t, "network.yaml", settings{"Zones": "3"})
	lists := deployed(t, "network.yaml", settings{"Zones": "3", "S3PrefixListId": "pl-0aaa"})
	peered := deployed(t, "network.yaml", settings{"Zones": "3", "PeerCidr": "10.200.0.0/16"})
	for _, row := range []struct {
		what           string
		s              *stack
		from, to       string
		protocol, port int
		want           bool
	}{
		{"functions to the load balancer", bare, "FunctionSubnet1", "ProxySubnet3", tcp, 3128, true},
		{"functions to the load balancer with TLS", bare, "FunctionSubnet3", "ProxySubnet1", tcp, 3129, true},
		{"functions to the DNS filter", bare, "FunctionSubnet1", "ProxySubnet2", udp, 53, true},
		{"functions to an endpoint in another zone", bare, "FunctionSubnet1", "FunctionSubnet2", tcp, 443, true},
		{"tasks to an endpoint", bare, "ProxySubnet1", "FunctionSubnet2", tcp, 443, true},
		{"functions to their data", bare, "FunctionSubnet1", "DataSubnet2", tcp, 5432, true},
		{"a replica of the data", bare, "DataSubnet1", "DataSubnet3", tcp, 5432, true},
		{"the load balancer to a task", bare, "ProxySubnet1", "ProxySubnet2", tcp, 3128, true},
		{"tasks out", bare, "ProxySubnet1", outside, tcp, 443, true},
		{"tasks to a resolver", bare, "ProxySubnet1", outside, udp, 53, true},
		{"NAT gateways out", bare, "PublicSubnet1", outside, tcp, 443, true},
		{"tasks to the NAT gateways", bare, "ProxySubnet1", "PublicSubnet3", tcp, 443, true},
		{"functions out", bare, "FunctionSubnet1", outside, tcp, 443, false},
		{"functions out by UDP", bare, "FunctionSubnet2", outside, udp, 53, false},
		{"functions to a VPC that is peered", bare, "FunctionSubnet1", peer, tcp, 443, false},
		{"functions to the NAT gateways", bare, "FunctionSubnet1", "PublicSubnet1", tcp, 443, false},
		{"data to the NAT gateways", bare, "DataSubnet1", "PublicSubnet1", tcp, 443, false},
		{"data out", bare, "DataSubnet1", outside, tcp, 443, false},
		{"data to the proxy", bare, "DataSubnet1", "ProxySubnet1", tcp, 3128, false},
		{"tasks to the data", bare, "ProxySubnet1", "DataSubnet1", tcp, 5432, false},
		{"the world to the data", bare, outside, "DataSubnet1", tcp, 5432, false},
		{"the world to functions", bare, outside, "FunctionSubnet1", tcp, 5000, false},
		{"the world to a privileged port of the NAT gateways' subnets", bare, outside, "PublicSubnet1", tcp, 22, false},
		{"functions to S3", lists, "FunctionSubnet1", outside, tcp, 443, true}, // where the routes lead
		{"functions to the NAT gateways, with S3", lists, "FunctionSubnet1", "PublicSubnet1", tcp, 443, false},
		{"functions out on another port, with S3", lists, "FunctionSubnet1", outside, tcp, 22, false},
		{"functions out by UDP, with S3", lists, "FunctionSubnet1", outside, udp, 443, false},
		{"a peer asks the DNS filter", bare, peer, "ProxySubnet1", udp, 53, false},
		{"a peer asks the DNS filter, and may", peered, peer, "ProxySubnet1", udp, 53, true},
		{"another peer asks it", peered, "10.201.0.9", "ProxySubnet1", udp, 53, false},
	} {
		if got := passes(row.s, row.from, row.to, row.protocol, row.port); got != row.want {
			t.Errorf("%s: %t, want %t", row.what, got, row.want)
		}
	}
}

// A subnet that has no association has the VPC's default ACL, which lets everything through.
func TestEverySubnetHasAnACLOfItsKind(t *testing.T) {
	t.Parallel()
	for _, zones := range []string{"1", "2", "3"} {
		s := deployed(t, "network.yaml", settings{"Zones": zones})
		of := map[string]string{}
		for _, r := range s.Resources {
			if r.Type == "AWS::EC2::SubnetNetworkAclAssociation" {
				of[r.Properties["SubnetId"].(string)] = r.Properties["NetworkAclId"].(string)
			}
		}
		for name, r := range s.Resources {
			kind, _, _ := strings.Cut(name, "Subnet")
			if r.Type == "AWS::EC2::Subnet" && of["${"+name+"}"] != fmt.Sprintf("${%sAcl}", kind) {
				t.Errorf("%s of %s zones has %q", name, zones, of["${"+name+"}"])
			}
		}
	}
}

// Only those that need them reach the interface endpoints: functions, and the proxy's tasks.
func TestEndpointsTakeTheGroupsThatNeedThem(t *testing.T) {
	t.Parallel()
	network := deployed(t, "network.yaml", nil)
	network.Resources["EndpointSecurityGroup"].want(t, nil, "SecurityGroupIngress")
	proxy := deployed(t, "proxy.yaml", settings{"EndpointSecurityGroupId": "sg-0eee"})
	var who []string
	for _, s := range []*stack{network, proxy} {
		for _, r := range s.Resources {
			if r.Type == "AWS::EC2::SecurityGroupIngress" && slices.Contains([]any{"${EndpointSecurityGroup}", "sg-0eee"}, r.Properties["GroupId"]) {
				who = append(who, fmt.Sprint(r.Properties["SourceSecurityGroupId"], " ", r.Properties["FromPort"]))
			}
		}
	}
	slices.Sort(who)
	if want := []string{"${FunctionSecurityGroup} 443", "${TaskSecurityGroup} 443"}; !slices.Equal(who, want) {
		t.Errorf("endpoints take %v, want %v", who, want)
	}
	if _, there := deployed(t, "proxy.yaml", nil).Resources["EndpointFromTasks"]; there {
		t.Error("without a group of endpoints there is a rule of one")
	}
}

// What functions reach past the proxy is one port of one group, and nothing where none is given.
func TestDataIsReachedAtItsPortAlone(t *testing.T) {
	t.Parallel()
	without, with := deployed(t, "network.yaml", nil), deployed(t, "network.yaml", settings{"DataPort": "5432"})
	without.Resources["DataSecurityGroup"].want(t, nil, "SecurityGroupIngress")
	if _, there := without.Resources["FunctionToData"]; there {
		t.Error("without DataPort functions reach the data")
	}
	with.Resources["DataSecurityGroup"].want(t, []any{map[string]any{
		"Description": "Functions", "IpProtocol": "tcp", "FromPort": "5432", "ToPort": "5432", "SourceSecurityGroupId": "${FunctionSecurityGroup}",
	}}, "SecurityGroupIngress")
	rule := with.Resources["FunctionToData"]
	rule.want(t, "${DataSecurityGroup}", "DestinationSecurityGroupId")
	rule.want(t, "5432", "FromPort")
	rule.want(t, "5432", "ToPort")
}
