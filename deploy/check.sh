#!/bin/sh
# All checks of this folder; see check.py.
set -eu
PENSTOCK_REQUIREMENTS=requirements-check.txt exec "$(dirname "$0")/python.sh" check.py "$@"
