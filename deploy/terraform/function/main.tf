# A function behind the proxy that AWS attests, without any secret: ../../ecs/function.yaml with
# LayerArn. Neither its variables nor the state of Terraform hold a token. What both say alike is
# written by a test into shared.json.tftpl, out of the template.

variable "name" {
  type        = string
  description = "Of the function, which has no other name to be attested by."
}

variable "description" {
  type    = string
  default = null
}

variable "function_subnets" {
  type        = list(string)
  description = "function_subnets of the network."
}

variable "function_security_group_id" {
  type        = string
  description = "function_security_group_id of the network."
}

variable "proxy_host" {
  type        = string
  description = "ProxyHost of a proxy that has a TLS listener on port 3129."
}

variable "layer_arn" {
  type        = string
  description = "LayerArn of ../../lambda/layer.yaml."
  validation {
    condition     = length(split(":", var.layer_arn)) == 8
    error_message = "The ARN of a layer with its version. Without it the function would have no way to the proxy."
  }
}

variable "token_audience" {
  type        = string
  description = "aws.audience of the policy."
  validation {
    condition     = length(var.token_audience) > 0
    error_message = "Without an audience a token is good for anybody."
  }
}

variable "proxy_ca" {
  type        = string
  default     = ""
  description = "The path in the function's package of a PEM file with the authority of the proxy's certificate. Empty, the system's authorities."
}

variable "kms_key_arn" {
  type        = string
  default     = ""
  description = "A key of your own for the function's variables. Empty, the key of AWS."
}

variable "permissions_boundary_arn" {
  type    = string
  default = ""
}

variable "filename" {
  type        = string
  description = "The function's package."
}

variable "handler" {
  type    = string
  default = "index.handler"
}

variable "runtime" {
  type    = string
  default = "python3.13"
}

variable "architectures" {
  type        = list(string)
  default     = ["arm64"]
  description = "What the layer was built for."
}

variable "timeout" {
  type    = number
  default = 30
}

variable "memory_size" {
  type    = number
  default = 128
}

variable "log_retention_days" {
  type    = number
  default = 30
}

variable "environment" {
  type        = map(string)
  default     = {}
  description = "The function's own variables."
}

data "aws_caller_identity" "this" {}
data "aws_partition" "this" {}
data "aws_region" "this" {}

locals {
  shared = jsondecode(templatefile("${path.module}/shared.json.tftpl", {
    account        = data.aws_caller_identity.this.account_id
    partition      = data.aws_partition.this.partition
    region         = data.aws_region.this.region
    log_group      = aws_cloudwatch_log_group.function.arn
    kms_key_arn    = var.kms_key_arn
    proxy_host     = var.proxy_host
    proxy_ca       = var.proxy_ca
    token_audience = var.token_audience
  }))
  # What is there with an option alone.
  statements = [for s in local.shared.statements : s if s.Sid != "Variables" || var.kms_key_arn != ""]
  proxied    = { for name, value in local.shared.variables : name => value if name != "EGRESS_CA" || var.proxy_ca != "" }
}

resource "aws_cloudwatch_log_group" "function" {
  name_prefix       = "${var.name}-"
  retention_in_days = var.log_retention_days
}

resource "aws_iam_role" "function" {
  assume_role_policy   = jsonencode(local.shared.assume)
  permissions_boundary = var.permissions_boundary_arn == "" ? null : var.permissions_boundary_arn
}

resource "aws_iam_role_policy" "function" {
  name   = "run-in-the-vpc"
  role   = aws_iam_role.function.id
  policy = jsonencode({ Version = "2012-10-17", Statement = local.statements })
}

resource "aws_lambda_function" "this" {
  function_name    = var.name
  description      = var.description
  filename         = var.filename
  source_code_hash = filebase64sha256(var.filename)
  runtime          = var.runtime
  architectures    = var.architectures
  handler          = var.handler
  role             = aws_iam_role.function.arn
  timeout          = var.timeout
  memory_size      = var.memory_size
  kms_key_arn      = var.kms_key_arn == "" ? null : var.kms_key_arn
  layers           = [var.layer_arn]
  logging_config {
    log_group  = aws_cloudwatch_log_group.function.name
    log_format = local.shared.logging.LogFormat
  }
  vpc_config {
    subnet_ids         = var.function_subnets
    security_group_ids = [var.function_security_group_id]
  }
  environment {
    variables = merge(var.environment, local.proxied)
  }
  depends_on = [aws_iam_role_policy.function] # Lambda asks for the network's permissions when it makes the function
}

output "function_name" {
  value = aws_lambda_function.this.function_name
}

output "function_arn" {
  description = "For identify.aws of the policy."
  value       = aws_lambda_function.this.arn
}

output "log_group" {
  value = aws_cloudwatch_log_group.function.name
}
