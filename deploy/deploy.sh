#!/bin/sh
# One command to deploy; run it again to update. `deploy/deploy.sh --help` lists the arguments, docs/deploy.md explains them.
set -eu
exec "$(dirname "$0")/python.sh" deploy.py up "$@"
