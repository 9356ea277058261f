# Bulk jobs past one gateway, with `bulk = true`: the state machine that runs chunks, its role, the bucket they lie in, and the policy of whoever
# runs jobs.

locals {
  bulk         = var.bulk ? toset(["bulk"]) : toset([])
  bulk_machine = "${local.function}-bulk"
  bulk_states  = "arn:${local.partition}:states:${local.region}:${local.account}"
  bulk_worker  = "arn:${local.partition}:lambda:${local.region}:${local.account}:function:${local.function}"
}

resource "aws_s3_bucket" "work" {
  #checkov:skip=CKV_AWS_21:chunks and answers are written once, and removed with their job
  #checkov:skip=CKV_AWS_144:what lies here can be made again from the job's input
  #checkov:skip=CKV_AWS_145:encrypted with the key that S3 owns; a key of its own costs a dollar a month
  #checkov:skip=CKV2_AWS_62:nobody waits for events of this bucket
  for_each      = local.bulk
  bucket_prefix = "${var.name}-work-"
  force_destroy = true
}

resource "aws_s3_bucket_server_side_encryption_configuration" "work" {
  for_each = local.bulk
  bucket   = aws_s3_bucket.work[each.key].id
  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_public_access_block" "work" {
  for_each                = local.bulk
  bucket                  = aws_s3_bucket.work[each.key].id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_logging" "work" {
  for_each      = local.bulk
  bucket        = aws_s3_bucket.work[each.key].id
  target_bucket = aws_s3_bucket.access_logs.id
  target_prefix = "s3/"
}

resource "aws_s3_bucket_lifecycle_configuration" "work" {
  for_each = local.bulk
  bucket   = aws_s3_bucket.work[each.key].id
  rule {
    id     = "expire"
    status = "Enabled"
    filter {}
    expiration {
      days = var.bulk_work_days
    }
    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }
}

data "aws_iam_policy_document" "work" {
  for_each = local.bulk
  statement {
    sid       = "OnlyTls"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [aws_s3_bucket.work[each.key].arn, "${aws_s3_bucket.work[each.key].arn}/*"]
    principals {
      type        = "*"
      identifiers = ["*"]
    }
    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_s3_bucket_policy" "work" {
  for_each = local.bulk
  bucket   = aws_s3_bucket.work[each.key].id
  policy   = data.aws_iam_policy_document.work[each.key].json
}

resource "aws_cloudwatch_log_group" "bulk" {
  #checkov:skip=CKV_AWS_158:execution data is not logged, so the key that CloudWatch owns is enough
  #checkov:skip=CKV_AWS_338:how long logs are kept is a variable; a month is enough to look into a fault
  for_each          = local.bulk
  name              = "/aws/vendedlogs/states/${local.bulk_machine}"
  retention_in_days = var.log_retention_days
}

data "aws_iam_policy_document" "bulk_trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["states.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account]
    }
    condition {
      test     = "ArnLike"
      variable = "aws:SourceArn"
      values   = ["${local.bulk_states}:stateMachine:${local.bulk_machine}"]
    }
  }
}

data "aws_iam_policy_document" "bulk" {
  #checkov:skip=CKV_AWS_111:the actions of log delivery know no resource
  #checkov:skip=CKV_AWS_356:the actions of log delivery know no resource
  for_each = local.bulk
  statement {
    sid       = "RunChunks"
    actions   = ["lambda:InvokeFunction"]
    resources = [local.bulk_worker, "${local.bulk_worker}:*"]
  }
  statement {
    sid       = "ReadManifests"
    actions   = ["s3:GetObject"]
    resources = ["${aws_s3_bucket.work[each.key].arn}/jobs/*/manifest.json"]
  }
  statement {
    sid       = "WriteResults"
    actions   = ["s3:PutObject", "s3:GetObject", "s3:ListMultipartUploadParts", "s3:AbortMultipartUpload"]
    resources = ["${aws_s3_bucket.work[each.key].arn}/jobs/*/results/*"]
  }
  statement {
    sid       = "StartChildren" # a Distributed Map runs each chunk as an execution of its own
    actions   = ["states:StartExecution"]
    resources = ["${local.bulk_states}:stateMachine:${local.bulk_machine}"]
  }
  statement {
    sid       = "FollowChildren"
    actions   = ["states:DescribeExecution", "states:StopExecution"]
    resources = ["${local.bulk_states}:execution:${local.bulk_machine}:*", "${local.bulk_states}:execution:${local.bulk_machine}/*"]
  }
  statement {
    sid = "DeliverLogs"
    actions = [
      "logs:CreateLogDelivery",
      "logs:GetLogDelivery",
      "logs:UpdateLogDelivery",
      "logs:DeleteLogDelivery",
      "logs:ListLogDeliveries",
      "logs:PutResourcePolicy",
      "logs:DescribeResourcePolicies",
      "logs:DescribeLogGroups",
    ]
    resources = ["*"]
  }
}

resource "aws_iam_role" "bulk" {
  for_each           = local.bulk
  name_prefix        = "${var.name}-bulk-"
  assume_role_policy = data.aws_iam_policy_document.bulk_trust.json
}

resource "aws_iam_role_policy" "bulk" {
  for_each = local.bulk
  role     = aws_iam_role.bulk[each.key].id
  policy   = data.aws_iam_policy_document.bulk[each.key].json
}

resource "aws_sfn_state_machine" "bulk" {
  #checkov:skip=CKV_AWS_284:a trace a chunk would cost more than the state transitions; the map run shows the same
  #checkov:skip=CKV_AWS_285:errors are logged; whole executions are in the map run
  for_each   = local.bulk
  name       = local.bulk_machine
  type       = "STANDARD"
  role_arn   = aws_iam_role.bulk[each.key].arn
  definition = file("${path.module}/../stepfunctions/bulk.asl.json")

  logging_configuration {
    level                  = "ERROR"
    include_execution_data = false
    log_destination        = "${aws_cloudwatch_log_group.bulk[each.key].arn}:*"
  }

  depends_on = [aws_iam_role_policy.bulk]
}

data "aws_iam_policy_document" "bulk_caller" {
  for_each = local.bulk
  statement {
    sid       = "RunJobs"
    actions   = ["states:StartExecution"]
    resources = [aws_sfn_state_machine.bulk[each.key].arn]
  }
  statement {
    sid       = "FollowJobs"
    actions   = ["states:DescribeExecution", "states:StopExecution", "states:ListMapRuns"]
    resources = ["${local.bulk_states}:execution:${local.bulk_machine}:*"]
  }
  statement {
    sid       = "SeeProgress"
    actions   = ["states:DescribeMapRun"]
    resources = ["${local.bulk_states}:mapRun:${local.bulk_machine}/*"]
  }
  statement {
    sid       = "KeepChunks"
    actions   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
    resources = ["${aws_s3_bucket.work[each.key].arn}/jobs/*"]
  }
  statement {
    sid       = "FindChunks"
    actions   = ["s3:ListBucket"]
    resources = [aws_s3_bucket.work[each.key].arn]
    condition {
      test     = "StringLikeIfExists" # a GET of what is not there has no prefix
      variable = "s3:prefix"
      values   = ["jobs/*"]
    }
  }
  statement {
    sid       = "FinishChunks" # what the state machine leaves is invoked by the job itself
    actions   = ["lambda:InvokeFunction"]
    resources = [local.bulk_worker, "${local.bulk_worker}:*"]
  }
}

resource "aws_iam_policy" "bulk_caller" {
  for_each    = local.bulk
  name_prefix = "${var.name}-bulk-caller-"
  description = "Run Penstock bulk jobs in the state machine"
  policy      = data.aws_iam_policy_document.bulk_caller[each.key].json
}
