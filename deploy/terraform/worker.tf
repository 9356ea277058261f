# The worker function, its role, the provisioner's role, logs, alarms and a budget.
#
# The memory ladder (aliases mem-<MiB>) is deliberately not here: memory belongs to $LATEST when a version is published, and an alias that
# both Terraform and `penstock provision` own would be moved back and forth. Run `penstock provision` after each apply.

locals {
  has_model    = var.model_dir != ""
  model_digest = local.has_model ? filesha256("${var.model_dir}/model.toml") : ""
  model_prefix = "models/${local.function}"
  # The files that a model may have; what is not named in model.toml is not read by the worker.
  model_files = local.has_model ? toset([for file in fileset(var.model_dir, "*") : file if can(regex("^(model\\.toml|tokenizer\\.json|.*\\.onnx)$", file))]) : toset([])
}

resource "aws_s3_object" "model" {
  #checkov:skip=CKV_AWS_186:encrypted with the key that S3 owns
  for_each    = local.model_files
  bucket      = aws_s3_bucket.artifacts.id
  key         = "${local.model_prefix}/${local.model_digest}/${each.value}"
  source      = "${var.model_dir}/${each.value}"
  source_hash = filemd5("${var.model_dir}/${each.value}")

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_s3_object" "worker" {
  #checkov:skip=CKV_AWS_186:encrypted with the key that S3 owns
  count  = var.image_uri == "" ? 1 : 0
  bucket = aws_s3_bucket.artifacts.id
  key    = "worker/${filesha256(var.worker_zip)}.zip"
  source = var.worker_zip
}

resource "aws_cloudwatch_log_group" "worker" {
  #checkov:skip=CKV_AWS_158:payloads are never logged, so the key that CloudWatch owns is enough
  #checkov:skip=CKV_AWS_338:how long logs are kept is a variable; a month is enough to look into a fault
  name              = "/aws/lambda/${local.function}"
  retention_in_days = var.log_retention_days
}

data "aws_iam_policy_document" "worker_trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["lambda.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "worker" {
  statement {
    sid       = "WriteOwnLogs"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${aws_cloudwatch_log_group.worker.arn}:*"]
  }
  dynamic "statement" {
    for_each = local.has_model ? [1] : []
    content {
      sid       = "ReadOwnModel"
      actions   = ["s3:GetObject"]
      resources = ["${aws_s3_bucket.artifacts.arn}/${local.model_prefix}/*"]
    }
  }
  dynamic "statement" {
    for_each = local.bulk
    content {
      sid       = "ReadChunks"
      actions   = ["s3:GetObject"]
      resources = ["${aws_s3_bucket.work[statement.key].arn}/jobs/*/requests/*"]
    }
  }
  dynamic "statement" {
    for_each = local.bulk
    content {
      sid       = "WriteAnswers" # and see whether one is there: a chunk is not run twice
      actions   = ["s3:GetObject", "s3:PutObject"]
      resources = ["${aws_s3_bucket.work[statement.key].arn}/jobs/*/answers/*"]
    }
  }
}

resource "aws_iam_role" "worker" {
  name_prefix        = "${var.name}-worker-"
  assume_role_policy = data.aws_iam_policy_document.worker_trust.json
}

resource "aws_iam_role_policy" "worker" {
  role   = aws_iam_role.worker.id
  policy = data.aws_iam_policy_document.worker.json
}

resource "aws_lambda_function" "worker" {
  #checkov:skip=CKV_AWS_50:traces are written by the gateway, which knows the requests of a batch
  #checkov:skip=CKV_AWS_115:reserved concurrency is a variable; by default Penstock's own window bounds it
  #checkov:skip=CKV_AWS_116:a dead-letter queue is for asynchronous calls; the gateway calls and awaits
  #checkov:skip=CKV_AWS_117:the worker needs no private network; a VPC adds cold-start time
  #checkov:skip=CKV_AWS_173:the environment holds no secret
  #checkov:skip=CKV_AWS_272:the package is named by its digest in a bucket that only the deployer writes
  function_name                  = local.function
  description                    = "Penstock worker"
  package_type                   = var.image_uri == "" ? "Zip" : "Image"
  runtime                        = var.image_uri == "" ? "provided.al2023" : null
  handler                        = var.image_uri == "" ? "bootstrap" : null
  image_uri                      = var.image_uri == "" ? null : var.image_uri
  s3_bucket                      = var.image_uri == "" ? aws_s3_bucket.artifacts.id : null
  s3_key                         = var.image_uri == "" ? aws_s3_object.worker[0].key : null
  architectures                  = [var.architecture]
  memory_size                    = var.base_memory_mib
  timeout                        = var.timeout_seconds
  role                           = aws_iam_role.worker.arn
  reserved_concurrent_executions = var.reserved_concurrency

  ephemeral_storage {
    size = var.ephemeral_storage_mib
  }

  environment {
    variables = merge({
      RUST_LOG             = "warn"
      PENSTOCK_CHUNKS      = var.bulk ? "s3://${aws_s3_bucket.work["bulk"].id}/jobs" : ""
      PENSTOCK_S3_ENDPOINT = var.s3_endpoint_url
      PENSTOCK_MODEL_S3    = local.has_model ? "s3://${aws_s3_bucket.artifacts.id}/${local.model_prefix}/${local.model_digest}" : ""
    }, var.s3_endpoint_url == "" ? {} : { AWS_ENDPOINT_URL_S3 = var.s3_endpoint_url })
  }

  depends_on = [aws_cloudwatch_log_group.worker, aws_iam_role_policy.worker, aws_s3_object.model]
}

data "aws_iam_policy_document" "provisioner_trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "AWS"
      identifiers = [var.provisioner_principal_arn == "" ? local.account : var.provisioner_principal_arn]
    }
  }
}

data "aws_iam_policy_document" "provisioner" {
  #checkov:skip=CKV_AWS_356:GetAccountSettings knows no resource
  #checkov:skip=CKV_AWS_111:writes are bounded to one function
  statement {
    sid = "PenstockProvision"
    actions = [
      "lambda:GetFunctionConfiguration",
      "lambda:GetFunctionConcurrency",
      "lambda:ListVersionsByFunction",
      "lambda:ListAliases",
      "lambda:GetAlias",
      "lambda:UpdateFunctionConfiguration",
      "lambda:PublishVersion",
      "lambda:CreateAlias",
      "lambda:UpdateAlias",
    ]
    resources = [aws_lambda_function.worker.arn, "${aws_lambda_function.worker.arn}:*"]
  }
  statement {
    sid       = "PassWorkerRole"
    actions   = ["iam:PassRole"]
    resources = [aws_iam_role.worker.arn]
    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values   = ["lambda.amazonaws.com"]
    }
  }
  statement {
    sid       = "PenstockProvisionLimits"
    actions   = ["lambda:GetAccountSettings"]
    resources = ["*"]
  }
  statement {
    sid       = "PenstockPruneAliases"
    actions   = ["lambda:DeleteAlias"]
    resources = [aws_lambda_function.worker.arn, "${aws_lambda_function.worker.arn}:mem-*"]
  }
  statement {
    sid       = "PenstockPruneVersions" # only with a version: never the function itself
    actions   = ["lambda:DeleteFunction"]
    resources = ["${aws_lambda_function.worker.arn}:*"]
  }
}

resource "aws_iam_role" "provisioner" {
  name_prefix        = "${var.name}-provisioner-"
  assume_role_policy = data.aws_iam_policy_document.provisioner_trust.json
}

resource "aws_iam_role_policy" "provisioner" {
  role   = aws_iam_role.provisioner.id
  policy = data.aws_iam_policy_document.provisioner.json
}

locals {
  alarm_actions = var.alarm_topic_arn == "" ? [] : [var.alarm_topic_arn]
  worker_alarms = {
    errors    = { metric = "Errors", statistic = "Sum", threshold = 5, text = "Invocations fail as a whole. See the worker's log group." }
    throttles = { metric = "Throttles", statistic = "Sum", threshold = 10, text = "Lambda turns invocations away. Lower max_in_flight or ask for more concurrency." }
    duration  = { metric = "Duration", statistic = "Maximum", threshold = 25000, text = "Invocations run for more than 25 s. Smaller batches or more memory." }
  }
}

resource "aws_cloudwatch_metric_alarm" "worker" {
  for_each            = local.worker_alarms
  alarm_name          = "${local.function}-${each.key}"
  alarm_description   = each.value.text
  namespace           = "AWS/Lambda"
  metric_name         = each.value.metric
  dimensions          = { FunctionName = local.function }
  statistic           = each.value.statistic
  period              = 60
  evaluation_periods  = 5
  datapoints_to_alarm = 3
  threshold           = each.value.threshold
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
}

resource "aws_budgets_budget" "lambda" {
  count        = var.budget_usd > 0 && var.budget_email != "" ? 1 : 0
  name         = "${local.function}-lambda"
  budget_type  = "COST"
  time_unit    = "MONTHLY"
  limit_amount = tostring(var.budget_usd)
  limit_unit   = "USD"

  cost_filter {
    name   = "Service"
    values = ["AWS Lambda"]
  }

  notification {
    notification_type          = "ACTUAL"
    comparison_operator        = "GREATER_THAN"
    threshold                  = 80
    threshold_type             = "PERCENTAGE"
    subscriber_email_addresses = [var.budget_email]
  }

  notification {
    notification_type          = "FORECASTED"
    comparison_operator        = "GREATER_THAN"
    threshold                  = 100
    threshold_type             = "PERCENTAGE"
    subscriber_email_addresses = [var.budget_email]
  }
}
