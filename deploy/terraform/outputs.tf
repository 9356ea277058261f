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

output "state_machine_arn" {
  description = "For `penstock bulk run --engine step-functions --state-machine`; null without `bulk`."
  value       = try(aws_sfn_state_machine.bulk["bulk"].arn, null)
}

output "bulk_work" {
  description = "For its `--work`; null without `bulk`."
  value       = try("s3://${aws_s3_bucket.work["bulk"].id}/jobs", null)
}

output "bulk_caller_policy_arn" {
  description = "Policy of whoever runs bulk jobs; null without `bulk`."
  value       = try(aws_iam_policy.bulk_caller["bulk"].arn, null)
}
