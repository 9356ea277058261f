#!/bin/sh
# Runs a script of this folder in a virtual environment below target/, made at the first call and again when its pins change.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
venv="$here/../target/penstock/deploy-venv"
requirements="$here/${PENSTOCK_REQUIREMENTS:-requirements.txt}"
stamp="$venv/$(basename "$requirements").installed"
if ! cmp -s "$requirements" "$stamp"; then
  echo "deploy: installing $(basename "$requirements") into target/penstock/deploy-venv" >&2
  mkdir -p "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$requirements"
  cp "$requirements" "$stamp"
fi
script=$1
shift
exec "$venv/bin/python" "$here/$script" "$@"
