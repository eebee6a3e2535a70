package deploy

import (
	"maps"
	"strings"
	"testing"

	"github.com/zclconf/go-cty/cty"
)

// proxyRows are the resources of terraform/proxy.
func proxyRows() map[string]counterpart {
	rows := map[string]counterpart{
		"aws_security_group.balancer":   {"LoadBalancerSecurityGroup", group},
		"aws_security_group.task":       {"TaskSecurityGroup", group},
		"aws_iam_role.execution":        {"ExecutionRole", role},
		"aws_iam_role.task":             {"TaskRole", role},
		"aws_iam_role_policy.execution": rolePolicy("ExecutionRole"),
		"aws_iam_role_policy.task":      rolePolicy("TaskRole"),
		"aws_lb.proxy": {"LoadBalancer", func(p *properties) map[string]any {
			return map[string]any{
				"load_balancer_type": p.get("Type"), "internal": p.get("Scheme") == "internal", "subnets": p.get("Subnets"), "security_groups": p.get("SecurityGroups"),
				"enable_deletion_protection": p.get("LoadBalancerAttributes", 0, "Value"),
			}
		}},
		"aws_lb_target_group.proxy": {"Targets", targetGroup},
		"aws_lb_target_group.tls":   {"TlsTargets", targetGroup},
		"aws_lb_listener.proxy":     {"Listener", listener},
		"aws_lb_listener.tls":       {"TlsListener", listener},
		"aws_route53_zone.proxy": {"HostedZone", func(p *properties) map[string]any {
			return map[string]any{"vpc": []any{map[string]any{"vpc_id": p.get("VPCs", 0, "VPCId"), "vpc_region": p.get("VPCs", 0, "VPCRegion")}}, "name": p.get("Name")}
		}},
		"aws_route53_record.proxy": {"Name", func(p *properties) map[string]any {
			return map[string]any{
				"name": p.get("Name"), "type": p.get("Type"), "zone_id": p.get("HostedZoneId"),
				"alias": []any{map[string]any{"name": p.get("AliasTarget", "DNSName"), "zone_id": p.get("AliasTarget", "HostedZoneId"), "evaluate_target_health": false}}, // CloudFormation's default
			}
		}},
		"aws_ecs_cluster.proxy": {"Cluster", func(*properties) map[string]any { return map[string]any{} }},
		"aws_ecs_cluster_capacity_providers.proxy": {"Cluster", func(p *properties) map[string]any {
			return map[string]any{"cluster_name": "${Cluster}", "capacity_providers": p.get("CapacityProviders")}
		}},
		"aws_ecs_task_definition.proxy": {"Task", func(p *properties) map[string]any {
			return map[string]any{
				"requires_compatibilities": p.get("RequiresCompatibilities"), "network_mode": p.get("NetworkMode"), "cpu": p.get("Cpu"), "memory": p.get("Memory"),
				"execution_role_arn": p.get("ExecutionRoleArn"), "task_role_arn": p.get("TaskRoleArn"), "container_definitions": lowerFirst(p.get("ContainerDefinitions")),
				"runtime_platform": []any{map[string]any{"cpu_architecture": p.get("RuntimePlatform", "CpuArchitecture"), "operating_system_family": p.get("RuntimePlatform", "OperatingSystemFamily")}},
			}
		}},
		"aws_ecs_service.proxy": {"Service", ecsService},
		"aws_appautoscaling_target.proxy": {"ScalableTarget", func(p *properties) map[string]any {
			return map[string]any{
				"service_namespace": p.get("ServiceNamespace"), "scalable_dimension": p.get("ScalableDimension"), "resource_id": p.get("ResourceId"),
				"min_capacity": p.get("MinCapacity"), "max_capacity": p.get("MaxCapacity"),
			}
		}},
		"aws_appautoscaling_policy.cpu":     {"ScaleOnCpu", scaling},
		"aws_appautoscaling_policy.tunnels": {"ScaleOnTunnels", scaling},
	}
	return rows
}

// watching are the resources of terraform/proxy that are those of watch.yaml.
const watching = "aws_cloudwatch_"

// watchRows are the resources of terraform/proxy that watch.yaml has.
func watchRows(t *testing.T) map[string]counterpart {
	rows := map[string]counterpart{"aws_cloudwatch_dashboard.proxy": {"Dashboard", func(p *properties) map[string]any {
		named := strings.NewReplacer("${partition}", pseudo["AWS::Partition"], "${region}", pseudo["AWS::Region"], "${account}", pseudo["AWS::AccountId"], "${name}", pseudo["AWS::StackName"])
		return map[string]any{"dashboard_body": dashboardBody(t, named.Replace(text(t, dashboardBody(t, p.get("DashboardBody")))))}
	}}}
	for _, a := range table(t) {
		name := a.Name + "Alarm"
		rows["aws_cloudwatch_metric_alarm.proxy["+name+"]"] = counterpart{name, metricAlarm}
	}
	return rows
}

// listener is a listener of the load balancer.
func listener(p *properties) map[string]any {
	return map[string]any{
		"load_balancer_arn": p.get("LoadBalancerArn"), "protocol": p.get("Protocol"), "port": p.get("Port"), "tcp_idle_timeout_seconds": p.get("ListenerAttributes", 0, "Value"),
		"default_action": []any{map[string]any{"type": p.get("DefaultActions", 0, "Type"), "target_group_arn": p.get("DefaultActions", 0, "TargetGroupArn")}},
	}
}

// targetGroup is the target group, with its attributes.
func targetGroup(p *properties) map[string]any {
	p.get("TargetGroupAttributes")
	of := attributes(resource{Properties: p.all})
	return map[string]any{
		"vpc_id": p.get("VpcId"), "target_type": p.get("TargetType"), "protocol": p.get("Protocol"), "port": p.get("Port"),
		"proxy_protocol_v2": of["proxy_protocol_v2.enabled"], "preserve_client_ip": of["preserve_client_ip.enabled"],
		"deregistration_delay": of["deregistration_delay.timeout_seconds"], "connection_termination": of["deregistration_delay.connection_termination.enabled"],
		"load_balancing_cross_zone_enabled": of["load_balancing.cross_zone.enabled"],
		"target_health_state":               []any{map[string]any{"enable_unhealthy_connection_termination": of["target_health_state.unhealthy.connection_termination.enabled"]}},
		"health_check": []any{map[string]any{
			"protocol": p.get("HealthCheckProtocol"), "port": p.get("HealthCheckPort"), "interval": p.get("HealthCheckIntervalSeconds"),
			"healthy_threshold": p.get("HealthyThresholdCount"), "unhealthy_threshold": p.get("UnhealthyThresholdCount"),
		}},
	}
}

// ecsService is the service.
func ecsService(p *properties) map[string]any {
	vpc := func(key string) any { return p.get("NetworkConfiguration", "AwsvpcConfiguration", key) }
	var balancers []any
	targets, _ := p.get("LoadBalancers").([]any)
	for _, of := range targets {
		balancers = append(balancers, map[string]any{"container_name": at(of, "ContainerName"), "container_port": at(of, "ContainerPort"), "target_group_arn": at(of, "TargetGroupArn")})
	}
	return map[string]any{
		"cluster": p.get("Cluster"), "task_definition": p.get("TaskDefinition"), "launch_type": p.get("LaunchType"), "platform_version": p.get("PlatformVersion"),
		"availability_zone_rebalancing": p.get("AvailabilityZoneRebalancing"), "enable_execute_command": p.get("EnableExecuteCommand"), "propagate_tags": p.get("PropagateTags"),
		"health_check_grace_period_seconds":  p.get("HealthCheckGracePeriodSeconds"),
		"deployment_minimum_healthy_percent": p.get("DeploymentConfiguration", "MinimumHealthyPercent"), "deployment_maximum_percent": p.get("DeploymentConfiguration", "MaximumPercent"),
		"deployment_circuit_breaker": []any{map[string]any{
			"enable": p.get("DeploymentConfiguration", "DeploymentCircuitBreaker", "Enable"), "rollback": p.get("DeploymentConfiguration", "DeploymentCircuitBreaker", "Rollback"),
		}},
		"network_configuration": []any{map[string]any{"assign_public_ip": vpc("AssignPublicIp") != "DISABLED", "subnets": vpc("Subnets"), "security_groups": vpc("SecurityGroups")}},
		"load_balancer":         balancers,
	}
}

// scaling is a policy of scaling.
func scaling(p *properties) map[string]any {
	of := func(path ...any) any {
		return p.get(append([]any{"TargetTrackingScalingPolicyConfiguration"}, path...)...)
	}
	p.get("ScalingTargetId")
	p.get("PolicyName")
	configuration := map[string]any{"target_value": of("TargetValue"), "scale_in_cooldown": of("ScaleInCooldown"), "scale_out_cooldown": of("ScaleOutCooldown")}
	if kind := of("PredefinedMetricSpecification", "PredefinedMetricType"); kind != nil {
		configuration["predefined_metric_specification"] = []any{map[string]any{"predefined_metric_type": kind}}
	} else {
		metric := func(path ...any) any { return of(append([]any{"CustomizedMetricSpecification"}, path...)...) }
		configuration["customized_metric_specification"] = []any{map[string]any{
			"namespace": metric("Namespace"), "metric_name": metric("MetricName"), "statistic": metric("Statistic"),
			"dimensions": []any{map[string]any{"name": metric("Dimensions", 0, "Name"), "value": metric("Dimensions", 0, "Value")}},
		}}
	}
	const target = "${aws_appautoscaling_target.proxy."
	return map[string]any{
		"policy_type": p.get("PolicyType"), "service_namespace": target + "service_namespace}", "scalable_dimension": target + "scalable_dimension}", "resource_id": target + "resource_id}",
		"target_tracking_scaling_policy_configuration": []any{configuration},
	}
}

// metricAlarm is an alarm.
func metricAlarm(p *properties) map[string]any {
	all := map[string]any{
		"alarm_description": p.get("AlarmDescription"), "comparison_operator": p.get("ComparisonOperator"), "threshold": p.get("Threshold"), "evaluation_periods": p.get("EvaluationPeriods"),
		"treat_missing_data": p.get("TreatMissingData"), "alarm_actions": p.get("AlarmActions"), "ok_actions": p.get("OKActions"),
	}
	for key, name := range map[string]string{"Namespace": "namespace", "MetricName": "metric_name", "Statistic": "statistic", "Period": "period", "DatapointsToAlarm": "datapoints_to_alarm"} {
		if value := p.get(key); value != nil {
			all[name] = value
		}
	}
	if dimensions := named(p.get("Dimensions")); len(dimensions) > 0 {
		all["dimensions"] = dimensions
	}
	queries, _ := p.get("Metrics").([]any)
	for _, q := range queries {
		asked, _ := all["metric_query"].([]any)
		all["metric_query"] = append(asked, any(metricQuery(q)))
	}
	return all
}

// metricQuery is one of the queries of an alarm: an expression, or a metric for one.
func metricQuery(q any) map[string]any {
	query := map[string]any{"id": at(q, "Id"), "return_data": at(q, "ReturnData")}
	for key, name := range map[string]string{"Label": "label", "Expression": "expression", "Period": "period"} {
		if value := at(q, key); value != nil {
			query[name] = value
		}
	}
	if stat := at(q, "MetricStat"); stat != nil {
		query["metric"] = []any{map[string]any{
			"namespace": at(stat, "Metric", "Namespace"), "metric_name": at(stat, "Metric", "MetricName"), "dimensions": named(at(stat, "Metric", "Dimensions")),
			"period": at(stat, "Period"), "stat": at(stat, "Stat"),
		}}
	}
	return query
}

// named returns dimensions by their names.
func named(dimensions any) map[string]any {
	all := map[string]any{}
	list, _ := dimensions.([]any)
	for _, d := range list {
		all[at(d, "Name").(string)] = at(d, "Value")
	}
	return all
}

func TestTerraformProxyIsTheTemplate(t *testing.T) {
	t.Parallel()
	topic := "arn:aws:sns:eu-west-1:111122223333:alarms"
	base := map[string]cty.Value{
		"name": cty.StringVal(pseudo["AWS::StackName"]), "vpc_id": cty.StringVal("vpc-0aaa"), "proxy_subnets": texts("subnet-0aaa", "subnet-0bbb"), "alarm_topic_arn": cty.StringVal(topic),
		"function_security_group_id": cty.StringVal("sg-0ccc"), "policy_bucket": cty.StringVal("policies"), "log_group": cty.StringVal("records"), "image": cty.StringVal(required["Image"]),
	}
	const key, boundary, repository = "arn:aws:kms:eu-west-1:111122223333:key/1", "arn:aws:iam::111122223333:policy/bound", "arn:aws:ecr:eu-west-1:111122223333:repository/egress"
	for what, row := range map[string]struct {
		variables map[string]cty.Value
		given     settings
	}{
		"defaults": {nil, settings{}},
		"options": {
			map[string]cty.Value{
				"proxy_subnets": texts("a", "b", "c"), "kms_key_arn": cty.StringVal(key), "permissions_boundary_arn": cty.StringVal(boundary), "image_repository_arn": cty.StringVal(repository),
				"deletion_protection": cty.False, "cpu": cty.NumberIntVal(1024), "memory": cty.NumberIntVal(2048), "maximum_tasks": cty.NumberIntVal(9), "plain_http": cty.True,
				"other_ports": texts("8443", "9000-9010"), "resolver_cidr": cty.StringVal("9.9.9.9/32"), "scraper_security_group_id": cty.StringVal("sg-0eee"), "architecture": cty.StringVal("X86_64"),
				"deregistration_delay": cty.NumberIntVal(900), "refusals_per_five_minutes": cty.NumberIntVal(7), "refusals_of_function": cty.NumberIntVal(2), "report_mode_days": cty.NumberIntVal(3), "function_metrics": cty.False,
				"tunnels_per_task": cty.NumberIntVal(500), "tls": cty.True, "proxy_domain": cty.StringVal("proxy.example.com"),
			},
			settings{
				"ProxySubnets": "a,b,c", "Zones": "3", "KmsKeyArn": key, "PermissionsBoundaryArn": boundary, "ImageRepositoryArn": repository, "DeletionProtection": "no", "Size": "large", "MaximumTasks": "9",
				"PlainHttp": "yes", "OtherPorts": "8443,9000-9010", "ResolverCidr": "9.9.9.9/32", "ScraperSecurityGroupId": "sg-0eee", "Architecture": "X86_64", "DeregistrationDelay": "900",
				"FunctionMetrics": "false", "TunnelsPerTask": "500", "Tls": "yes", "ProxyDomain": "proxy.example.com",
			},
		},
		"TLS alone":    {map[string]cty.Value{"tls": cty.True}, settings{"Tls": "yes"}},
		"a name alone": {map[string]cty.Value{"proxy_domain": cty.StringVal("proxy.example.com")}, settings{"ProxyDomain": "proxy.example.com"}},
		"one zone, four tasks": {
			map[string]cty.Value{"proxy_subnets": texts("a"), "minimum_tasks": cty.NumberIntVal(4)},
			settings{"ProxySubnets": "a", "Zones": "1", "MinimumTasks": "4"},
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			variables := maps.Clone(base)
			maps.Copy(variables, row.variables)
			sameAsTemplate(t, applied(t, "terraform/proxy", variables), deployed(t, "proxy.yaml", row.given), proxyRows(), ruleOrOf(watching))
		})
	}
}

func TestTerraformProxyWatchesAsTheTemplateDoes(t *testing.T) {
	t.Parallel()
	const topic = "arn:aws:sns:eu-west-1:111122223333:alarms"
	base := map[string]cty.Value{
		"name": cty.StringVal(pseudo["AWS::StackName"]), "vpc_id": cty.StringVal("vpc-0aaa"), "proxy_subnets": texts("a", "b", "c"), "alarm_topic_arn": cty.StringVal(topic),
		"function_security_group_id": cty.StringVal("sg-0ccc"), "policy_bucket": cty.StringVal("policies"), "log_group": cty.StringVal("records"), "image": cty.StringVal(required["Image"]),
	}
	const proxy = ".proxy."
	of := settings{
		"AlarmTopicArn": topic, "LeastTasks": "3", "Cluster": "${aws_ecs_cluster" + proxy + "name}", "Service": "${aws_ecs_service" + proxy + "name}",
		"TargetGroup": "${aws_lb_target_group" + proxy + "arn_suffix}", "LoadBalancer": "${aws_lb" + proxy + "arn_suffix}",
	}
	for what, row := range map[string]struct {
		variables map[string]cty.Value
		given     settings
	}{
		"defaults": {nil, nil},
		"options": {
			map[string]cty.Value{
				"maximum_tasks": cty.NumberIntVal(9), "minimum_tasks": cty.NumberIntVal(4), "refusals_per_five_minutes": cty.NumberIntVal(7), "refusals_of_function": cty.NumberIntVal(2),
				"report_mode_days": cty.NumberIntVal(3), "function_metrics": cty.False,
			},
			settings{"MaximumTasks": "9", "LeastTasks": "4", "RefusalsPerFiveMinutes": "7", "RefusalsOfFunction": "2", "ReportModeDays": "3", "FunctionMetrics": "false"},
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			variables, given := maps.Clone(base), maps.Clone(of)
			maps.Copy(variables, row.variables)
			maps.Copy(given, row.given)
			m := applied(t, "terraform/proxy", variables)
			maps.DeleteFunc(m.Resources, func(address string, _ map[string]any) bool { return !strings.HasPrefix(address, watching) })
			sameAsTemplate(t, m, deployed(t, "watch.yaml", given), watchRows(t), ruleOrOf())
		})
	}
}
