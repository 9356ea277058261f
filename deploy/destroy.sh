#!/bin/sh
# Deletes everything that deploy.sh made, the learned state included.
set -eu
exec "$(dirname "$0")/python.sh" deploy.py down "$@"
