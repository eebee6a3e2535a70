package deploy

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

// update writes what the Terraform modules share with the templates anew:
//
//	go test ./deploy -run TestTerraformShares -update
var update = flag.Bool("update", false, "write anew what is made of the templates and of the table of alarms")

// asVariables evaluates a template with the names of Terraform's variables in place of values;
// given says otherwise.
func asVariables(t *testing.T, name string, given map[string]any) *stack {
	t.Helper()
	tmpl := templates(t)[name]
	s := &stack{t: t, template: tmpl, parameters: map[string]any{}, Resources: map[string]resource{}, Outputs: map[string]any{}, pseudo: map[string]string{
		"AWS::AccountId": "${account}", "AWS::Partition": "${partition}", "AWS::Region": "${region}", "AWS::URLSuffix": "${dns_suffix}", "AWS::StackName": "${name}", "AWS::StackId": "",
	}}
	for parameter, p := range tmpl.Parameters {
		s.parameters[parameter] = p.Default
		if p.Type == "CommaDelimitedList" {
			s.parameters[parameter] = []any{p.Default}
		}
	}
	for _, parameter := range []string{
		"Image", "ImageRepositoryArn", "PolicyBucket", "PolicyKey", "LogGroup", "KmsKeyArn", "DeregistrationDelay", "RefusalsPerFiveMinutes", "RefusalsOfFunction", "ReportModeDays", "FunctionMetrics", "MaximumTasks", "OrganizationId", "VpcId", "ProxySubnets",
	} {
		if _, ok := tmpl.Parameters[parameter]; ok {
			s.parameters[parameter] = "${" + snake(parameter) + "}"
		}
	}
	for parameter, value := range given {
		s.parameters[parameter] = value
	}
	s.make()
	return s
}

// snake writes a name as Terraform does: KmsKeyArn, kms_key_arn.
func snake(name string) string {
	return strings.ToLower(regexp.MustCompile(`([a-z])([A-Z])`).ReplaceAllString(name, "${1}_$2"))
}

// without returns a map without keys.
func without(from any, keys ...string) map[string]any {
	all := merged(from.(map[string]any), nil)
	for _, key := range keys {
		delete(all, key)
	}
	return all
}

// lowerFirst writes the keys of a container definition as the API of ECS does, but for those
// of the log driver's options.
func lowerFirst(v any) any {
	switch v := v.(type) {
	case map[string]any:
		all := map[string]any{}
		for key, value := range v {
			if key != "Options" {
				value = lowerFirst(value)
			}
			all[string(unicode.ToLower(rune(key[0])))+key[1:]] = value
		}
		return all
	case []any:
		all := []any{}
		for _, item := range v {
			all = append(all, lowerFirst(item))
		}
		return all
	default:
		return v
	}
}

// statementsOf returns the statements of a role's one policy.
func statementsOf(r resource) any {
	return at(r.Properties, "Policies", 0, "PolicyDocument", "Statement")
}

// sharedOfProxy is what the module of the proxy shares with proxy.yaml.
func sharedOfProxy(t *testing.T) map[string]any {
	s := asVariables(t, "proxy.yaml", map[string]any{"Tls": "yes"}) // the module leaves out what is there with it alone
	of := func(name string) resource { return s.Resources[name] }
	const configuration = "TargetTrackingScalingPolicyConfiguration"
	return map[string]any{
		"targets":          without(of("Targets").Properties, "VpcId", "TargetGroupAttributes"),
		"attributes":       attributes(of("Targets")),
		"listener":         without(of("Listener").Properties, "LoadBalancerArn", "DefaultActions"),
		"tls_targets":      without(of("TlsTargets").Properties, "VpcId", "TargetGroupAttributes"),
		"tls_attributes":   attributes(of("TlsTargets")),
		"tls_listener":     without(of("TlsListener").Properties, "LoadBalancerArn", "DefaultActions"),
		"assume":           of("ExecutionRole").Properties["AssumeRolePolicyDocument"],
		"execution":        statementsOf(of("ExecutionRole")),
		"task":             statementsOf(of("TaskRole")),
		"container":        lowerFirst(at(of("Task").Properties, "ContainerDefinitions", 0)),
		"service":          without(of("Service").Properties, "Cluster", "Tags", "TaskDefinition", "NetworkConfiguration", "LoadBalancers"),
		"scale_on_cpu":     of("ScaleOnCpu").Properties[configuration],
		"scale_on_tunnels": without(of("ScaleOnTunnels").Properties[configuration], "TargetValue"),
	}
}

// alarmsOfProxy are the alarms and the dashboard of watch.yaml, which the module of the proxy
// has too.
func alarmsOfProxy(t *testing.T) map[string]any {
	all := map[string]any{}
	for name, r := range asVariables(t, "watch.yaml", map[string]any{
		"Deployment": "${name}", "Cluster": "${cluster}", "Service": "${service}", "TargetGroup": "${targets_full_name}", "LoadBalancer": "${balancer_full_name}",
		"LeastTasks": "${least_tasks}", "FunctionMetrics": "true",
	}).Resources {
		switch r.Type {
		case "AWS::CloudWatch::Alarm":
			all[name] = without(r.Properties, "AlarmActions", "OKActions")
		case "AWS::CloudWatch::Dashboard":
			all[name] = dashboardBody(t, r.Properties["DashboardBody"])
		}
	}
	return all
}

// dashboardBody reads the body of a dashboard. Alarms are named by their ARN, which has a name
// that CloudFormation makes up and Terraform does not.
func dashboardBody(t *testing.T, body any) (v any) {
	t.Helper()
	named := regexp.MustCompile(`\$\{(\w+Alarm)\.Arn\}`).ReplaceAllString(body.(string), "arn:$${partition}:cloudwatch:$${region}:$${account}:alarm:$${name}-$1")
	if err := json.Unmarshal([]byte(named), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// sharedOfNetwork is what the module of the network shares with network.yaml.
func sharedOfNetwork(t *testing.T) map[string]any {
	organization := asVariables(t, "network.yaml", map[string]any{"Ssm": "yes", "Sts": "yes", "TokenAudience": "${token_audience}"})
	account := asVariables(t, "network.yaml", map[string]any{"Ssm": "yes", "Sts": "yes", "TokenAudience": "${token_audience}", "OrganizationId": ""})
	statement := func(s *stack, i int) any {
		return at(s.Resources["SsmEndpoint"].Properties, "PolicyDocument", "Statement", i)
	}
	tokens := func(s *stack) any {
		statements, _ := at(s.Resources["StsEndpoint"].Properties, "PolicyDocument", "Statement").([]any)
		return statements[1:]
	}
	images := asVariables(t, "network.yaml", map[string]any{"PartnerBuckets": []any{"arn"}}).Resources["ProxyS3Endpoint"].Properties
	return map[string]any{
		"layers":                  at(images, "PolicyDocument", "Statement", 1),
		"partners":                without(at(images, "PolicyDocument", "Statement", 2), "Resource"),
		"account":                 without(statement(account, 0), "Action"),
		"organization":            without(statement(organization, 0), "Action"),
		"parameters_account":      statement(account, 1),
		"parameters_organization": statement(organization, 1),
		"tokens_account":          tokens(account),
		"tokens_organization":     tokens(organization),
		"flow_assume":             account.Resources["FlowLogRole"].Properties["AssumeRolePolicyDocument"],
		"flow_statements":         statementsOf(account.Resources["FlowLogRole"]),
	}
}

// sharedOfFunction is what the module of an attested function shares with function.yaml.
func sharedOfFunction(t *testing.T) map[string]any {
	s := asVariables(t, "function.yaml", map[string]any{
		"LayerArn": "${layer_arn}", "TokenAudience": "${token_audience}", "ProxyHost": "${proxy_host}", "ProxyCa": "${proxy_ca}", "TokenSecretArn": "", "TokenVersion": "",
	})
	function := s.Resources["Function"].Properties
	return map[string]any{
		"assume":     s.Resources["Role"].Properties["AssumeRolePolicyDocument"],
		"statements": statementsOf(s.Resources["Role"]),
		"variables":  without(at(function, "Environment", "Variables"), "ALLOWED_URL", "REFUSED_URL"),
		"logging":    without(function["LoggingConfig"], "LogGroup"),
	}
}

func TestTerraformSharesWhatTheTemplatesSay(t *testing.T) {
	t.Parallel()
	names := strings.NewReplacer(
		"${FlowLogGroup.Arn}", "${flow_log_group}:*", "${LogGroup.Arn}", "${log_group}:*",
	)
	for name, shared := range map[string]map[string]any{"proxy/shared": sharedOfProxy(t), "proxy/watch": alarmsOfProxy(t), "network/shared": sharedOfNetwork(t), "function/shared": sharedOfFunction(t)} {
		var b bytes.Buffer
		encoder := json.NewEncoder(&b)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(shared); err != nil {
			t.Fatal(err)
		}
		want, file := names.Replace(b.String()), "terraform/"+name+".json.tftpl"
		if m := regexp.MustCompile(`\$\{[A-Z][^}]*\}`).FindString(want); m != "" {
			t.Errorf("%s: %s has no name in Terraform", name, m)
		}
		if *update {
			if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got := read(t, file); got != want {
			t.Errorf("%s is not what the template says; write it anew: go test ./deploy -run TestTerraformShares -update", file)
		}
	}
}
