#!/usr/bin/env bash
# Measures the fake cloud beside moto_server, in a throw-away virtual environment. Usage: beside_moto.sh path/to/sawhorse
set -euo pipefail
sawhorse=$(realpath "$1")
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet "moto[ec2,server]==5.2.5"
"$work/venv/bin/python" "$here/beside_moto.py" "$sawhorse" "$work/venv/bin/moto_server"
