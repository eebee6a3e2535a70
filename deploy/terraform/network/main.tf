# A VPC for functions without a way out: ../../ecs/network.yaml. The statements of the
# endpoints' policies are written by a test into shared.json.tftpl, out of the template.

variable "name" {
  type        = string
  description = "Tag Name of what is made."
}

variable "vpc_cidr" {
  type        = string
  default     = "10.64.0.0/16"
  description = "From /16 to /24; each subnet has a sixteenth."
  validation {
    condition     = tonumber(split("/", var.vpc_cidr)[1]) >= 16 && tonumber(split("/", var.vpc_cidr)[1]) <= 24
    error_message = "A VPC of /16 to /24: a subnet has a sixteenth, and AWS makes none that is smaller than /28."
  }
}

variable "availability_zones" {
  type        = list(string)
  description = "One to three names of zones."
  validation {
    condition     = length(var.availability_zones) >= 1 && length(var.availability_zones) <= 3
    error_message = "One to three zones."
  }
}

variable "nat_gateways" {
  type        = string
  default     = "zone"
  description = "zone: one NAT gateway in every zone. one: a single one. none: you add a way out to proxy_route_table_ids."
}

variable "interface_endpoints" {
  type        = set(string)
  default     = []
  description = "Services that functions reach without the proxy, such as sts, secretsmanager, ssm, logs, kms."
}

variable "token_audience" {
  type        = string
  default     = ""
  description = "aws.audience of the policy, with sts among interface_endpoints: tokens that say who a function is (sts:GetWebIdentityToken) are given through the endpoint for this audience alone. Empty, for any."
}

variable "organization_id" {
  type        = string
  default     = ""
  description = "Whose principals and resources the endpoints serve. Empty, this account's."
}

variable "partner_buckets" {
  type        = list(string)
  default     = []
  description = "ARNs of objects of others, such as arn:aws:s3:::partner/*, that the policy lets functions reach through the proxy."
}

variable "data_port" {
  type        = number
  default     = null
  description = "The port at which functions may reach what wears data_security_group_id, past the proxy. Null, none."
}

variable "flow_log_traffic" {
  type    = string
  default = "ALL"
}

variable "flow_log_retention_days" {
  type    = number
  default = 400
}

variable "kms_key_arn" {
  type    = string
  default = ""
}

variable "permissions_boundary_arn" {
  type    = string
  default = ""
}

data "aws_caller_identity" "this" {}
data "aws_partition" "this" {}
data "aws_region" "this" {}

locals {
  zones = { for i, z in var.availability_zones : tostring(i + 1) => { index = i, name = z } }
  nats  = var.nat_gateways == "none" ? {} : var.nat_gateways == "one" ? { "1" = local.zones["1"] } : local.zones
  # The condition of account, or of organization, that every endpoint has.
  shared = jsondecode(templatefile("${path.module}/shared.json.tftpl", {
    account         = data.aws_caller_identity.this.account_id
    partition       = data.aws_partition.this.partition
    region          = data.aws_region.this.region
    organization_id = var.organization_id
    token_audience  = var.token_audience
    flow_log_group  = aws_cloudwatch_log_group.flows.arn
  }))
  ours = var.organization_id == "" ? local.shared.account : local.shared.organization
  # What the endpoint of STS says of tokens, where there is an audience.
  tokens = var.organization_id == "" ? local.shared.tokens_account : local.shared.tokens_organization

  # Network ACLs, as network.yaml explains them: who is let through, by kind of subnet.
  acls = merge(
    {
      functions_from_vpc = { acl = "functions", number = 100, egress = false, cidr = var.vpc_cidr }
      functions_to_vpc   = { acl = "functions", number = 100, egress = true, cidr = var.vpc_cidr }
      proxy_from_vpc     = { acl = "proxy", number = 100, egress = false, cidr = var.vpc_cidr }
      public_nobody_else = { acl = "public", number = 200, egress = false, cidr = var.vpc_cidr, action = "deny" }
    },
    concat(
      [for z, zone in local.zones : {
        "data_from_functions_${z}" = { acl = "data", number = 101 + zone.index, egress = false, cidr = cidrsubnet(var.vpc_cidr, 4, zone.index + 6) }
        "data_to_functions_${z}"   = { acl = "data", number = 101 + zone.index, egress = true, cidr = cidrsubnet(var.vpc_cidr, 4, zone.index + 6) }
        "data_from_data_${z}"      = { acl = "data", number = 111 + zone.index, egress = false, cidr = cidrsubnet(var.vpc_cidr, 4, zone.index + 9) }
        "data_to_data_${z}"        = { acl = "data", number = 111 + zone.index, egress = true, cidr = cidrsubnet(var.vpc_cidr, 4, zone.index + 9) }
        "public_from_proxy_${z}"   = { acl = "public", number = 101 + zone.index, egress = false, cidr = cidrsubnet(var.vpc_cidr, 4, zone.index + 3) }
      }],
      [for acl in ["proxy", "public"] : {
        "${acl}_answers_tcp" = { acl = acl, number = 300, egress = false, cidr = "0.0.0.0/0", protocol = "6", from = 1024, to = 65535 }
        "${acl}_answers_udp" = { acl = acl, number = 310, egress = false, cidr = "0.0.0.0/0", protocol = "17", from = 1024, to = 65535 }
        "${acl}_unreachable" = { acl = acl, number = 320, egress = false, cidr = "0.0.0.0/0", protocol = "1", type = 3, code = -1 }
        "${acl}_out"         = { acl = acl, number = 100, egress = true, cidr = "0.0.0.0/0" }
      }],
    )...
  )
}

resource "aws_vpc" "this" {
  cidr_block           = var.vpc_cidr
  enable_dns_support   = true
  enable_dns_hostnames = true
  tags                 = { Name = var.name }

  lifecycle {
    precondition {
      condition     = var.token_audience == "" || contains(var.interface_endpoints, "sts")
      error_message = "token_audience binds the endpoint of STS, which sts among interface_endpoints makes."
    }
  }
}

# A default security group that lets nothing through, which CloudFormation cannot say.
resource "aws_default_security_group" "this" {
  vpc_id = aws_vpc.this.id
}

resource "aws_internet_gateway" "this" {
  vpc_id = aws_vpc.this.id
}

resource "aws_subnet" "public" {
  for_each                = local.zones
  vpc_id                  = aws_vpc.this.id
  availability_zone       = each.value.name
  cidr_block              = cidrsubnet(var.vpc_cidr, 4, each.value.index)
  map_public_ip_on_launch = false
  tags                    = { Name = "${var.name}-public-${each.key}" }
}

resource "aws_subnet" "proxy" {
  for_each                = local.zones
  vpc_id                  = aws_vpc.this.id
  availability_zone       = each.value.name
  cidr_block              = cidrsubnet(var.vpc_cidr, 4, each.value.index + 3)
  map_public_ip_on_launch = false
  tags                    = { Name = "${var.name}-proxy-${each.key}" }
}

resource "aws_subnet" "functions" {
  for_each                = local.zones
  vpc_id                  = aws_vpc.this.id
  availability_zone       = each.value.name
  cidr_block              = cidrsubnet(var.vpc_cidr, 4, each.value.index + 6)
  map_public_ip_on_launch = false
  tags                    = { Name = "${var.name}-functions-${each.key}" }
}

resource "aws_subnet" "data" {
  for_each                = local.zones
  vpc_id                  = aws_vpc.this.id
  availability_zone       = each.value.name
  cidr_block              = cidrsubnet(var.vpc_cidr, 4, each.value.index + 9)
  map_public_ip_on_launch = false
  tags                    = { Name = "${var.name}-data-${each.key}" }
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.this.id
  tags   = { Name = "${var.name}-public" }
}

resource "aws_route" "public" {
  route_table_id         = aws_route_table.public.id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.this.id
}

resource "aws_route_table_association" "public" {
  for_each       = local.zones
  subnet_id      = aws_subnet.public[each.key].id
  route_table_id = aws_route_table.public.id
}

# The isolated subnets. This table has the VPC's own route and those of the gateway
# endpoints. A default route here would make the proxy advice.
resource "aws_route_table" "functions" {
  vpc_id = aws_vpc.this.id
  tags   = { Name = "${var.name}-functions" }
}

resource "aws_route_table_association" "functions" {
  for_each       = local.zones
  subnet_id      = aws_subnet.functions[each.key].id
  route_table_id = aws_route_table.functions.id
}

# What stands in these has no way out at all, gateway endpoints included.
resource "aws_route_table" "data" {
  vpc_id = aws_vpc.this.id
  tags   = { Name = "${var.name}-data" }
}

resource "aws_route_table_association" "data" {
  for_each       = local.zones
  subnet_id      = aws_subnet.data[each.key].id
  route_table_id = aws_route_table.data.id
}

resource "aws_network_acl" "this" {
  for_each = toset(["public", "proxy", "functions", "data"])
  vpc_id   = aws_vpc.this.id
  tags     = { Name = "${var.name}-${each.key}" }
}

resource "aws_network_acl_rule" "this" {
  for_each       = local.acls
  network_acl_id = aws_network_acl.this[each.value.acl].id
  rule_number    = each.value.number
  egress         = each.value.egress
  protocol       = try(each.value.protocol, "-1")
  rule_action    = try(each.value.action, "allow")
  cidr_block     = each.value.cidr
  from_port      = try(each.value.from, null)
  to_port        = try(each.value.to, null)
  icmp_type      = try(each.value.type, null)
  icmp_code      = try(each.value.code, null)
}

resource "aws_network_acl_association" "public" {
  for_each       = local.zones
  subnet_id      = aws_subnet.public[each.key].id
  network_acl_id = aws_network_acl.this["public"].id
}

resource "aws_network_acl_association" "proxy" {
  for_each       = local.zones
  subnet_id      = aws_subnet.proxy[each.key].id
  network_acl_id = aws_network_acl.this["proxy"].id
}

resource "aws_network_acl_association" "functions" {
  for_each       = local.zones
  subnet_id      = aws_subnet.functions[each.key].id
  network_acl_id = aws_network_acl.this["functions"].id
}

resource "aws_network_acl_association" "data" {
  for_each       = local.zones
  subnet_id      = aws_subnet.data[each.key].id
  network_acl_id = aws_network_acl.this["data"].id
}

resource "aws_eip" "nat" {
  for_each   = local.nats
  domain     = "vpc"
  depends_on = [aws_internet_gateway.this]
}

resource "aws_nat_gateway" "this" {
  for_each      = local.nats
  subnet_id     = aws_subnet.public[each.key].id
  allocation_id = aws_eip.nat[each.key].id
  tags          = { Name = "${var.name}-${each.key}" }
}

resource "aws_route_table" "proxy" {
  for_each = local.zones
  vpc_id   = aws_vpc.this.id
  tags     = { Name = "${var.name}-proxy-${each.key}" }
}

resource "aws_route" "proxy" {
  for_each               = var.nat_gateways == "none" ? {} : local.zones
  route_table_id         = aws_route_table.proxy[each.key].id
  destination_cidr_block = "0.0.0.0/0"
  nat_gateway_id         = aws_nat_gateway.this[var.nat_gateways == "one" ? "1" : each.key].id
}

resource "aws_route_table_association" "proxy" {
  for_each       = local.zones
  subnet_id      = aws_subnet.proxy[each.key].id
  route_table_id = aws_route_table.proxy[each.key].id
}

resource "aws_security_group" "functions" {
  name_prefix = "${var.name}-functions-"
  description = "Functions that reach the egress proxy and the VPC endpoints alone"
  vpc_id      = aws_vpc.this.id
}

resource "aws_security_group" "endpoints" {
  name_prefix = "${var.name}-endpoints-"
  description = "VPC endpoints"
  vpc_id      = aws_vpc.this.id
}

resource "aws_security_group" "data" {
  name_prefix = "${var.name}-data-"
  description = "Data of the functions"
  vpc_id      = aws_vpc.this.id
}

resource "aws_vpc_security_group_egress_rule" "functions_to_data" {
  for_each                     = var.data_port == null ? {} : { data = var.data_port }
  security_group_id            = aws_security_group.functions.id
  ip_protocol                  = "tcp"
  from_port                    = each.value
  to_port                      = each.value
  referenced_security_group_id = aws_security_group.data.id
}

resource "aws_vpc_security_group_ingress_rule" "data_from_functions" {
  for_each                     = var.data_port == null ? {} : { data = var.data_port }
  security_group_id            = aws_security_group.data.id
  ip_protocol                  = "tcp"
  from_port                    = each.value
  to_port                      = each.value
  referenced_security_group_id = aws_security_group.functions.id
}

resource "aws_vpc_security_group_egress_rule" "functions_to_endpoints" {
  security_group_id            = aws_security_group.functions.id
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
  referenced_security_group_id = aws_security_group.endpoints.id
}

# The proxy's tasks find the names of these services here too: ../main.tf adds them.
resource "aws_vpc_security_group_ingress_rule" "endpoints_from_functions" {
  security_group_id            = aws_security_group.endpoints.id
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
  referenced_security_group_id = aws_security_group.functions.id
}

# The proxy reads its policy here, and what functions send to S3 through it takes this way.
resource "aws_vpc_endpoint" "proxy_s3" {
  vpc_id            = aws_vpc.this.id
  vpc_endpoint_type = "Gateway"
  service_name      = "com.amazonaws.${data.aws_region.this.region}.s3"
  route_table_ids   = [for z in keys(local.zones) : aws_route_table.proxy[z].id]
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [merge(local.ours, { Action = "s3:*" }), local.shared.layers],
      length(var.partner_buckets) == 0 ? [] : [merge(local.shared.partners, { Resource = var.partner_buckets })],
    )
  })
}

resource "aws_vpc_endpoint" "gateway" {
  for_each          = toset(["s3", "dynamodb"])
  vpc_id            = aws_vpc.this.id
  vpc_endpoint_type = "Gateway"
  service_name      = "com.amazonaws.${data.aws_region.this.region}.${each.key}"
  route_table_ids   = [aws_route_table.functions.id]
  policy            = jsonencode({ Version = "2012-10-17", Statement = [merge(local.ours, { Action = "${each.key}:*" })] })
}

resource "aws_vpc_endpoint" "interface" {
  for_each            = var.interface_endpoints
  vpc_id              = aws_vpc.this.id
  vpc_endpoint_type   = "Interface"
  service_name        = "com.amazonaws.${data.aws_region.this.region}.${each.key}"
  private_dns_enabled = true
  subnet_ids          = [for z in keys(local.zones) : aws_subnet.functions[z].id]
  security_group_ids  = [aws_security_group.endpoints.id]
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [merge(local.ours, { Action = "${each.key}:*" })],
      each.key != "ssm" ? [] : var.organization_id == "" ? [local.shared.parameters_account] : [local.shared.parameters_organization],
      [for s in local.tokens : s if each.key == "sts" && var.token_audience != ""],
    )
  })
}

resource "aws_cloudwatch_log_group" "flows" {
  name_prefix       = "${var.name}-flows-"
  retention_in_days = var.flow_log_retention_days
  kms_key_id        = var.kms_key_arn == "" ? null : var.kms_key_arn
  skip_destroy      = true
}

resource "aws_iam_role" "flows" {
  assume_role_policy   = jsonencode(local.shared.flow_assume)
  permissions_boundary = var.permissions_boundary_arn == "" ? null : var.permissions_boundary_arn
}

resource "aws_iam_role_policy" "flows" {
  name   = "write-flow-logs"
  role   = aws_iam_role.flows.id
  policy = jsonencode({ Version = "2012-10-17", Statement = local.shared.flow_statements })
}

resource "aws_flow_log" "this" {
  vpc_id               = aws_vpc.this.id
  traffic_type         = var.flow_log_traffic
  log_destination_type = "cloud-watch-logs"
  log_destination      = aws_cloudwatch_log_group.flows.arn
  iam_role_arn         = aws_iam_role.flows.arn
}

output "vpc_id" {
  value = aws_vpc.this.id
}

output "proxy_subnets" {
  value = [for z in keys(local.zones) : aws_subnet.proxy[z].id]
}

output "proxy_subnet_cidrs" {
  description = "listen.proxy_protocol_from of the policy."
  value       = [for z in keys(local.zones) : aws_subnet.proxy[z].cidr_block]
}

output "proxy_route_table_ids" {
  value = [for z in keys(local.zones) : aws_route_table.proxy[z].id]
}

output "function_subnets" {
  value = [for z in keys(local.zones) : aws_subnet.functions[z].id]
}

output "function_subnet_cidrs" {
  description = "identify.sources of the functions in the policy."
  value       = [for z in keys(local.zones) : aws_subnet.functions[z].cidr_block]
}

output "function_security_group_id" {
  value = aws_security_group.functions.id
}

output "data_subnets" {
  value = [for z in keys(local.zones) : aws_subnet.data[z].id]
}

output "data_security_group_id" {
  value = aws_security_group.data.id
}

output "endpoint_security_group_id" {
  value = aws_security_group.endpoints.id
}

output "proxy_s3_endpoint_id" {
  description = "policy_endpoint_id of the store."
  value       = aws_vpc_endpoint.proxy_s3.id
}

output "flow_log_group" {
  value = aws_cloudwatch_log_group.flows.name
}
