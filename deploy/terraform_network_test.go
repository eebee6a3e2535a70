package deploy

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/zclconf/go-cty/cty"
)

// same reads properties as they are: of Terraform by the first name, of a template by the
// second.
func same(pairs ...string) func(p *properties) map[string]any {
	return func(p *properties) map[string]any {
		all := map[string]any{}
		for i := 0; i < len(pairs); i += 2 {
			if value := p.get(pairs[i+1]); value != nil {
				all[pairs[i]] = value
			}
		}
		return all
	}
}

// networkRows are the resources of terraform/network in so many zones.
func networkRows(zones int) map[string]counterpart {
	vpc := []string{"vpc_id", "VpcId"}
	subnet := same(append(vpc, "availability_zone", "AvailabilityZone", "cidr_block", "CidrBlock", "map_public_ip_on_launch", "MapPublicIpOnLaunch")...)
	association := same("subnet_id", "SubnetId", "route_table_id", "RouteTableId")
	route := same("route_table_id", "RouteTableId", "destination_cidr_block", "DestinationCidrBlock", "gateway_id", "GatewayId", "nat_gateway_id", "NatGatewayId")
	rows := map[string]counterpart{
		"aws_vpc.this": {"Vpc", same("cidr_block", "CidrBlock", "enable_dns_support", "EnableDnsSupport", "enable_dns_hostnames", "EnableDnsHostnames")},
		"aws_internet_gateway.this": {"Gateway", func(*properties) map[string]any {
			return map[string]any{"vpc_id": "${Vpc}"}
		}},
		"aws_route_table.public":         {"PublicRoutes", same(vpc...)},
		"aws_route.public":               {"PublicDefaultRoute", route},
		"aws_route_table.functions":      {"FunctionRoutes", same(vpc...)},
		"aws_route_table.data":           {"DataRoutes", same(vpc...)},
		"aws_security_group.functions":   {"FunctionSecurityGroup", group},
		"aws_security_group.data":        {"DataSecurityGroup", group},
		"aws_vpc_endpoint.proxy_s3":      {"ProxyS3Endpoint", endpoint},
		"aws_security_group.endpoints":   {"EndpointSecurityGroup", group},
		"aws_cloudwatch_log_group.flows": {"FlowLogGroup", same("retention_in_days", "RetentionInDays", "kms_key_id", "KmsKeyId")},
		"aws_iam_role.flows":             {"FlowLogRole", role},
		"aws_iam_role_policy.flows":      rolePolicy("FlowLogRole"),
		"aws_flow_log.this": {"FlowLog", func(p *properties) map[string]any {
			p.get("ResourceType")
			p.get("LogGroupName") // Terraform names the group by its ARN
			return map[string]any{
				"vpc_id": p.get("ResourceId"), "traffic_type": p.get("TrafficType"), "log_destination_type": p.get("LogDestinationType"), "log_destination": "${FlowLogGroup.Arn}",
				"iam_role_arn": p.get("DeliverLogsPermissionArn"),
			}
		}},
	}
	for i := range zones {
		n := fmt.Sprint(i + 1)
		for address, row := range map[string]counterpart{
			"aws_subnet.public": {"PublicSubnet" + n, subnet}, "aws_subnet.proxy": {"ProxySubnet" + n, subnet}, "aws_subnet.functions": {"FunctionSubnet" + n, subnet},
			"aws_route_table_association.public": {"PublicSubnet" + n + "Routes", association}, "aws_route_table_association.proxy": {"ProxySubnet" + n + "Routes", association},
			"aws_subnet.data": {"DataSubnet" + n, subnet}, "aws_route_table_association.data": {"DataSubnet" + n + "Routes", association},
			"aws_route_table_association.functions": {"FunctionSubnet" + n + "Routes", association}, "aws_eip.nat": {"NatAddress" + n, same("domain", "Domain")},
			"aws_nat_gateway.this": {"Nat" + n, same("subnet_id", "SubnetId", "allocation_id", "AllocationId")}, "aws_route_table.proxy": {"ProxyRoutes" + n, same(vpc...)},
			"aws_route.proxy": {"ProxyDefaultRoute" + n, route},
		} {
			rows[address+"["+n+"]"] = row
		}
	}
	maps.Copy(rows, aclRows(zones))
	for service, logical := range map[string]string{"s3": "S3Endpoint", "dynamodb": "DynamoDbEndpoint"} {
		rows["aws_vpc_endpoint.gateway["+service+"]"] = counterpart{logical, endpoint}
	}
	for service, logical := range map[string]string{
		"sts": "StsEndpoint", "secretsmanager": "SecretsManagerEndpoint", "ssm": "SsmEndpoint", "logs": "LogsEndpoint",
	} {
		rows["aws_vpc_endpoint.interface["+service+"]"] = counterpart{logical, endpoint}
	}
	return rows
}

// aclRows are the network ACLs of terraform/network in so many zones.
func aclRows(zones int) map[string]counterpart {
	rows := map[string]counterpart{}
	rule := func(p *properties) map[string]any {
		return present(map[string]any{
			"network_acl_id": p.get("NetworkAclId"), "rule_number": p.get("RuleNumber"), "egress": p.get("Egress"), "protocol": p.get("Protocol"), "rule_action": p.get("RuleAction"),
			"cidr_block": p.get("CidrBlock"), "from_port": p.get("PortRange", "From"), "to_port": p.get("PortRange", "To"), "icmp_type": p.get("Icmp", "Type"), "icmp_code": p.get("Icmp", "Code"),
		})
	}
	for key, logical := range map[string]string{
		"functions_from_vpc": "FunctionAclFromVpc", "functions_to_vpc": "FunctionAclToVpc", "proxy_from_vpc": "ProxyAclFromVpc", "public_nobody_else": "PublicAclNobodyElse",
		"proxy_answers_tcp": "ProxyAclAnswersTcp", "proxy_answers_udp": "ProxyAclAnswersUdp", "proxy_unreachable": "ProxyAclUnreachable", "proxy_out": "ProxyAclOut",
		"public_answers_tcp": "PublicAclAnswersTcp", "public_answers_udp": "PublicAclAnswersUdp", "public_unreachable": "PublicAclUnreachable", "public_out": "PublicAclOut",
	} {
		rows["aws_network_acl_rule.this["+key+"]"] = counterpart{logical, rule}
	}
	for kind, logical := range map[string]string{"public": "Public", "proxy": "Proxy", "functions": "Function", "data": "Data"} {
		rows["aws_network_acl.this["+kind+"]"] = counterpart{logical + "Acl", same("vpc_id", "VpcId")}
		for i := range zones {
			n := fmt.Sprint(i + 1)
			rows["aws_network_acl_association."+kind+"["+n+"]"] = counterpart{logical + "Subnet" + n + "Acl", same("subnet_id", "SubnetId", "network_acl_id", "NetworkAclId")}
		}
	}
	for i := range zones {
		n := fmt.Sprint(i + 1)
		for key, logical := range map[string]string{
			"data_from_functions_": "DataAclFromFunctions", "data_to_functions_": "DataAclToFunctions", "data_from_data_": "DataAclFromData", "data_to_data_": "DataAclToData",
			"public_from_proxy_": "PublicAclFromProxy",
		} {
			rows["aws_network_acl_rule.this["+key+n+"]"] = counterpart{logical + n, rule}
		}
	}
	return rows
}

// endpoint is a VPC endpoint.
func endpoint(p *properties) map[string]any {
	return same("vpc_id", "VpcId", "vpc_endpoint_type", "VpcEndpointType", "service_name", "ServiceName", "route_table_ids", "RouteTableIds", "policy", "PolicyDocument",
		"private_dns_enabled", "PrivateDnsEnabled", "subnet_ids", "SubnetIds", "security_group_ids", "SecurityGroupIds")(p)
}

func TestTerraformNetworkIsTheTemplate(t *testing.T) {
	t.Parallel()
	zones := []string{"eu-west-1a", "eu-west-1b", "eu-west-1c"}
	const key = "arn:aws:kms:eu-west-1:111122223333:key/1"
	for what, row := range map[string]struct {
		variables map[string]cty.Value
		given     settings
		zones     int
	}{
		"defaults": {nil, settings{}, 2},
		"options": {
			map[string]cty.Value{
				"vpc_cidr": cty.StringVal("192.168.0.0/20"), "nat_gateways": cty.StringVal("one"), "interface_endpoints": cty.SetVal([]cty.Value{cty.StringVal("sts"), cty.StringVal("ssm"), cty.StringVal("logs"), cty.StringVal("secretsmanager")}),
				"token_audience": cty.StringVal("https://egress.example.internal"), "partner_buckets": texts("arn:aws:s3:::partner/*"), "data_port": cty.NumberIntVal(5432),
				"organization_id": cty.StringVal("o-aaaaaaaaaa"), "flow_log_traffic": cty.StringVal("REJECT"), "flow_log_retention_days": cty.NumberIntVal(731), "kms_key_arn": cty.StringVal(key),
			},
			settings{
				"VpcAddress": "192.168.0.0", "VpcSize": "20", "NatGateways": "one", "Sts": "yes", "Ssm": "yes", "Logs": "yes", "SecretsManager": "yes",
				"TokenAudience": "https://egress.example.internal", "PartnerBuckets": "arn:aws:s3:::partner/*", "DataPort": "5432",
				"OrganizationId": "o-aaaaaaaaaa", "FlowLogTraffic": "REJECT", "FlowLogRetentionDays": "731", "KmsKeyArn": key,
			}, 3,
		},
		"tokens for any audience": {map[string]cty.Value{"interface_endpoints": cty.SetVal([]cty.Value{cty.StringVal("sts")})}, settings{"Sts": "yes"}, 2},
		"tokens of one account": {
			map[string]cty.Value{"interface_endpoints": cty.SetVal([]cty.Value{cty.StringVal("sts"), cty.StringVal("logs")}), "token_audience": cty.StringVal("https://egress.example.internal")},
			settings{"Sts": "yes", "Logs": "yes", "TokenAudience": "https://egress.example.internal"}, 2,
		},
		"one zone, no NAT": {map[string]cty.Value{"nat_gateways": cty.StringVal("none"), "vpc_cidr": cty.StringVal("10.64.0.0/24")}, settings{"NatGateways": "none", "VpcSize": "24"}, 1},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			variables := map[string]cty.Value{"name": cty.StringVal(pseudo["AWS::StackName"]), "availability_zones": texts(zones[:row.zones]...)}
			maps.Copy(variables, row.variables)
			row.given["Zones"] = fmt.Sprint(row.zones)
			m := applied(t, "terraform/network", variables)
			// What CloudFormation cannot say: the default security group is closed.
			if got := text(t, m.Resources["aws_default_security_group.this"]); got != `{"vpc_id":"${aws_vpc.this.id}"}` {
				t.Errorf("the default security group is %s", got)
			}
			sameAsTemplate(t, m, deployed(t, "network.yaml", row.given), networkRows(row.zones), ruleOrOf("aws_default_security_group."))
		})
	}
}

// An audience that no endpoint is bound to is refused before anything is made, as the rule of
// the template refuses it.
func TestTerraformNetworkRefusesAnAudienceWithoutTheEndpoint(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		audience, endpoint string
		taken              bool
	}{{"", "logs", true}, {"https://egress.example.internal", "sts", true}, {"https://egress.example.internal", "logs", false}} {
		m := applied(t, "terraform/network", map[string]cty.Value{
			"name": cty.StringVal("network"), "availability_zones": texts("eu-west-1a"), "interface_endpoints": cty.SetVal([]cty.Value{cty.StringVal(row.endpoint)}),
			"token_audience": cty.StringVal(row.audience),
		})
		taken, conditions := true, 0
		for _, b := range m.blocks {
			for _, inner := range b.Body.Blocks {
				if inner.Type != "lifecycle" {
					continue
				}
				for _, precondition := range inner.Body.Blocks {
					conditions++
					taken = taken && m.eval(precondition.Body.Attributes["condition"].Expr).True()
				}
			}
		}
		if taken != row.taken || conditions == 0 {
			t.Errorf("%q with the endpoint of %s: taken is %t, by %d conditions", row.audience, row.endpoint, taken, conditions)
		}
	}
}

func TestTerraformStoreIsTheTemplate(t *testing.T) {
	t.Parallel()
	const key = "arn:aws:kms:eu-west-1:111122223333:key/1"
	rows := map[string]counterpart{
		"aws_ecr_repository.image": {"Repository", func(p *properties) map[string]any {
			all := map[string]any{"image_tag_mutability": p.get("ImageTagMutability")}
			if kind := p.get("EncryptionConfiguration", "EncryptionType"); kind != nil {
				all["encryption_configuration"] = []any{map[string]any{"encryption_type": kind, "kms_key": p.get("EncryptionConfiguration", "KmsKey")}}
			}
			return all
		}},
		"aws_s3_bucket.policy": {"PolicyBucket", func(p *properties) map[string]any {
			p.get("VersioningConfiguration")
			p.get("BucketEncryption")
			p.get("PublicAccessBlockConfiguration")
			p.get("OwnershipControls")
			p.get("LifecycleConfiguration")
			return map[string]any{}
		}},
		"aws_s3_bucket_policy.policy": {"PolicyBucketPolicy", func(p *properties) map[string]any {
			return map[string]any{"bucket": p.get("Bucket"), "policy": p.get("PolicyDocument")}
		}},
		"aws_cloudwatch_log_group.records": {"LogGroup", same("retention_in_days", "RetentionInDays", "kms_key_id", "KmsKeyId")},
	}
	for k, by := range map[string][2]string{"": {}, key: {"vpce-0aaa", "arn:aws:iam::111122223333:role/pipeline"}} {
		m := applied(t, "terraform/store", map[string]cty.Value{
			"kms_key_arn": cty.StringVal(k), "old_versions_days": cty.NumberIntVal(500), "policy_endpoint_id": cty.StringVal(by[0]), "policy_writer_arn": cty.StringVal(by[1]),
		})
		s := deployed(t, "store.yaml", settings{"KmsKeyArn": k, "OldVersionsDays": "500", "PolicyEndpointId": by[0], "PolicyWriterArn": by[1]})
		sameAsTemplate(t, m, s, rows, ruleOrOf("aws_s3_bucket_"))
		bucket := s.Resources["PolicyBucket"].Properties
		rule := func(path ...any) any {
			return at(bucket, append([]any{"BucketEncryption", "ServerSideEncryptionConfiguration", 0}, path...)...)
		}
		for address, want := range map[string]map[string]any{
			"aws_s3_bucket_versioning.policy": {"versioning_configuration": []any{map[string]any{"status": at(bucket, "VersioningConfiguration", "Status")}}},
			"aws_s3_bucket_server_side_encryption_configuration.policy": {"rule": []any{present(map[string]any{
				"bucket_key_enabled": rule("BucketKeyEnabled"),
				"apply_server_side_encryption_by_default": []any{present(map[string]any{
					"sse_algorithm": rule("ServerSideEncryptionByDefault", "SSEAlgorithm"), "kms_master_key_id": rule("ServerSideEncryptionByDefault", "KMSMasterKeyID"),
				})},
			})}},
			"aws_s3_bucket_public_access_block.policy": {
				"block_public_acls": at(bucket, "PublicAccessBlockConfiguration", "BlockPublicAcls"), "block_public_policy": at(bucket, "PublicAccessBlockConfiguration", "BlockPublicPolicy"),
				"ignore_public_acls": at(bucket, "PublicAccessBlockConfiguration", "IgnorePublicAcls"), "restrict_public_buckets": at(bucket, "PublicAccessBlockConfiguration", "RestrictPublicBuckets"),
			},
			"aws_s3_bucket_ownership_controls.policy": {"rule": []any{map[string]any{"object_ownership": at(bucket, "OwnershipControls", "Rules", 0, "ObjectOwnership")}}},
			"aws_s3_bucket_lifecycle_configuration.policy": {"rule": []any{map[string]any{
				"id": at(bucket, "LifecycleConfiguration", "Rules", 0, "Id"), "status": at(bucket, "LifecycleConfiguration", "Rules", 0, "Status"), "filter": []any{map[string]any{}},
				"noncurrent_version_expiration": []any{map[string]any{"noncurrent_days": at(bucket, "LifecycleConfiguration", "Rules", 0, "NoncurrentVersionExpiration", "NoncurrentDays")}},
			}}},
		} {
			want["bucket"] = "${aws_s3_bucket.policy.id}"
			if got := text(t, scalar(m.Resources[address])); got != text(t, scalar(want)) {
				t.Errorf("%s is\n%s\nwant\n%s", address, got, text(t, scalar(want)))
			}
		}
		if strings.Contains(text(t, m.Resources["aws_s3_bucket.policy"]), "force_destroy") {
			t.Error("the bucket goes with its versions")
		}
	}
}

// present leaves out what is not there.
func present(all map[string]any) map[string]any {
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	return all
}
