package deploy

import (
	"maps"
	"strings"
	"testing"

	"github.com/zclconf/go-cty/cty"
)

// functionRows are the resources of terraform/function.
func functionRows() map[string]counterpart {
	return map[string]counterpart{
		"aws_cloudwatch_log_group.function": {"LogGroup", same("retention_in_days", "RetentionInDays")},
		"aws_iam_role.function":             {"Role", role},
		"aws_iam_role_policy.function":      rolePolicy("Role"),
		"aws_lambda_function.this": {"Function", func(p *properties) map[string]any {
			all := same("description", "Description", "runtime", "Runtime", "architectures", "Architectures", "handler", "Handler", "timeout", "Timeout", "memory_size", "MemorySize",
				"kms_key_arn", "KmsKeyArn", "layers", "Layers", "role", "Role")(p)
			maps.Copy(all, map[string]any{
				"function_name": "sample", "filename": "sample.zip", "source_code_hash": "a hash",
				"logging_config": []any{map[string]any{"log_group": p.get("LoggingConfig", "LogGroup"), "log_format": p.get("LoggingConfig", "LogFormat")}},
				"vpc_config":     []any{map[string]any{"subnet_ids": p.get("VpcConfig", "SubnetIds"), "security_group_ids": p.get("VpcConfig", "SecurityGroupIds")}},
				"environment":    []any{map[string]any{"variables": p.get("Environment", "Variables")}},
			})
			return all
		}},
	}
}

// ofFunction are the variables of terraform/function that have no default, and the sample's
// own.
func ofFunction() map[string]cty.Value {
	return map[string]cty.Value{
		"name": cty.StringVal("sample"), "filename": cty.StringVal("sample.zip"), "description": cty.StringVal("Calls an allowed and a refused host through the egress proxy"),
		"function_subnets": texts(strings.Split(required["FunctionSubnets"], ",")...), "function_security_group_id": cty.StringVal(required["FunctionSecurityGroupId"]),
		"proxy_host": cty.StringVal(required["ProxyHost"]), "layer_arn": cty.StringVal(attested["LayerArn"]), "token_audience": cty.StringVal(attested["TokenAudience"]),
		"environment": cty.MapVal(map[string]cty.Value{"ALLOWED_URL": cty.StringVal("https://checkip.amazonaws.com/"), "REFUSED_URL": cty.StringVal("https://example.com/")}),
	}
}

func TestTerraformFunctionIsTheTemplate(t *testing.T) {
	t.Parallel()
	const key, boundary, ca = "arn:aws:kms:eu-west-1:111122223333:key/1", "arn:aws:iam::111122223333:policy/bound", "/var/task/ca.pem"
	for what, row := range map[string]struct {
		variables map[string]cty.Value
		given     settings
	}{
		"defaults": {},
		"options": {
			map[string]cty.Value{"kms_key_arn": cty.StringVal(key), "permissions_boundary_arn": cty.StringVal(boundary), "proxy_ca": cty.StringVal(ca)},
			settings{"KmsKeyArn": key, "PermissionsBoundaryArn": boundary, "ProxyCa": ca},
		},
	} {
		variables, given := ofFunction(), maps.Clone(attested)
		maps.Copy(variables, row.variables)
		maps.Copy(given, row.given)
		t.Run(what, func(t *testing.T) {
			sameAsTemplate(t, applied(t, "terraform/function", variables), deployed(t, "function.yaml", given), functionRows(), ruleOrOf())
		})
	}
}

// A function's own variables put none of those of the proxy out: with HTTPS_PROXY of its own
// it would go elsewhere.
func TestTerraformFunctionKeepsTheWayToTheProxy(t *testing.T) {
	t.Parallel()
	variables := ofFunction()
	variables["environment"] = cty.MapVal(map[string]cty.Value{"EGRESS_PROXY": cty.StringVal("https://evil.example"), "AWS_LAMBDA_EXEC_WRAPPER": cty.StringVal("/tmp/x")})
	got := at(applied(t, "terraform/function", variables).Resources["aws_lambda_function.this"]["environment"], 0, "variables")
	if at(got, "EGRESS_PROXY") != "https://proxy.internal:3129" || at(got, "AWS_LAMBDA_EXEC_WRAPPER") != "/opt/egress/wrapper" {
		t.Errorf("%v", got)
	}
}
