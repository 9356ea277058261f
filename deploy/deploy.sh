#!/bin/sh
# One command to deploy; run it again to update. `deploy/deploy.sh --help` lists the arguments, docs/deploy.md explains them.
exec python3 "$(dirname "$0")/deploy.py" up "$@"
