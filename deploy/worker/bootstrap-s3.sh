#!/bin/sh
# Entry point of a worker whose model lies in S3: fetches the model folder into /tmp, then becomes the worker.
# It needs sh, curl and sed, which the provided.al2023 runtime has. The worker checks every file's digest against model.toml; model.toml
# itself is named by a prefix that holds its digest. Lambda allows ten seconds for this and the load.
set -eu

case "$PENSTOCK_MODEL_S3" in
  s3://?*/?*) ;;
  *) echo "PENSTOCK_MODEL_S3 is not s3://bucket/prefix" >&2; exit 1 ;;
esac
location=${PENSTOCK_MODEL_S3#s3://}
bucket=${location%%/*}
prefix=${location#*/}
folder=/tmp/penstock-model

endpoint=${PENSTOCK_S3_ENDPOINT:-}
if [ -n "$endpoint" ]; then base="$endpoint/$bucket/$prefix"; else base="https://$bucket.s3.$AWS_REGION.amazonaws.com/$prefix"; fi

# Credentials go in by standard input: arguments can be read by every process.
fetch() {
  curl --silent --show-error --fail --retry 2 --max-time 9 --aws-sigv4 "aws:amz:$AWS_REGION:s3" --config - --output "$folder/$1" "$base/$1" <<CONFIG
user = "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY"
header = "x-amz-security-token: ${AWS_SESSION_TOKEN:-}"
CONFIG
}

# A process that Lambda starts again after a crash finds what the first one fetched.
if [ ! -e "$folder/complete" ]; then
  rm -rf "$folder"
  mkdir -p "$folder"
  fetch model.toml
  sed -n 's/^[[:space:]]*file = "\([A-Za-z0-9._-]*\)"$/\1/p' "$folder/model.toml" | while read -r file; do
    case "$file" in .*) echo "model.toml names a hidden file" >&2; exit 1 ;; esac
    fetch "$file"
  done
  : > "$folder/complete"
fi
export PENSTOCK_MODEL_DIR="$folder"
exec "$(dirname "$0")/penstock-worker"
