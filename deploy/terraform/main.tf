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

variable "alarm_topic_arn" {
  type    = string
  default = ""
}

module "store" {
  source = "./store"
  name   = var.name
}

module "network" {
  source             = "./network"
  name               = "${var.name}-network"
  availability_zones = var.availability_zones
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
  alarm_topic_arn            = var.alarm_topic_arn
}

output "proxy_host" {
  description = "Behind http://NAME:TOKEN@ and before :3128 it is the functions' HTTPS_PROXY."
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
