# The three stacks of ../ecs/README.md as modules, wired. Push the image and the policy between
# the store and the proxy: terraform apply -target=module.store first.

variable "name" {
  type    = string
  default = "egress"
}

variable "availability_zones" {
  type        = list(string)
  description = "One to three names of zones, such as eu-west-1a and eu-west-1b."
}

variable "image_tag" {
  type        = string
  description = "The tag that you pushed, such as v1.0.0."
}

variable "tls" {
  type        = bool
  default     = false
  description = "Port 3129 reaches the proxy's own TLS listener; the policy must say listen.tls 0.0.0.0:3129 before. Functions that AWS attests need it."
}

variable "token_audience" {
  type        = string
  default     = ""
  description = "aws.audience of the policy. Functions then reach STS through an endpoint that gives such tokens for it alone. Empty, there is no endpoint of STS."
}

variable "proxy_domain" {
  type        = string
  default     = ""
  description = "The name of the proxy's certificate, such as proxy.example.com, which a private hosted zone then resolves. Empty, the load balancer's own name."
}

variable "alarm_topic_arn" {
  type    = string
  default = ""
}

variable "policy_writer_arn" {
  type        = string
  default     = ""
  description = "The role, or user, that puts the policy into its bucket. Nobody else does then, and tasks read it through the S3 endpoint of the network alone. Empty, from wherever somebody has the right to."
}

module "store" {
  source             = "./store"
  name               = var.name
  policy_endpoint_id = var.policy_writer_arn == "" ? "" : module.network.proxy_s3_endpoint_id
  policy_writer_arn  = var.policy_writer_arn
}

module "network" {
  source              = "./network"
  name                = "${var.name}-network"
  availability_zones  = var.availability_zones
  interface_endpoints = var.token_audience == "" ? [] : ["sts"]
  token_audience      = var.token_audience
}

module "proxy" {
  source                     = "./proxy"
  name                       = "${var.name}-proxy"
  vpc_id                     = module.network.vpc_id
  proxy_subnets              = module.network.proxy_subnets
  function_security_group_id = module.network.function_security_group_id
  image                      = "${module.store.repository_uri}:${var.image_tag}"
  image_repository_arn       = module.store.repository_arn
  policy_bucket              = module.store.policy_bucket
  log_group                  = module.store.log_group
  tls                        = var.tls
  proxy_domain               = var.proxy_domain
  alarm_topic_arn            = var.alarm_topic_arn
}

# The endpoints have the names of their services for the whole VPC, the proxy's tasks included.
resource "aws_vpc_security_group_ingress_rule" "endpoints_from_tasks" {
  security_group_id            = module.network.endpoint_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
  referenced_security_group_id = module.proxy.task_security_group_id
}

output "proxy_host" {
  description = "Behind http://NAME:TOKEN@ and before :3128 it is the functions' HTTPS_PROXY; with tls the proxy_host of ./function."
  value       = module.proxy.proxy_host
}

output "policy_bucket" {
  value = module.store.policy_bucket
}

output "log_group" {
  value = module.store.log_group
}

output "network" {
  description = "What functions and the policy need of the network."
  value       = module.network
}
