# The parameters of ../../ecs/proxy.yaml, which says more about each.

variable "name" {
  type        = string
  description = "What the cluster and the roles are called, and the dimension Deployment of the metrics: one for each deployment of an account and region."
}

variable "vpc_id" {
  type = string
}

variable "proxy_subnets" {
  type        = list(string)
  description = "Private subnets with a way out through NAT, one in each zone."
}

variable "function_security_group_id" {
  type        = string
  description = "The group that your functions wear. It gets a rule to the proxy."
}

variable "image" {
  type        = string
  description = "The image with its tag or digest."
}

variable "image_repository_arn" {
  type        = string
  default     = ""
  description = "The ECR repository of the image. Empty, an image that anybody may fetch."
}

variable "architecture" {
  type    = string
  default = "ARM64"
}

variable "policy_bucket" {
  type = string
}

variable "policy_key" {
  type    = string
  default = "egress.yaml"
}

variable "log_group" {
  type = string
}

variable "kms_key_arn" {
  type        = string
  default     = ""
  description = "The key of the policy bucket, where it has one of yours."
}

variable "permissions_boundary_arn" {
  type    = string
  default = ""
}

variable "deletion_protection" {
  type    = bool
  default = true
}

variable "cpu" {
  type        = number
  default     = 256
  description = "Of each task; Size of the template is 256, 512 or 1024."
}

variable "memory" {
  type    = number
  default = 512
}

variable "minimum_tasks" {
  type        = number
  default     = 0
  description = "Scaling never goes below. 0, one for each subnet, and two in any case."
}

variable "maximum_tasks" {
  type    = number
  default = 8
}

variable "tunnels_per_task" {
  type    = number
  default = 8000
}

variable "deregistration_delay" {
  type    = number
  default = 120
}

variable "tls" {
  type        = bool
  default     = false
  description = "Port 3129 reaches the proxy's own TLS listener, which client certificates and the Lambda extension need. The policy must say listen.tls 0.0.0.0:3129 before."
}

variable "proxy_domain" {
  type        = string
  default     = ""
  description = "A name for the proxy, such as proxy.example.com, that a private hosted zone then resolves in this VPC: with tls that of its certificate. Empty, the load balancer's own name."
}

variable "plain_http" {
  type    = bool
  default = false
}

variable "other_ports" {
  type        = list(string)
  default     = []
  description = "Further ports that the proxy may reach out on, ranges too: 8443, 9000-9010."
}

variable "resolver_cidr" {
  type    = string
  default = ""
}

variable "scraper_security_group_id" {
  type    = string
  default = ""
}

variable "alarm_topic_arn" {
  type    = string
  default = ""
}

variable "refusals_per_five_minutes" {
  type    = number
  default = 100
}

variable "refusals_of_function" {
  type    = number
  default = 5
}

variable "report_mode_days" {
  type    = number
  default = 7
}

variable "function_metrics" {
  type        = bool
  default     = true
  description = "CloudWatch metrics by function too, three of them and more for each, which cost."
}
