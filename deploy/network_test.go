package deploy

import (
	"net/netip"
	"slices"
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
		toGroup := at(rule, "DestinationSecurityGroupId", "Ref") == "EndpointSecurityGroup"
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
	for _, name := range []string{"FunctionSubnet1", "FunctionSubnet2", "FunctionSubnet3"} {
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
func TestEndpointsServeThisAccountAlone(t *testing.T) {
	t.Parallel()
	services := map[string]bool{}
	each(t, "AWS::EC2::VPCEndpoint", func(_ *template, name string, r resource) {
		service := text(t, r.Properties["ServiceName"])
		services[strings.Trim(service[strings.LastIndex(service, ".")+1:], `"}`)] = true
		account := map[string]any{"Ref": "AWS::AccountId"}
		statements, _ := at(r.Properties, "PolicyDocument", "Statement").([]any)
		if len(statements) == 0 {
			t.Errorf("%s has no policy, which admits everybody", name)
		}
		for i := range statements {
			r.want(t, map[string]any{"StringEquals": map[string]any{"aws:PrincipalAccount": account, "aws:ResourceAccount": account}},
				"PolicyDocument", "Statement", i, "Condition")
		}
		if r.Properties["VpcEndpointType"] == "Gateway" {
			// The proxy's tasks fetch their image from a bucket of another account.
			r.want(t, []any{map[string]any{"Ref": "FunctionRoutes"}}, "RouteTableIds")
		}
	})
	for _, want := range []string{"s3", "dynamodb", "sts", "secretsmanager", "ssm", "logs"} {
		if !services[want] {
			t.Errorf("there is no endpoint for %s", want)
		}
	}
}

func TestSamplePolicyHasTheAddressesOfTheNetwork(t *testing.T) {
	t.Parallel()
	network := templates(t)["network.yaml"]
	prefix := network.Parameters["VpcPrefix"].Default.(string)
	expand := func(v any) string { return strings.ReplaceAll(v.(string), "${VpcPrefix}", prefix) }
	subnets := map[string][]netip.Prefix{}
	for name, r := range network.Resources {
		if r.Type == "AWS::EC2::Subnet" {
			kind := strings.TrimRight(name, "123")
			subnets[kind] = append(subnets[kind], netip.MustParsePrefix(expand(at(r.Properties, "CidrBlock", "Fn::Sub"))))
		}
	}
	sorted := func(p []netip.Prefix) []netip.Prefix {
		p = slices.Clone(p)
		slices.SortFunc(p, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
		return p
	}
	cfg := samplePolicy(t)
	if got, want := sorted(cfg.Listen.ProxyProtocolFrom), sorted(subnets["ProxySubnet"]); !slices.Equal(got, want) {
		t.Errorf("listen.proxy_protocol_from is %v, the load balancer stands in %v", got, want)
	}
	for _, f := range cfg.Functions {
		if got, want := sorted(f.Identify.Sources), sorted(subnets["FunctionSubnet"]); !slices.Equal(got, want) {
			t.Errorf("the sources of %s are %v, functions stand in %v", f.Name, got, want)
		}
	}
	all := slices.Concat(subnets["PublicSubnet"], subnets["ProxySubnet"], subnets["FunctionSubnet"])
	if len(all) != 9 {
		t.Errorf("%d subnets, want three kinds in three zones", len(all))
	}
	for i, p := range all {
		for _, q := range all[:i] {
			if p.Overlaps(q) {
				t.Errorf("subnets %v and %v overlap", p, q)
			}
		}
	}
	output := read(t, "ecs/network.yaml")
	for i, p := range sorted(subnets["ProxySubnet"]) {
		if !strings.Contains(expand(output), p.String()+[]string{",", ",", `"`}[i]) {
			t.Errorf("output ProxySubnetCidrs lacks %v", p)
		}
	}
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
