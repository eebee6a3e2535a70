package deploy

import (
	"strings"
	"testing"
)

// What is not given to a stack must not be referred to by what is made of it.
func TestNothingRefersToWhatIsNotMade(t *testing.T) {
	t.Parallel()
	for name, choices := range map[string][]settings{
		"network.yaml": {
			{}, {"Zones": "1"}, {"Zones": "3"}, {"AvailabilityZones": "eu-west-1b,eu-west-1c"}, {"FurtherEndpoint2": "cn.com.amazonaws.cn-north-1.kms"},
			{"NatGateways": "none"}, {"NatGateways": "one", "Zones": "3"}, {"NatGateways": "none", "Zones": "1"}, {"VpcSize": "24", "Zones": "3"},
			{"Sts": "yes", "Ssm": "yes", "Logs": "yes", "SecretsManager": "yes", "Zones": "1"}, {"Sts": "yes", "TokenAudience": "https://egress.test"},
			{"DataPort": "5432", "PartnerBuckets": "arn:aws:s3:::partner/*", "PeerCidr": "10.200.0.0/16", "Zones": "3"},
		},
		"proxy.yaml": {
			{}, {"Zones": "1", "ProxySubnets": "subnet-0aaa"}, {"Zones": "3"}, {"OtherPorts": "8443,9000-9010"}, {"ImageRepositoryArn": "arn:aws-us-gov:ecr:us-gov-west-1:111122223333:repository/a"},
			{"MinimumTasks": "4"}, {"Tls": "yes"}, {"EndpointSecurityGroupId": "sg-0eee"},
			{"DnsFilter": "on", "Tls": "yes", "ProxyDomain": "proxy.example.com"},
		},
		"watch.yaml": {
			{}, {"AlarmEmail": "a@example.com"}, {"AlarmTopicArn": "arn:aws:sns:eu-west-1:111122223333:a", "AlarmEmail": "a@example.com"}, {"FunctionMetrics": "false"},
		},
		"store.yaml":        {{}, {"PolicyEndpointId": "vpce-0aaa", "PolicyWriterArn": "arn:aws:iam::111122223333:role/pipeline"}, {"KmsKeyArn": "arn:aws-cn:kms:cn-north-1:111122223333:key/1"}},
		"function.yaml":     {{}, {"PermissionsBoundaryArn": "arn:aws:iam::111122223333:policy/teams/bound"}, attested},
		"posture.yaml":      {{}, {"EndpointSecurityGroupId": "sg-0eee", "AcceptKey": "accepted.yaml", "Regions": "eu-west-1,us-gov-west-1"}},
		"dns-firewall.yaml": {{}, {"EndpointNames": "sts.eu-west-1.amazonaws.com"}},
	} {
		for _, given := range choices {
			s := deployed(t, name, given)
			made := text(t, s.Resources) + text(t, s.Outputs)
			for of := range s.template.Resources {
				if _, ok := s.Resources[of]; !ok && (strings.Contains(made, "${"+of+"}") || strings.Contains(made, "${"+of+".")) {
					t.Errorf("%s with %v refers to %s, which is not made", name, given, of)
				}
			}
		}
	}
}

func TestParametersThatCannotWorkAreRefused(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string]map[string][]string{
		"store.yaml": {"PolicyEndpointId": {"vpc-0aaa", "*"}, "PolicyWriterArn": {"*", "arn:aws:iam::111122223333:role/*", "arn:aws:iam::*:role/a", "111122223333"}},
		"network.yaml": {
			"PartnerBuckets": {"*", "partner", "arn:aws:s3:::*", "arn:aws:s3:::*/a"}, "DataPort": {"0", "5432-5433", "all"}, "PeerCidr": {"10.200.0.0", "0"},
			"VpcSize": {"28", "8", "15", ""}, "VpcAddress": {"8.8.8.8", "10", "172.32.0.0", "10.64.0.0/16"}, "Zones": {"0", "4"}, "NatGateways": {"two"},
			"FurtherEndpoint1": {"kms", "com.evil.kms"}, "OrganizationId": {"111122223333", "*"}, "S3PrefixListId": {"com.amazonaws.eu-west-1.s3"}, "TokenAudience": {"*", "https://a b", "https://egress.example/*"},
		},
		"proxy.yaml": {
			"Image": {"", "v1.0.0", "egress:v1.0.0 --privileged"}, "OtherPorts": {"all", "0", "443;80"}, "Zones": {"0", "4"}, "MaximumTasks": {"1", "x"},
			"KmsKeyArn": {"alias/a"}, "Tls": {"", "arn:aws:acm:eu-west-1:111122223333:certificate/1"}, "LogGroup": {"", "a group"}, "ResolverCidr": {"9.9.9.9"}, "DeregistrationDelay": {"3601"},
		},
		"posture.yaml":  {"Schedule": {"", "rate(1 day)", "rate(13 hours)", "at(2026-01-01T00:00:00)"}, "Regions": {"all", "eu-west-1, us-east-1"}, "PolicyKey": {"", "folder/"}},
		"watch.yaml":    {"AlarmTopicArn": {"topic"}, "Deployment": {"", "a' OR 'b"}, "FunctionMetrics": {"yes"}},
		"function.yaml": {"PolicyName": {"", "a function", strings.Repeat("x", 65)}, "LayerArn": {"egress", "arn:aws:lambda:eu-west-1:111122223333:layer:egress"}, "TokenAudience": {"*", "https://egress.example/*"}},
	} {
		tmpl := templates(t)[name]
		for parameter, values := range bad {
			for _, value := range values {
				if got, err := tmpl.parameter(parameter, settings{parameter: value}); err == nil {
					t.Errorf("%s takes %s=%q as %v", name, parameter, value, got)
				}
			}
		}
	}
	if _, err := templates(t)["function.yaml"].parameter("PolicyName", settings{"PolicyName": strings.Repeat("x", 64)}); err != nil {
		t.Errorf("a name of 64 letters: %v", err)
	}
}

// Parameters of which each is good, and which together would make something that does not work.
func TestParametersThatCannotWorkTogetherAreRefused(t *testing.T) {
	t.Parallel()
	layer, audience, secret := attested["LayerArn"], attested["TokenAudience"], required["TokenSecretArn"]
	for _, row := range []struct {
		name  string
		given settings
		want  string // the parameter that is named; "": taken
	}{
		{"function.yaml", settings{"TokenSecretArn": secret}, ""},
		{"function.yaml", settings{"LayerArn": layer, "TokenAudience": audience, "TokenSecretArn": ""}, ""},
		{"function.yaml", settings{"LayerArn": layer, "TokenAudience": audience, "ProxyCa": "/opt/egress/ca.pem", "TokenSecretArn": ""}, ""},
		{"function.yaml", settings{"LayerArn": layer, "TokenSecretArn": ""}, "TokenAudience"},
		{"function.yaml", settings{"LayerArn": layer, "TokenSecretArn": secret}, "TokenAudience"},
		{"function.yaml", settings{"TokenAudience": audience, "TokenSecretArn": secret}, "LayerArn"},
		{"function.yaml", settings{"TokenAudience": audience, "TokenSecretArn": ""}, "TokenSecretArn"},
		{"function.yaml", settings{"ProxyCa": "/opt/egress/ca.pem", "TokenSecretArn": secret}, "ProxyCa"},
		{"function.yaml", settings{"TokenSecretArn": ""}, "TokenSecretArn"},
		{"store.yaml", settings{"PolicyEndpointId": "vpce-0aaa", "PolicyWriterArn": "arn:aws:iam::111122223333:role/pipeline"}, ""},
		{"store.yaml", settings{"PolicyEndpointId": "vpce-0aaa"}, "PolicyWriterArn"},
		{"store.yaml", settings{"PolicyWriterArn": "arn:aws:iam::111122223333:role/pipeline"}, "PolicyEndpointId"},
		{"network.yaml", settings{"TokenAudience": audience}, "Sts=yes"},
		{"network.yaml", settings{"TokenAudience": audience, "Sts": "yes"}, ""},
	} {
		got := with(t, templates(t)[row.name], row.given).refused()
		if (got == "") != (row.want == "") || !strings.Contains(got, row.want) {
			t.Errorf("%s with %v: %q, want something about %q", row.name, row.given, got, row.want)
		}
	}
}

// A rule for each entry of OtherPorts, of which none opens more than it says.
func TestOtherPortsOpenWhatTheySay(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"": "", "8443": "8443-8443", "8443,9000-9010": "8443-8443 9000-9010", "1,2,3,4,5": "1-1 2-2 3-3 4-4 5-5",
	} {
		var got []string
		for _, rule := range deployed(t, "proxy.yaml", settings{"OtherPorts": given}).Resources["TaskSecurityGroup"].Properties["SecurityGroupEgress"].([]any) {
			if at(rule, "Description") == "A port of the policy" {
				got = append(got, at(rule, "FromPort").(string)+"-"+at(rule, "ToPort").(string))
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("OtherPorts=%s opens %v, want %s", given, got, want)
		}
	}
}

// Names that AWS keeps short are made of the stack's identifier, not of its name, which has
// up to 128 letters. What has no such name can be made twice in one account and region.
func TestNoNameIsTooLongOrTaken(t *testing.T) {
	t.Parallel()
	limits := map[string]int{
		"AWS::Route53Resolver::FirewallDomainList": 64, "AWS::Route53Resolver::FirewallRuleGroup": 64, "AWS::Route53Resolver::FirewallRuleGroupAssociation": 64,
		"AWS::Route53Resolver::ResolverQueryLoggingConfig": 64, "AWS::ApplicationAutoScaling::ScalingPolicy": 256, "AWS::ECS::Cluster": 255, "AWS::Route53::HostedZone": 255, "AWS::Route53::RecordSet": 255,
	}
	for name, tmpl := range templates(t) {
		given := settings{}
		if name == "proxy.yaml" {
			given = settings{"ProxyDomain": "proxy.example.com"}
		}
		s := deployed(t, name, given)
		for logical, r := range s.Resources {
			for _, key := range []string{
				"Name", "ClusterName", "PolicyName", "RoleName", "LogGroupName", "RepositoryName", "BucketName", "FunctionName", "AlarmName", "TopicName", "ServiceName", "GroupName",
			} {
				value, ok := r.Properties[key].(string)
				reference, _ := at(tmpl.Resources[logical].Properties[key], "Ref").(string)
				if _, another := tmpl.Resources[reference]; !ok || another || r.Type == "AWS::EC2::VPCEndpoint" { // whose ServiceName is AWS's
					continue
				}
				long := strings.ReplaceAll(value, pseudo["AWS::StackName"], strings.Repeat("s", 128))
				if limit := limits[r.Type]; limit == 0 && r.Type != "AWS::EC2::FlowLog" || limit > 0 && len(long) > limit {
					t.Errorf("%s: %s of %s is %s: of %d letters at most", name, key, logical, value, limit)
				}
				raw := text(t, tmpl.Resources[logical].Properties[key])
				if r.Type != "AWS::EC2::FlowLog" && !strings.Contains(raw, "AWS::Stack") && !strings.Contains(raw, "ProxyDomain") {
					t.Errorf("%s: %s of %s is %s in every stack", name, key, logical, value)
				}
			}
		}
	}
}

// CloudFormation replaces a load balancer whose Name, Scheme or Type changes, and its name is
// in every function's HTTPS_PROXY.
func TestNoParameterReplacesTheLoadBalancer(t *testing.T) {
	t.Parallel()
	balancer := templates(t)["proxy.yaml"].Resources["LoadBalancer"]
	balancer.want(t, nil, "Name")
	balancer.want(t, "internal", "Scheme")
	balancer.want(t, "network", "Type")
	for protection, want := range map[string]string{"yes": "true", "no": "false"} {
		deployed(t, "proxy.yaml", settings{"DeletionProtection": protection}).Resources["LoadBalancer"].
			want(t, []any{map[string]any{"Key": "deletion_protection.enabled", "Value": want}}, "LoadBalancerAttributes")
	}
}

// ARNs and names of other partitions: GovCloud, China.
func TestNoTemplateNamesAPartition(t *testing.T) {
	t.Parallel()
	for name := range templates(t) {
		for line := range strings.Lines(read(t, "ecs/"+name)) {
			told := strings.Contains(line, "Description:") || strings.Contains(line, "AllowedPattern:") || strings.HasPrefix(strings.TrimSpace(line), "#")
			if !told && (strings.Contains(line, "arn:aws:") || strings.Contains(line, "amazonaws.com\"") && !strings.Contains(line, "com.amazonaws.${AWS::Region}")) {
				t.Errorf("%s: %s", name, strings.TrimSpace(line))
			}
		}
	}
}
