output "function_arn" {
  description = "The worker."
  value       = aws_lambda_function.worker.arn
}

output "provisioner_role_arn" {
  description = "Role to run `penstock provision` with."
  value       = aws_iam_role.provisioner.arn
}

output "artifacts_bucket" {
  description = "Bucket of packages, models and learned state."
  value       = aws_s3_bucket.artifacts.id
}

output "url" {
  description = "Where requests go; null without gateways."
  value       = try("${local.is_https["gateway"] ? "https" : "http"}://${aws_lb.gateway["gateway"].dns_name}", null)
}
