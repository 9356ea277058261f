#!/bin/sh
# Deletes everything that deploy.sh made, the learned state included.
exec python3 "$(dirname "$0")/deploy.py" down "$@"
