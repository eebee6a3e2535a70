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

variable "organization_id" {
  type        = string
  default     = ""
  description = "Whose principals and resources the endpoints serve. Empty, this account's."
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
    flow_log_group  = aws_cloudwatch_log_group.flows.arn
  }))
  ours = var.organization_id == "" ? local.shared.account : local.shared.organization
}

resource "aws_vpc" "this" {
  cidr_block           = var.vpc_cidr
  enable_dns_support   = true
  enable_dns_hostnames = true
  tags                 = { Name = var.name }
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

resource "aws_vpc_security_group_egress_rule" "functions_to_endpoints" {
  security_group_id            = aws_security_group.functions.id
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
  referenced_security_group_id = aws_security_group.endpoints.id
}

resource "aws_vpc_security_group_ingress_rule" "endpoints_from_vpc" {
  security_group_id = aws_security_group.endpoints.id
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_ipv4         = var.vpc_cidr
}

# The gateway endpoints are in the functions' routes alone: the proxy's tasks fetch their image
# from a bucket of AWS.
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

output "flow_log_group" {
  value = aws_cloudwatch_log_group.flows.name
}
