# Gateways in an Auto Scaling group behind a load balancer, in a network that exists already.

locals {
  gateways    = var.gateway == null ? {} : { gateway = var.gateway }
  stack       = "${var.name}-gateway"
  state       = "state"
  package_sha = { for key, gateway in local.gateways : key => filesha256(gateway.package) }
  config_sha  = { for key, gateway in local.gateways : key => filesha256(gateway.config) }
  is_https    = { for key, gateway in local.gateways : key => gateway.certificate_arn != "" }
}

resource "aws_s3_object" "package" {
  #checkov:skip=CKV_AWS_186:encrypted with the key that S3 owns
  for_each = local.gateways
  bucket   = aws_s3_bucket.artifacts.id
  key      = "gateway/${local.package_sha[each.key]}.tar.gz"
  source   = each.value.package
}

resource "aws_s3_object" "config" {
  #checkov:skip=CKV_AWS_186:encrypted with the key that S3 owns
  for_each = local.gateways
  bucket   = aws_s3_bucket.artifacts.id
  key      = "config/${local.config_sha[each.key]}.tar.gz"
  source   = each.value.config
}

resource "aws_cloudwatch_log_group" "gateway" {
  #checkov:skip=CKV_AWS_158:payloads are never logged, so the key that CloudWatch owns is enough
  #checkov:skip=CKV_AWS_338:how long logs are kept is a variable; a month is enough to look into a fault
  for_each          = local.gateways
  name              = "/penstock/gateway/${local.stack}"
  retention_in_days = var.log_retention_days
}

data "aws_iam_policy_document" "gateway_trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "gateway" {
  #checkov:skip=CKV_AWS_356:GetAccountSettings knows no resource
  for_each = local.gateways
  statement {
    sid       = "PenstockGateway"
    actions   = ["lambda:InvokeFunction"]
    resources = ["${aws_lambda_function.worker.arn}:mem-*"]
  }
  statement {
    sid       = "PenstockGatewayLimits"
    actions   = ["lambda:GetAccountSettings"]
    resources = ["*"]
  }
  statement {
    sid     = "ReadPackage"
    actions = ["s3:GetObject"]
    resources = [
      # Not the keys alone: while a refresh rolls, hosts of the old template may still start.
      "${aws_s3_bucket.artifacts.arn}/gateway/*",
      "${aws_s3_bucket.artifacts.arn}/config/*",
    ]
  }
  statement {
    sid       = "LearnedState"
    actions   = ["s3:GetObject", "s3:PutObject"]
    resources = ["${aws_s3_bucket.artifacts.arn}/${local.state}/*"]
  }
  statement {
    sid       = "FindLearnedState"
    actions   = ["s3:ListBucket"]
    resources = [aws_s3_bucket.artifacts.arn]
    condition {
      test     = "StringLike"
      variable = "s3:prefix"
      values   = ["${local.state}/*"]
    }
  }
  statement {
    sid       = "WriteOwnLogs"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"]
    resources = ["${aws_cloudwatch_log_group.gateway[each.key].arn}:*"]
  }
}

resource "aws_iam_role" "gateway" {
  for_each           = local.gateways
  name_prefix        = "${var.name}-gateway-"
  assume_role_policy = data.aws_iam_policy_document.gateway_trust.json
}

resource "aws_iam_role_policy" "gateway" {
  for_each = local.gateways
  role     = aws_iam_role.gateway[each.key].id
  policy   = data.aws_iam_policy_document.gateway[each.key].json
}

resource "aws_iam_instance_profile" "gateway" {
  for_each    = local.gateways
  name_prefix = "${var.name}-gateway-"
  role        = aws_iam_role.gateway[each.key].name
}

resource "aws_security_group" "balancer" {
  #checkov:skip=CKV_AWS_260:port 80 is open to vpc_cidr only, and only without a certificate
  for_each    = local.gateways
  name_prefix = "${var.name}-balancer-"
  description = "Penstock load balancer"
  vpc_id      = each.value.vpc_id

  ingress {
    description = "requests"
    protocol    = "tcp"
    from_port   = local.is_https[each.key] ? 443 : 80
    to_port     = local.is_https[each.key] ? 443 : 80
    cidr_blocks = [each.value.vpc_cidr]
  }

  egress {
    description = "to the gateways"
    protocol    = "tcp"
    from_port   = 8080
    to_port     = 8080
    cidr_blocks = [each.value.vpc_cidr]
  }
}

resource "aws_security_group" "gateway" {
  for_each    = local.gateways
  name_prefix = "${var.name}-gateway-"
  description = "Penstock gateways"
  vpc_id      = each.value.vpc_id

  ingress {
    description     = "from the load balancer only"
    protocol        = "tcp"
    from_port       = 8080
    to_port         = 8080
    security_groups = [aws_security_group.balancer[each.key].id]
  }

  egress {
    description = "AWS APIs and packages"
    protocol    = "tcp"
    from_port   = 443
    to_port     = 443
    cidr_blocks = ["0.0.0.0/0"]
  }
}

resource "aws_lb" "gateway" {
  #checkov:skip=CKV_AWS_150:tear-down must leave nothing behind
  #checkov:skip=CKV2_AWS_20:without a certificate HTTP stays inside the network; with one there is no HTTP listener
  #checkov:skip=CKV2_AWS_28:a firewall for web pages has no use for tensors; add one if the balancer is public
  for_each                   = local.gateways
  name_prefix                = "pstk-"
  internal                   = each.value.is_internal
  load_balancer_type         = "application"
  subnets                    = each.value.subnet_ids
  security_groups            = [aws_security_group.balancer[each.key].id]
  idle_timeout               = 120 # above the longest request; else the balancer answers 504 first
  drop_invalid_header_fields = true

  access_logs {
    bucket  = aws_s3_bucket.access_logs.id
    prefix  = "alb"
    enabled = true
  }

  depends_on = [aws_s3_bucket_policy.access_logs]
}

resource "aws_lb_target_group" "gateway" {
  #checkov:skip=CKV_AWS_378:the balancer ends TLS; behind it the security group lets nobody else in
  for_each                      = local.gateways
  name_prefix                   = "pstk-"
  vpc_id                        = each.value.vpc_id
  protocol                      = "HTTP"
  port                          = 8080
  target_type                   = "instance"
  deregistration_delay          = 45 # above drain_delay_ms + drain_limit_ms
  load_balancing_algorithm_type = "least_outstanding_requests"

  health_check {
    path                = "/v2/health/ready"
    interval            = 5
    timeout             = 2
    healthy_threshold   = 2
    unhealthy_threshold = 2
    matcher             = "200"
  }
}

resource "aws_lb_listener" "gateway" {
  #checkov:skip=CKV_AWS_2:HTTPS whenever a certificate is given; the variable's validation refuses HTTP on the internet
  #checkov:skip=CKV_AWS_103:the policy below is TLS 1.3 and 1.2; without a certificate there is no TLS to have a version
  for_each          = local.gateways
  load_balancer_arn = aws_lb.gateway[each.key].arn
  port              = local.is_https[each.key] ? 443 : 80
  protocol          = local.is_https[each.key] ? "HTTPS" : "HTTP"
  ssl_policy        = local.is_https[each.key] ? "ELBSecurityPolicy-TLS13-1-2-2021-06" : null
  certificate_arn   = local.is_https[each.key] ? each.value.certificate_arn : null

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.gateway[each.key].arn
  }
}

data "aws_ssm_parameter" "image" {
  for_each = local.gateways
  name     = each.value.image_parameter
}

resource "aws_launch_template" "gateway" {
  for_each               = local.gateways
  name_prefix            = "${var.name}-gateway-"
  image_id               = data.aws_ssm_parameter.image[each.key].value
  instance_type          = each.value.instance_type
  vpc_security_group_ids = [aws_security_group.gateway[each.key].id]
  ebs_optimized          = true

  iam_instance_profile {
    arn = aws_iam_instance_profile.gateway[each.key].arn
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  monitoring {
    enabled = true
  }

  block_device_mappings {
    device_name = "/dev/xvda"
    ebs {
      volume_size           = 16
      volume_type           = "gp3"
      encrypted             = true
      delete_on_termination = true
    }
  }

  user_data = base64encode(templatefile("${path.module}/user_data.sh.tftpl", {
    bucket      = aws_s3_bucket.artifacts.id
    region      = local.region
    package_key = aws_s3_object.package[each.key].key
    package_sha = local.package_sha[each.key]
    config_key  = aws_s3_object.config[each.key].key
    config_sha  = local.config_sha[each.key]
    log_group   = aws_cloudwatch_log_group.gateway[each.key].name
  }))
}

resource "aws_autoscaling_group" "gateway" {
  for_each                  = local.gateways
  name_prefix               = "${var.name}-gateway-"
  vpc_zone_identifier       = each.value.subnet_ids
  min_size                  = each.value.min_instances
  max_size                  = each.value.max_instances
  target_group_arns         = [aws_lb_target_group.gateway[each.key].arn]
  health_check_type         = "ELB"
  health_check_grace_period = 120

  launch_template {
    id      = aws_launch_template.gateway[each.key].id
    version = aws_launch_template.gateway[each.key].latest_version
  }

  instance_refresh {
    strategy = "Rolling"
    preferences {
      min_healthy_percentage = 100
      max_healthy_percentage = 200
      instance_warmup        = 60
    }
  }

  tag {
    key                 = "Name"
    value               = local.stack
    propagate_at_launch = true
  }

  depends_on = [aws_lb_listener.gateway, aws_iam_role_policy.gateway]
}

resource "aws_autoscaling_policy" "gateway" {
  for_each               = local.gateways
  name                   = "${local.stack}-cpu"
  autoscaling_group_name = aws_autoscaling_group.gateway[each.key].name
  policy_type            = "TargetTrackingScaling"

  target_tracking_configuration {
    target_value = 60
    predefined_metric_specification {
      predefined_metric_type = "ASGAverageCPUUtilization"
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "unhealthy" {
  for_each            = local.gateways
  alarm_name          = "${local.stack}-unhealthy-gateway"
  alarm_description   = "The load balancer sees a gateway that is not ready."
  namespace           = "AWS/ApplicationELB"
  metric_name         = "UnHealthyHostCount"
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 5
  threshold           = 0
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
  dimensions = {
    LoadBalancer = aws_lb.gateway[each.key].arn_suffix
    TargetGroup  = aws_lb_target_group.gateway[each.key].arn_suffix
  }
}

resource "aws_cloudwatch_metric_alarm" "server_errors" {
  for_each            = local.gateways
  alarm_name          = "${local.stack}-server-errors"
  alarm_description   = "Gateways answer 5xx."
  namespace           = "AWS/ApplicationELB"
  metric_name         = "HTTPCode_Target_5XX_Count"
  statistic           = "Sum"
  period              = 60
  evaluation_periods  = 5
  datapoints_to_alarm = 3
  threshold           = 10
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.alarm_actions
  dimensions          = { LoadBalancer = aws_lb.gateway[each.key].arn_suffix }
}
