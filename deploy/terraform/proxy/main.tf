# The egress proxy: ../../ecs/proxy.yaml. What the two share, the container, the statements of
# the roles, the target group and the alarms, is written by a test into shared.json.tftpl and
# watch.json.tftpl, out of the template, which is the one source of truth.

data "aws_caller_identity" "this" {}
data "aws_partition" "this" {}
data "aws_region" "this" {}

locals {
  shared = jsondecode(templatefile("${path.module}/shared.json.tftpl", {
    name                 = var.name
    account              = data.aws_caller_identity.this.account_id
    partition            = data.aws_partition.this.partition
    dns_suffix           = data.aws_partition.this.dns_suffix
    region               = data.aws_region.this.region
    image                = var.image
    image_repository_arn = var.image_repository_arn
    policy_bucket        = var.policy_bucket
    policy_key           = var.policy_key
    log_group            = var.log_group
    kms_key_arn          = var.kms_key_arn
    deregistration_delay = var.deregistration_delay
    function_metrics     = var.function_metrics
  }))
  # A file of its own: alarms and dashboard name what is made of the other one. Which alarms there
  # are must be known before anything is made, so what is not known by then has a name in it.
  made = {
    "{records}"  = var.log_group
    "{targets}"  = aws_lb_target_group.proxy.arn_suffix
    "{balancer}" = aws_lb.proxy.arn_suffix
  }
  watch = jsondecode(templatefile("${path.module}/watch.json.tftpl", {
    name                      = var.name
    log_group                 = "{records}"
    refusals_per_five_minutes = var.refusals_per_five_minutes
    refusals_of_function      = var.refusals_of_function
    report_mode_days          = var.report_mode_days
    least_tasks               = local.least
    maximum_tasks             = var.maximum_tasks
    cluster                   = aws_ecs_cluster.proxy.name
    service                   = aws_ecs_service.proxy.name
    targets_full_name         = "{targets}"
    balancer_full_name        = "{balancer}"
    account                   = data.aws_caller_identity.this.account_id
    partition                 = data.aws_partition.this.partition
    region                    = data.aws_region.this.region
  }))
  port     = local.shared.targets.Port
  tls_port = local.shared.tls_targets.Port
  boundary = var.permissions_boundary_arn == "" ? null : var.permissions_boundary_arn

  least = var.minimum_tasks != 0 ? var.minimum_tasks : max(2, length(var.proxy_subnets))

  # Statements that are there where something is given.
  optional = {
    Login   = var.image_repository_arn != ""
    Image   = var.image_repository_arn != ""
    Decrypt = var.kms_key_arn != ""
  }
  reach = merge(
    { "443" = { protocol = "tcp", from = 443, to = 443, cidr = "0.0.0.0/0" } },
    var.plain_http ? { "80" = { protocol = "tcp", from = 80, to = 80, cidr = "0.0.0.0/0" } } : {},
    { for p in var.other_ports : p => { protocol = "tcp", from = tonumber(split("-", "${p}-${p}")[0]), to = tonumber(split("-", "${p}-${p}")[1]), cidr = "0.0.0.0/0" } },
    var.resolver_cidr == "" ? {} : {
      "53-udp" = { protocol = "udp", from = 53, to = 53, cidr = var.resolver_cidr }
      "53-tcp" = { protocol = "tcp", from = 53, to = 53, cidr = var.resolver_cidr }
    },
  )
}

# Who may talk to whom: functions to the load balancer, the load balancer to the tasks, the
# tasks to the world on the ports that the policy needs.
resource "aws_security_group" "balancer" {
  name_prefix = "${var.name}-balancer-"
  description = "Load balancer of the egress proxy"
  vpc_id      = var.vpc_id
}

resource "aws_security_group" "task" {
  name_prefix = "${var.name}-task-"
  description = "Tasks of the egress proxy"
  vpc_id      = var.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "balancer_from_functions" {
  security_group_id            = aws_security_group.balancer.id
  ip_protocol                  = "tcp"
  from_port                    = local.port
  to_port                      = local.port
  referenced_security_group_id = var.function_security_group_id
}

resource "aws_vpc_security_group_ingress_rule" "balancer_from_functions_tls" {
  count                        = var.tls ? 1 : 0
  security_group_id            = aws_security_group.balancer.id
  ip_protocol                  = "tcp"
  from_port                    = local.tls_port
  to_port                      = local.tls_port
  referenced_security_group_id = var.function_security_group_id
}

resource "aws_vpc_security_group_egress_rule" "balancer_to_task" {
  security_group_id            = aws_security_group.balancer.id
  ip_protocol                  = "tcp"
  from_port                    = local.port
  to_port                      = local.port
  referenced_security_group_id = aws_security_group.task.id
}

resource "aws_vpc_security_group_egress_rule" "balancer_to_task_tls" {
  count                        = var.tls ? 1 : 0
  security_group_id            = aws_security_group.balancer.id
  ip_protocol                  = "tcp"
  from_port                    = local.tls_port
  to_port                      = local.tls_port
  referenced_security_group_id = aws_security_group.task.id
}

resource "aws_vpc_security_group_ingress_rule" "task_from_balancer" {
  security_group_id            = aws_security_group.task.id
  ip_protocol                  = "tcp"
  from_port                    = local.port
  to_port                      = local.port
  referenced_security_group_id = aws_security_group.balancer.id
}

resource "aws_vpc_security_group_ingress_rule" "task_from_balancer_tls" {
  count                        = var.tls ? 1 : 0
  security_group_id            = aws_security_group.task.id
  ip_protocol                  = "tcp"
  from_port                    = local.tls_port
  to_port                      = local.tls_port
  referenced_security_group_id = aws_security_group.balancer.id
}

resource "aws_vpc_security_group_ingress_rule" "task_from_scraper" {
  count                        = var.scraper_security_group_id == "" ? 0 : 1
  security_group_id            = aws_security_group.task.id
  ip_protocol                  = "tcp"
  from_port                    = 9090
  to_port                      = 9090
  referenced_security_group_id = var.scraper_security_group_id
}

resource "aws_vpc_security_group_egress_rule" "task_to_world" {
  for_each          = local.reach
  security_group_id = aws_security_group.task.id
  ip_protocol       = each.value.protocol
  from_port         = each.value.from
  to_port           = each.value.to
  cidr_ipv4         = each.value.cidr
}

resource "aws_vpc_security_group_egress_rule" "functions_to_balancer" {
  security_group_id            = var.function_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = local.port
  to_port                      = local.port
  referenced_security_group_id = aws_security_group.balancer.id
}

resource "aws_vpc_security_group_egress_rule" "functions_to_balancer_tls" {
  count                        = var.tls ? 1 : 0
  security_group_id            = var.function_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = local.tls_port
  to_port                      = local.tls_port
  referenced_security_group_id = aws_security_group.balancer.id
}

resource "aws_lb" "proxy" {
  name_prefix                = "egress"
  load_balancer_type         = "network"
  internal                   = true
  subnets                    = var.proxy_subnets
  security_groups            = [aws_security_group.balancer.id]
  enable_deletion_protection = var.deletion_protection
}

resource "aws_lb_target_group" "proxy" {
  name_prefix            = "egress"
  vpc_id                 = var.vpc_id
  target_type            = local.shared.targets.TargetType
  protocol               = local.shared.targets.Protocol
  port                   = local.shared.targets.Port
  proxy_protocol_v2      = local.shared.attributes["proxy_protocol_v2.enabled"]
  preserve_client_ip     = local.shared.attributes["preserve_client_ip.enabled"]
  deregistration_delay   = local.shared.attributes["deregistration_delay.timeout_seconds"]
  connection_termination = local.shared.attributes["deregistration_delay.connection_termination.enabled"]

  load_balancing_cross_zone_enabled = local.shared.attributes["load_balancing.cross_zone.enabled"]

  target_health_state {
    enable_unhealthy_connection_termination = local.shared.attributes["target_health_state.unhealthy.connection_termination.enabled"]
  }

  health_check {
    protocol            = local.shared.targets.HealthCheckProtocol
    port                = local.shared.targets.HealthCheckPort
    interval            = local.shared.targets.HealthCheckIntervalSeconds
    healthy_threshold   = local.shared.targets.HealthyThresholdCount
    unhealthy_threshold = local.shared.targets.UnhealthyThresholdCount
  }
}

resource "aws_lb_listener" "proxy" {
  load_balancer_arn        = aws_lb.proxy.arn
  protocol                 = local.shared.listener.Protocol
  port                     = local.shared.listener.Port
  tcp_idle_timeout_seconds = local.shared.listener.ListenerAttributes[0].Value

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.proxy.arn
  }
}

# The load balancer passes TLS through: the proxy ends it, and so sees client certificates.
resource "aws_lb_target_group" "tls" {
  count                  = var.tls ? 1 : 0
  name_prefix            = "egress"
  vpc_id                 = var.vpc_id
  target_type            = local.shared.tls_targets.TargetType
  protocol               = local.shared.tls_targets.Protocol
  port                   = local.shared.tls_targets.Port
  proxy_protocol_v2      = local.shared.tls_attributes["proxy_protocol_v2.enabled"]
  preserve_client_ip     = local.shared.tls_attributes["preserve_client_ip.enabled"]
  deregistration_delay   = local.shared.tls_attributes["deregistration_delay.timeout_seconds"]
  connection_termination = local.shared.tls_attributes["deregistration_delay.connection_termination.enabled"]

  load_balancing_cross_zone_enabled = local.shared.tls_attributes["load_balancing.cross_zone.enabled"]

  target_health_state {
    enable_unhealthy_connection_termination = local.shared.tls_attributes["target_health_state.unhealthy.connection_termination.enabled"]
  }

  health_check {
    protocol            = local.shared.tls_targets.HealthCheckProtocol
    port                = local.shared.tls_targets.HealthCheckPort
    interval            = local.shared.tls_targets.HealthCheckIntervalSeconds
    healthy_threshold   = local.shared.tls_targets.HealthyThresholdCount
    unhealthy_threshold = local.shared.tls_targets.UnhealthyThresholdCount
  }
}

resource "aws_lb_listener" "tls" {
  count                    = var.tls ? 1 : 0
  load_balancer_arn        = aws_lb.proxy.arn
  protocol                 = local.shared.tls_listener.Protocol
  port                     = local.shared.tls_listener.Port
  tcp_idle_timeout_seconds = local.shared.tls_listener.ListenerAttributes[0].Value

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.tls[0].arn
  }
}

# Functions then know the proxy by the name that its certificate has.
resource "aws_route53_zone" "proxy" {
  count = var.proxy_domain == "" ? 0 : 1
  name  = var.proxy_domain

  vpc {
    vpc_id     = var.vpc_id
    vpc_region = data.aws_region.this.region
  }
}

resource "aws_route53_record" "proxy" {
  count   = var.proxy_domain == "" ? 0 : 1
  zone_id = aws_route53_zone.proxy[0].zone_id
  name    = var.proxy_domain
  type    = "A"

  alias {
    name                   = aws_lb.proxy.dns_name
    zone_id                = aws_lb.proxy.zone_id
    evaluate_target_health = false
  }
}

resource "aws_iam_role" "execution" {
  assume_role_policy   = jsonencode(local.shared.assume)
  permissions_boundary = local.boundary
}

resource "aws_iam_role_policy" "execution" {
  name = "start-tasks"
  role = aws_iam_role.execution.id
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [for s in local.shared.execution : s if lookup(local.optional, s.Sid, true)]
  })
}

resource "aws_iam_role" "task" {
  assume_role_policy   = jsonencode(local.shared.assume)
  permissions_boundary = local.boundary
}

resource "aws_iam_role_policy" "task" {
  name = "read-policy"
  role = aws_iam_role.task.id
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [for s in local.shared.task : s if lookup(local.optional, s.Sid, true)]
  })
}

resource "aws_ecs_cluster" "proxy" {
  name = var.name
}

resource "aws_ecs_cluster_capacity_providers" "proxy" {
  cluster_name       = aws_ecs_cluster.proxy.name
  capacity_providers = ["FARGATE"]
}

resource "aws_ecs_task_definition" "proxy" {
  family                   = var.name
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = var.cpu
  memory                   = var.memory
  execution_role_arn       = aws_iam_role.execution.arn
  task_role_arn            = aws_iam_role.task.arn
  container_definitions = jsonencode([merge(local.shared.container, {
    portMappings = [for m in local.shared.container.portMappings : m if var.tls || m.containerPort != local.tls_port]
  })])

  runtime_platform {
    cpu_architecture        = var.architecture
    operating_system_family = "LINUX"
  }
}

resource "aws_ecs_service" "proxy" {
  name                               = var.name
  cluster                            = aws_ecs_cluster.proxy.id
  task_definition                    = aws_ecs_task_definition.proxy.arn
  launch_type                        = local.shared.service.LaunchType
  platform_version                   = local.shared.service.PlatformVersion
  availability_zone_rebalancing      = local.shared.service.AvailabilityZoneRebalancing
  enable_execute_command             = local.shared.service.EnableExecuteCommand
  propagate_tags                     = local.shared.service.PropagateTags
  health_check_grace_period_seconds  = local.shared.service.HealthCheckGracePeriodSeconds
  deployment_minimum_healthy_percent = local.shared.service.DeploymentConfiguration.MinimumHealthyPercent
  deployment_maximum_percent         = local.shared.service.DeploymentConfiguration.MaximumPercent
  desired_count                      = local.least

  deployment_circuit_breaker {
    enable   = local.shared.service.DeploymentConfiguration.DeploymentCircuitBreaker.Enable
    rollback = local.shared.service.DeploymentConfiguration.DeploymentCircuitBreaker.Rollback
  }

  network_configuration {
    assign_public_ip = false
    subnets          = var.proxy_subnets
    security_groups  = [aws_security_group.task.id]
  }

  load_balancer {
    container_name   = "proxy"
    container_port   = local.port
    target_group_arn = aws_lb_target_group.proxy.arn
  }

  dynamic "load_balancer" {
    for_each = aws_lb_target_group.tls[*].arn
    content {
      container_name   = "proxy"
      container_port   = local.tls_port
      target_group_arn = load_balancer.value
    }
  }

  depends_on = [aws_lb_listener.proxy, aws_lb_listener.tls, aws_iam_role_policy.execution, aws_iam_role_policy.task]

  # Scaling sets it: an apply must not scale in a service that is busy.
  lifecycle {
    ignore_changes = [desired_count]
  }
}

resource "aws_appautoscaling_target" "proxy" {
  service_namespace  = "ecs"
  scalable_dimension = "ecs:service:DesiredCount"
  resource_id        = "service/${aws_ecs_cluster.proxy.name}/${aws_ecs_service.proxy.name}"
  min_capacity       = local.least
  max_capacity       = var.maximum_tasks
}

resource "aws_appautoscaling_policy" "cpu" {
  name               = "${var.name}-cpu"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.proxy.service_namespace
  scalable_dimension = aws_appautoscaling_target.proxy.scalable_dimension
  resource_id        = aws_appautoscaling_target.proxy.resource_id

  target_tracking_scaling_policy_configuration {
    target_value       = local.shared.scale_on_cpu.TargetValue
    scale_in_cooldown  = local.shared.scale_on_cpu.ScaleInCooldown
    scale_out_cooldown = local.shared.scale_on_cpu.ScaleOutCooldown
    predefined_metric_specification {
      predefined_metric_type = local.shared.scale_on_cpu.PredefinedMetricSpecification.PredefinedMetricType
    }
  }
}

resource "aws_appautoscaling_policy" "tunnels" {
  name               = "${var.name}-tunnels"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.proxy.service_namespace
  scalable_dimension = aws_appautoscaling_target.proxy.scalable_dimension
  resource_id        = aws_appautoscaling_target.proxy.resource_id

  target_tracking_scaling_policy_configuration {
    target_value       = var.tunnels_per_task
    scale_in_cooldown  = local.shared.scale_on_tunnels.ScaleInCooldown
    scale_out_cooldown = local.shared.scale_on_tunnels.ScaleOutCooldown
    customized_metric_specification {
      namespace   = local.shared.scale_on_tunnels.CustomizedMetricSpecification.Namespace
      metric_name = local.shared.scale_on_tunnels.CustomizedMetricSpecification.MetricName
      statistic   = local.shared.scale_on_tunnels.CustomizedMetricSpecification.Statistic
      dynamic "dimensions" {
        for_each = local.shared.scale_on_tunnels.CustomizedMetricSpecification.Dimensions
        content {
          name  = dimensions.value.Name
          value = dimensions.value.Value
        }
      }
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "proxy" {
  for_each            = { for name, alarm in local.watch : name => alarm if name != "Dashboard" && (name != "FunctionRefusalsAlarm" || var.function_metrics) }
  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.AlarmDescription
  comparison_operator = each.value.ComparisonOperator
  threshold           = each.value.Threshold
  evaluation_periods  = each.value.EvaluationPeriods
  datapoints_to_alarm = try(each.value.DatapointsToAlarm, null)
  treat_missing_data  = each.value.TreatMissingData
  namespace           = try(each.value.Namespace, null)
  metric_name         = try(each.value.MetricName, null)
  statistic           = try(each.value.Statistic, null)
  period              = try(each.value.Period, null)
  dimensions          = try({ for d in each.value.Dimensions : d.Name => lookup(local.made, d.Value, d.Value) }, null)
  alarm_actions       = var.alarm_topic_arn == "" ? [] : [var.alarm_topic_arn]
  ok_actions          = var.alarm_topic_arn == "" ? [] : [var.alarm_topic_arn]

  dynamic "metric_query" {
    for_each = try(each.value.Metrics, [])
    content {
      id          = metric_query.value.Id
      label       = try(metric_query.value.Label, null)
      expression  = try(metric_query.value.Expression, null)
      period      = try(metric_query.value.Period, null)
      return_data = metric_query.value.ReturnData

      dynamic "metric" {
        for_each = try([metric_query.value.MetricStat], [])
        content {
          namespace   = metric.value.Metric.Namespace
          metric_name = metric.value.Metric.MetricName
          dimensions  = { for d in metric.value.Metric.Dimensions : d.Name => d.Value }
          period      = metric.value.Period
          stat        = metric.value.Stat
        }
      }
    }
  }
}

resource "aws_cloudwatch_dashboard" "proxy" {
  dashboard_name = var.name
  dashboard_body = replace(replace(replace(jsonencode(local.watch.Dashboard),
    "{records}", local.made["{records}"]), "{targets}", local.made["{targets}"]), "{balancer}", local.made["{balancer}"]
  )
}

output "proxy_host" {
  description = "The name of the proxy; proxy_host of the function."
  value       = var.proxy_domain == "" ? aws_lb.proxy.dns_name : var.proxy_domain
}

output "task_security_group_id" {
  value = aws_security_group.task.id
}

output "cluster" {
  value = aws_ecs_cluster.proxy.name
}

output "service" {
  value = aws_ecs_service.proxy.name
}
