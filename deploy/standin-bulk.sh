#!/bin/sh
# Bulk jobs in a state machine, in an offline stand-in of AWS; see standin_bulk.py.
set -eu
PENSTOCK_REQUIREMENTS=requirements-standin.txt exec "$(dirname "$0")/python.sh" standin_bulk.py "$@"
