package deploy

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// anywhere reports whether a rule or a route holds for every address.
func anywhere(v any) bool {
	return v == "0.0.0.0/0" || v == "::/0"
}

func TestNoSecurityGroupLetsTheWholeWorldIn(t *testing.T) {
	t.Parallel()
	check := func(where string, rule any) {
		if anywhere(at(rule, "CidrIp")) || anywhere(at(rule, "CidrIpv6")) {
			t.Errorf("%s is open to every address: %s", where, text(t, rule))
		}
	}
	each(t, "AWS::EC2::SecurityGroup", func(tmpl *template, name string, r resource) {
		for _, rule := range choices(r.Properties["SecurityGroupIngress"]) {
			check(tmpl.name+" "+name, rule)
		}
	})
	each(t, "AWS::EC2::SecurityGroupIngress", func(tmpl *template, name string, r resource) {
		check(tmpl.name+" "+name, r.Properties)
	})
}

// A group without egress rules gets one to everywhere from AWS.
func TestEverySecurityGroupNamesItsEgress(t *testing.T) {
	t.Parallel()
	each(t, "AWS::EC2::SecurityGroup", func(tmpl *template, name string, r resource) {
		always := 0
		for _, rule := range r.Properties["SecurityGroupEgress"].([]any) {
			if at(rule, "Fn::If") == nil {
				always++
			}
		}
		if always == 0 {
			t.Errorf("%s: %s has no egress rule that is always there", tmpl.name, name)
		}
	})
}

func TestFunctionsReachTheProxyAndTheEndpointsAlone(t *testing.T) {
	t.Parallel()
	all := templates(t)
	group := all["network.yaml"].Resources["FunctionSecurityGroup"]
	for _, rule := range choices(group.Properties["SecurityGroupEgress"]) {
		toGroup := at(rule, "DestinationSecurityGroupId", "Ref") == "EndpointSecurityGroup" // and FunctionToData below
		toList := strings.HasSuffix(text(t, at(rule, "DestinationPrefixListId")), `PrefixListId"}`)
		if !toGroup && !toList {
			t.Errorf("functions may reach %s", text(t, rule))
		}
	}
	ports := map[any]bool{}
	for name, r := range all["proxy.yaml"].Resources {
		if r.Type != "AWS::EC2::SecurityGroupEgress" || at(r.Properties, "GroupId", "Ref") != "FunctionSecurityGroupId" {
			continue
		}
		if at(r.Properties, "DestinationSecurityGroupId", "Ref") != "LoadBalancerSecurityGroup" {
			t.Errorf("%s lets functions reach %s", name, text(t, r.Properties))
		}
		if r.Condition == "" {
			ports[r.Properties["FromPort"]] = true
		}
	}
	if len(ports) != 1 || !ports[3128] {
		t.Errorf("without options functions reach ports %v of the load balancer", ports)
	}
	for name, r := range all["function.yaml"].Resources {
		if r.Type == "AWS::Lambda::Function" {
			r.want(t, []any{map[string]any{"Ref": "FunctionSecurityGroupId"}}, "VpcConfig", "SecurityGroupIds")
		} else if strings.HasPrefix(r.Type, "AWS::EC2::") {
			t.Errorf("function.yaml makes %s, a %s", name, r.Type)
		}
	}
}

func TestIsolatedSubnetsHaveNoDefaultRoute(t *testing.T) {
	t.Parallel()
	network := templates(t)["network.yaml"]
	tables := map[any]any{} // subnet -> route table
	for _, r := range network.Resources {
		if r.Type == "AWS::EC2::SubnetRouteTableAssociation" {
			tables[at(r.Properties, "SubnetId", "Ref")] = at(r.Properties, "RouteTableId", "Ref")
		}
	}
	isolated := map[any]bool{}
	for _, name := range []string{"FunctionSubnet1", "FunctionSubnet2", "FunctionSubnet3", "DataSubnet1", "DataSubnet2", "DataSubnet3"} {
		if tables[name] == nil {
			t.Errorf("%s has no route table of its own, so it has the VPC's", name)
		}
		isolated[tables[name]] = true
	}
	routes := 0
	for name, r := range network.Resources {
		if r.Type != "AWS::EC2::Route" {
			continue
		}
		routes++
		if isolated[at(r.Properties, "RouteTableId", "Ref")] {
			t.Errorf("%s is a route of the isolated subnets", name)
		}
	}
	if routes == 0 {
		t.Error("network.yaml has no routes at all")
	}
	for name, r := range network.Resources {
		if r.Type == "AWS::EC2::Subnet" && r.Properties["MapPublicIpOnLaunch"] != false {
			t.Errorf("%s gives out public addresses", name)
		}
	}
}

// An endpoint is a way out: with credentials of another account data could be written there.
func TestEveryEndpointHasAPolicy(t *testing.T) {
	t.Parallel()
	services := map[string]bool{}
	each(t, "AWS::EC2::VPCEndpoint", func(_ *template, name string, r resource) {
		service := text(t, r.Properties["ServiceName"])
		services[strings.Trim(service[strings.LastIndex(service, ".")+1:], `"}`)] = true
		statements, _ := at(r.Properties, "PolicyDocument", "Statement").([]any)
		if len(statements) == 0 {
			t.Errorf("%s has no policy, which admits everybody", name)
		}
		if r.Properties["VpcEndpointType"] == "Gateway" && name != "ProxyS3Endpoint" {
			r.want(t, []any{map[string]any{"Ref": "FunctionRoutes"}}, "RouteTableIds")
		}
	})
	for _, want := range []string{"s3", "dynamodb", "sts", "secretsmanager", "ssm", "logs"} {
		if !services[want] {
			t.Errorf("there is no endpoint for %s", want)
		}
	}
}

// prefixes returns a list of ranges, sorted.
func prefixes(t *testing.T, list any) (all []netip.Prefix) {
	t.Helper()
	for part := range strings.SplitSeq(list.(string), ",") {
		all = append(all, netip.MustParsePrefix(part))
	}
	slices.SortFunc(all, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
	return all
}

func TestSamplePolicyHasTheAddressesOfTheNetwork(t *testing.T) {
	t.Parallel()
	network := deployed(t, "network.yaml", settings{"Zones": "3"})
	cfg := samplePolicy(t)
	if got, want := cfg.Listen.ProxyProtocolFrom, prefixes(t, network.Outputs["ProxySubnetCidrs"]); !slices.Equal(got, want) {
		t.Errorf("listen.proxy_protocol_from is %v, the load balancer stands in %v", got, want)
	}
	for _, f := range cfg.Functions {
		if got, want := f.Identify.Sources, prefixes(t, network.Outputs["FunctionSubnetCidrs"]); !slices.Equal(got, want) {
			t.Errorf("the sources of %s are %v, functions stand in %v", f.Name, got, want)
		}
	}
}

// Every size, in every number of zones: the subnets lie apart within the VPC, and the
// outputs, which go into the policy, have those that are there.
func TestSubnetsOfEveryNetworkLieApart(t *testing.T) {
	t.Parallel()
	for _, size := range []string{"16", "20", "23", "24"} {
		for zones, want := range map[string]int{"1": 4, "2": 8, "3": 12} {
			network := deployed(t, "network.yaml", settings{"VpcAddress": "192.168.0.0", "VpcSize": size, "Zones": zones})
			subnets := subnetsOf(t, network)
			if len(subnets) != want {
				t.Errorf("%d subnets in %s zones, want %d", len(subnets), zones, want)
			}
			for _, output := range []string{"ProxySubnetCidrs", "FunctionSubnetCidrs"} {
				for _, p := range prefixes(t, network.Outputs[output]) {
					if !slices.Contains(subnets, p) {
						t.Errorf("%s of %s zones has %v, which is no subnet", output, zones, p)
					}
				}
			}
		}
	}
}

// The table by which somebody chooses a size is what AWS leaves of each: five addresses are
// its own, the load balancer has one, a deployment doubles the tasks.
func TestSizesOfSubnetsAreThoseOfTheTable(t *testing.T) {
	t.Parallel()
	for _, row := range rows(t, read(t, "ecs/README.md"), "VpcSize") {
		size, err := strconv.Atoi(row[0])
		if err != nil {
			t.Fatal(err)
		}
		network := deployed(t, "network.yaml", settings{"VpcSize": row[0]})
		bits := netip.MustParsePrefix(network.Resources["FunctionSubnet1"].Properties["CidrBlock"].(string)).Bits()
		free := 1<<(32-bits) - 5
		want := []string{fmt.Sprint(size), fmt.Sprint("/", bits), fmt.Sprint(free), fmt.Sprint((free - 1) / 2), fmt.Sprint(free - 7)}
		if !slices.Equal(row, want) {
			t.Errorf("a VPC of /%d: %v, want %v", size, row, want)
		}
	}
}

// subnetsOf returns the ranges of a network's subnets, and fails where two overlap or one
// lies outside or is too small.
func subnetsOf(t *testing.T, network *stack) (all []netip.Prefix) {
	t.Helper()
	vpc := netip.MustParsePrefix(network.Resources["Vpc"].Properties["CidrBlock"].(string))
	for name, r := range network.Resources {
		if r.Type != "AWS::EC2::Subnet" {
			continue
		}
		p := netip.MustParsePrefix(r.Properties["CidrBlock"].(string))
		if !vpc.Overlaps(p) || p.Bits() != vpc.Bits()+4 || p.Bits() > 28 {
			t.Errorf("%s is %v, in %v", name, p, vpc)
		}
		for _, q := range all {
			if p.Overlaps(q) {
				t.Errorf("subnets %v and %v overlap", p, q)
			}
		}
		all = append(all, p)
	}
	return all
}

func TestNamesOfTheProxyAndTheEndpointsAloneResolveBehindTheFirewall(t *testing.T) {
	t.Parallel()
	all := templates(t)["dns-firewall.yaml"].Resources
	var rules []any
	for _, r := range all {
		if r.Type == "AWS::Route53Resolver::FirewallRuleGroup" {
			rules = choices(r.Properties["FirewallRules"])
		}
	}
	if len(rules) != 3 {
		t.Fatalf("%d rules, want 3", len(rules))
	}
	last := rules[len(rules)-1]
	for _, rule := range rules[:2] {
		if at(rule, "Priority").(int) >= at(last, "Priority").(int) || at(rule, "Action") != "ALLOW" {
			t.Errorf("%s does not allow before the last rule", text(t, rule))
		}
	}
	if text(t, at(last, "Action")) != `{"Ref":"Action"}` || at(last, "FirewallDomainListId", "Ref") != "Everything" {
		t.Errorf("the last rule is %s", text(t, last))
	}
	all["Everything"].want(t, []any{"*"}, "Domains")
	for _, name := range all["ProxyNames"].Properties["Domains"].([]any) {
		if strings.Contains(text(t, name), "*") {
			t.Errorf("%s lets more than one name resolve", text(t, name))
		}
	}
	if got := templates(t)["dns-firewall.yaml"].Parameters["Action"].Default; got != "BLOCK" {
		t.Errorf("the default action is %v", got)
	}
}
