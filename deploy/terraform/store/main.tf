# What is there before an egress proxy and stays behind it: ../../ecs/store.yaml.

variable "old_versions_days" {
  type        = number
  default     = 400
  description = "For how many days replaced versions of the policy are kept. PCI DSS asks for 12 months of history."
}

variable "log_retention_days" {
  type        = number
  default     = 400
  description = "For how many days records are kept. PCI DSS asks for 12 months."
}

variable "kms_key_arn" {
  type        = string
  default     = ""
  description = "A key of your own for the repository, the bucket and the log group. Empty, the keys of AWS."
}

variable "policy_endpoint_id" {
  type        = string
  default     = ""
  description = "proxy_s3_endpoint_id of the network. The objects of the bucket are then read and written through it, or by policy_writer_arn. Empty, from wherever somebody has the right to."
}

variable "policy_writer_arn" {
  type        = string
  default     = ""
  description = "The role, or user, that puts the policy into the bucket from elsewhere. Needed with policy_endpoint_id."
}

variable "name" {
  type        = string
  default     = "egress"
  description = "What the repository is called, and the log group with something random behind it."
}

resource "aws_ecr_repository" "image" {
  name                 = "${var.name}-store-image"
  image_tag_mutability = "IMMUTABLE"

  dynamic "encryption_configuration" {
    for_each = var.kms_key_arn == "" ? [] : [var.kms_key_arn]
    content {
      encryption_type = "KMS"
      kms_key         = encryption_configuration.value
    }
  }
}

# Neither the bucket nor a role is named: their names are short, and a deployment's may be long.
resource "aws_s3_bucket" "policy" {}

resource "aws_s3_bucket_versioning" "policy" {
  bucket = aws_s3_bucket.policy.id
  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "policy" {
  bucket = aws_s3_bucket.policy.id
  rule {
    bucket_key_enabled = var.kms_key_arn == "" ? null : true
    apply_server_side_encryption_by_default {
      sse_algorithm     = var.kms_key_arn == "" ? "AES256" : "aws:kms"
      kms_master_key_id = var.kms_key_arn == "" ? null : var.kms_key_arn
    }
  }
}

resource "aws_s3_bucket_public_access_block" "policy" {
  bucket                  = aws_s3_bucket.policy.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "policy" {
  bucket = aws_s3_bucket.policy.id
  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "policy" {
  bucket = aws_s3_bucket.policy.id
  rule {
    id     = "replaced-policies"
    status = "Enabled"
    filter {}
    noncurrent_version_expiration {
      noncurrent_days = var.old_versions_days
    }
  }
}

resource "aws_s3_bucket_policy" "policy" {
  bucket = aws_s3_bucket.policy.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [{
        Sid       = "OnlyOverTLS"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:*"
        Resource  = [aws_s3_bucket.policy.arn, "${aws_s3_bucket.policy.arn}/*"]
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      }],
      var.policy_endpoint_id == "" ? [] : [{
        Sid       = "ThroughTheEndpoint"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:*"
        Resource  = "${aws_s3_bucket.policy.arn}/*"
        Condition = {
          StringNotEquals = { "aws:SourceVpce" = var.policy_endpoint_id }
          ArnNotLike      = { "aws:PrincipalArn" = var.policy_writer_arn }
        }
      }],
    )
  })
}

resource "aws_cloudwatch_log_group" "records" {
  name_prefix       = "${var.name}-store-"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn == "" ? null : var.kms_key_arn
  skip_destroy      = true
}

output "repository_uri" {
  value = aws_ecr_repository.image.repository_url
}

output "repository_arn" {
  value = aws_ecr_repository.image.arn
}

output "policy_bucket" {
  value = aws_s3_bucket.policy.id
}

output "log_group" {
  value = aws_cloudwatch_log_group.records.name
}
