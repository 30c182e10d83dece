#!/usr/bin/env bash
# Starts the fake cloud on a free port and lets boto3 check it. Usage: run.sh path/to/sawhorse
set -euo pipefail
sawhorse=$(realpath "$1")
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'kill "${cloud:-}" 2>/dev/null || true; rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet -r "$here/requirements.txt"
"$sawhorse" cloud --port 0 2>"$work/log" &
cloud=$!
for _ in $(seq 100); do
  url=$(sed -n 's/^cloud *\(http:[^ ]*\).*/\1/p' "$work/log")
  [ -n "$url" ] && break
  kill -0 "$cloud" || { cat "$work/log" >&2; exit 1; }
  sleep 0.1
done
"$work/venv/bin/python" "$here/boto3_conformance.py" "$url"
