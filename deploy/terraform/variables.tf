variable "name" {
  description = "Prefix of names."
  type        = string
  default     = "penstock"
}

variable "function_name" {
  description = "Name of the worker function."
  type        = string
}

variable "architecture" {
  description = "Processor of the function."
  type        = string
  default     = "x86_64"
  validation {
    condition     = contains(["x86_64", "arm64"], var.architecture)
    error_message = "Lambda has x86_64 and arm64."
  }
}

variable "worker_zip" {
  description = "The worker's package, made by deploy/release.py. Empty with image_uri."
  type        = string
  default     = ""
}

variable "image_uri" {
  description = "Image in ECR instead of a zip; for models over 250 MB."
  type        = string
  default     = ""
}

variable "model_dir" {
  description = "Folder of a model that the worker fetches from S3. Empty if it is in the zip or the image."
  type        = string
  default     = ""
}

variable "base_memory_mib" {
  description = "Memory of $LATEST, MiB. The ladder is made by `penstock provision`."
  type        = number
  default     = 1769
}

variable "timeout_seconds" {
  description = "Time-out of the function."
  type        = number
  default     = 30
}

variable "ephemeral_storage_mib" {
  description = "Room in /tmp, MiB. Must hold the model if it comes from S3."
  type        = number
  default     = 512
}

variable "reserved_concurrency" {
  description = "A hard bound of cost; -1 leaves the function in the account's pool."
  type        = number
  default     = -1
}

variable "log_retention_days" {
  description = "Days that logs are kept."
  type        = number
  default     = 30
}

variable "alarm_topic_arn" {
  description = "SNS topic that alarms notify; empty shows them in the console only."
  type        = string
  default     = ""
}

variable "budget_usd" {
  description = "Dollars of Lambda a month of the whole account; 0 makes no budget."
  type        = number
  default     = 0
}

variable "budget_email" {
  description = "Told at 80 % and at a forecast of 100 % of the budget."
  type        = string
  default     = ""
}

variable "provisioner_principal_arn" {
  description = "Who may take the provisioner's role; empty is this account by its own policies."
  type        = string
  default     = ""
}

variable "gateway" {
  description = "The gateways' network, host and packages; null deploys the worker only. The archives are those of deploy/release.py and a tar.gz of penstock.toml with models/."
  type = object({
    vpc_id          = string
    subnet_ids      = list(string)
    vpc_cidr        = string
    package         = string
    config          = string
    instance_type   = optional(string, "t4g.medium")
    image_parameter = optional(string, "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64")
    min_instances   = optional(number, 1)
    max_instances   = optional(number, 2)
    is_internal     = optional(bool, true)
    certificate_arn = optional(string, "")
  })
  default = null
  validation {
    condition     = var.gateway == null || try(var.gateway.is_internal || var.gateway.certificate_arn != "", false)
    error_message = "A load balancer on the internet needs a certificate."
  }
}

variable "s3_endpoint_url" {
  description = "Another address of S3 for the worker, such as a VPC endpoint's."
  type        = string
  default     = ""
}

variable "bulk" {
  description = "Whether to make the state machine and the bucket of `penstock bulk run --engine step-functions`."
  type        = bool
  default     = false
}

variable "bulk_work_days" {
  description = "Days that chunks and answers are kept if no job removes them."
  type        = number
  default     = 14
}
