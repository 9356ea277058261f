#!/bin/sh
# Runs a script of this folder in a virtual environment below target/, made at the first call and again when its pins change. Each list of
# pins has its own, as they need different versions of boto3.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
requirements="$here/${PENSTOCK_REQUIREMENTS:-requirements.txt}"
venv="$here/../target/penstock/deploy/$(basename "$requirements" .txt)"
if ! cmp -s "$requirements" "$venv/installed"; then
  echo "deploy: installing $(basename "$requirements") below target/penstock/deploy" >&2
  mkdir -p "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$requirements"
  cp "$requirements" "$venv/installed"
fi
script=$1
shift
unset PENSTOCK_REQUIREMENTS
exec "$venv/bin/python" "$here/$script" "$@"
