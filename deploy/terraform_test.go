package deploy

import (
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/zclconf/go-cty/cty"
)

// The Terraform modules are compared with the templates resource by resource: each is
// evaluated with the same settings, what a template's resource says is written as Terraform
// says it, and the two must be equal but for what is named below.

// counterpart says which resource of a template one of Terraform is, and what it must say;
// properties that expect does not read must stand in meant.
type counterpart struct {
	logical string
	expect  func(p *properties) map[string]any
}

// properties are those of a resource of a template; it remembers which were read.
type properties struct {
	all  map[string]any
	read map[string]bool
}

// get follows a path into the properties.
func (p *properties) get(path ...any) any {
	p.read[path[0].(string)] = true
	return at(p.all, path...)
}

// chosen are attributes that Terraform chooses by itself, where a counterpart says no other:
// names, which CloudFormation makes up, and tags that hold them.
var chosen = []string{"name", "name_prefix", "bucket_prefix", "alarm_name", "dashboard_name", "family", "tags", "skip_destroy", "desired_count"}

// meant are the resources and properties of templates that the modules do not have, and why.
var meant = map[string]string{
	"watch.yaml AlarmTopic":          "a topic is given: alarm_topic_arn",
	"network.yaml GatewayAttachment": "the gateway has the VPC's identifier",
	"Dashboard.DashboardName":        "the name is the module's",
	"Service.Tags":                   "only orders two resources in CloudFormation",
	"Cluster.CapacityProviders":      "a resource of its own, compared there",
	"Cluster.ClusterName":            "the name is the module's",
	"Task.Family":                    "the name is the module's",
	"ExecutionRole.Policies":         "a resource of its own, compared there",
	"TaskRole.Policies":              "a resource of its own, compared there",
	"FlowLogRole.Policies":           "a resource of its own, compared there",
	"Role.Policies":                  "a resource of its own, compared there",
	"Function.Code":                  "the package is yours",
}

// logicalOf are the names that resources of Terraform have in a template.
func logicalOf(rows map[string]counterpart) *strings.Replacer {
	// The ARN of a log group ends in :* in CloudFormation, and does not in Terraform.
	pairs := []string{"${aws_cloudwatch_log_group.flows.arn}:*", "${FlowLogGroup.Arn}", "${aws_cloudwatch_log_group.function.arn}:*", "${LogGroup.Arn}"}
	for _, address := range slices.Backward(slices.Sorted(maps.Keys(rows))) {
		name := rows[address].logical
		for attribute, of := range map[string]string{
			"id": "", "arn": "", "name": "", "zone_id": map[string]string{"LoadBalancer": ".CanonicalHostedZoneID"}[name], "dns_name": ".DNSName", "arn_suffix": map[string]string{"Targets": ".TargetGroupFullName", "LoadBalancer": ".LoadBalancerFullName"}[name],
		} {
			if attribute == "arn" && (strings.HasSuffix(name, "Role") || name == "FlowLogGroup" || name == "PolicyBucket") {
				of = ".Arn"
			}
			if attribute == "id" && strings.HasPrefix(name, "NatAddress") {
				of = ".AllocationId"
			}
			if attribute == "name" && name == "Service" {
				of = ".Name"
			}
			pairs = append(pairs, "${"+address+"."+attribute+"}", "${"+name+of+"}")
		}
	}
	return strings.NewReplacer(pairs...)
}

// scalar writes numbers and truth values as texts, as both languages take them.
func scalar(v any) any {
	switch v := v.(type) {
	case map[string]any:
		all := map[string]any{}
		for key, value := range v {
			all[key] = scalar(value)
		}
		return all
	case []any:
		all := []any{}
		for _, item := range v {
			all = append(all, scalar(item))
		}
		return all
	case []string:
		all := []any{}
		for _, item := range v {
			all = append(all, item)
		}
		return all
	case nil:
		return nil
	default:
		return fmt.Sprint(v)
	}
}

// sameAsTemplate compares a module with a stack.
func sameAsTemplate(t *testing.T, m *module, s *stack, rows map[string]counterpart, elsewhere func(address string) bool) {
	t.Helper()
	names := logicalOf(rows)
	compared := map[string]bool{}
	for _, address := range slices.Sorted(maps.Keys(m.Resources)) {
		row, ok := rows[address]
		if !ok {
			if !elsewhere(address) {
				t.Errorf("%s: %s is no resource of %s", m.dir, address, s.template.name)
			}
			continue
		}
		r, ok := s.Resources[row.logical]
		if !ok {
			t.Errorf("%s: %s has no %s with these settings", m.dir, address, row.logical)
			continue
		}
		p := &properties{all: r.Properties, read: map[string]bool{}}
		want, got := row.expect(p), maps.Clone(m.Resources[address])
		compared[row.logical] = true
		for _, key := range chosen {
			if _, told := want[key]; !told {
				delete(got, key)
			}
		}
		for _, key := range slices.Sorted(maps.Keys(merged(want, got))) {
			a, b := text(t, scalar(want[key])), names.Replace(text(t, scalar(got[key])))
			if a != b {
				t.Errorf("%s: %s of %s is\n%s\nwant, of %s,\n%s", m.dir, key, address, b, row.logical, a)
			}
		}
		for key := range r.Properties {
			if !p.read[key] && meant[row.logical+"."+key] == "" && key != "Tags" {
				t.Errorf("%s: nobody compares %s of %s", m.dir, key, row.logical)
			}
		}
	}
	for name, r := range s.Resources {
		rule := strings.HasPrefix(r.Type, "AWS::EC2::SecurityGroup") && r.Type != "AWS::EC2::SecurityGroup"
		if !compared[name] && !rule && meant[s.template.name+" "+name] == "" {
			t.Errorf("%s has no %s", m.dir, name)
		}
	}
	sameRules(t, m, s, names)
}

// sameRules compares the rules of all security groups.
func sameRules(t *testing.T, m *module, s *stack, names *strings.Replacer) {
	t.Helper()
	var got, want []string
	for address, r := range m.Resources {
		for kind, direction := range map[string]string{"aws_vpc_security_group_ingress_rule.": "in", "aws_vpc_security_group_egress_rule.": "out"} {
			if strings.HasPrefix(address, kind) {
				peer := r["referenced_security_group_id"]
				if peer == nil {
					peer = r["cidr_ipv4"]
				}
				got = append(got, names.Replace(fmt.Sprintf("%v %s %v %v-%v %v", r["security_group_id"], direction, r["ip_protocol"], r["from_port"], r["to_port"], peer)))
			}
		}
	}
	add := func(group any, direction string, rule any) {
		for _, key := range []string{"SourceSecurityGroupId", "DestinationSecurityGroupId", "DestinationPrefixListId", "CidrIp"} {
			if peer := at(rule, key); peer != nil && at(rule, "IpProtocol") != "-1" {
				want = append(want, fmt.Sprintf("%v %s %v %v-%v %v", group, direction, at(rule, "IpProtocol"), at(rule, "FromPort"), at(rule, "ToPort"), peer))
			}
		}
	}
	for name, r := range s.Resources {
		switch r.Type {
		case "AWS::EC2::SecurityGroup":
			for key, direction := range map[string]string{"SecurityGroupIngress": "in", "SecurityGroupEgress": "out"} {
				rules, _ := r.Properties[key].([]any)
				for _, rule := range rules {
					add("${"+name+"}", direction, rule)
				}
			}
		case "AWS::EC2::SecurityGroupIngress":
			add(r.Properties["GroupId"], "in", r.Properties)
		case "AWS::EC2::SecurityGroupEgress":
			add(r.Properties["GroupId"], "out", r.Properties)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s: rules of security groups are\n%s\nwant\n%s", m.dir, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// ruleOrOf says which resources of Terraform are parts of another's in a template: rules of
// groups, policies of roles, which are compared there.
func ruleOrOf(more ...string) func(string) bool {
	return func(address string) bool {
		return strings.HasPrefix(address, "aws_vpc_security_group_") || slices.ContainsFunc(more, func(one string) bool { return strings.HasPrefix(address, one) })
	}
}

// group is a security group; its rules are compared apart.
func group(p *properties) map[string]any {
	p.get("SecurityGroupIngress")
	p.get("SecurityGroupEgress")
	return map[string]any{"description": p.get("GroupDescription"), "vpc_id": p.get("VpcId")}
}

// role is a role; its policy is a resource of its own.
func role(p *properties) map[string]any {
	return map[string]any{"assume_role_policy": p.get("AssumeRolePolicyDocument"), "permissions_boundary": p.get("PermissionsBoundary")}
}

// rolePolicy is the one policy of a role.
func rolePolicy(logical string) counterpart {
	return counterpart{logical, func(p *properties) map[string]any {
		p.get("AssumeRolePolicyDocument")
		p.get("PermissionsBoundary")
		return map[string]any{"role": "${" + logical + "}", "policy": p.get("Policies", 0, "PolicyDocument")}
	}}
}

// texts makes a list of texts of Terraform.
func texts(items ...string) cty.Value {
	var list []cty.Value
	for _, item := range items {
		list = append(list, cty.StringVal(item))
	}
	return cty.ListVal(list)
}

func TestTerraformIsFormatted(t *testing.T) {
	t.Parallel()
	terraform, err := exec.LookPath("terraform")
	if err != nil {
		t.Skip("terraform is not installed; the workflow runs it")
	}
	cmd := exec.Command(terraform, "fmt", "-check", "-diff", "-recursive", "terraform")
	cmd.Env = append(cmd.Environ(), "TF_CLI_CONFIG_FILE=", "CHECKPOINT_DISABLE=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
