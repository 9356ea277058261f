#!/bin/sh
# A deployment into an offline stand-in of AWS; see standin.py.
set -eu
PENSTOCK_REQUIREMENTS=requirements-standin.txt exec "$(dirname "$0")/python.sh" standin.py "$@"
