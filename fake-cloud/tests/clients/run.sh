#!/usr/bin/env bash
# Lets boto3, the aws command line, aws-sdk-go-v2 and a browser check the fake cloud, each a new one on a free port, in
# throw-away surroundings. Usage: run.sh path/to/sawhorse
set -euo pipefail
sawhorse=$(realpath "$1")
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'kill "${cloud:-}" 2>/dev/null || true; rm -rf "$work"' EXIT
export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_REGION=us-west-2 AWS_DEFAULT_REGION=us-west-2 AWS_PAGER=
export AWS_EC2_METADATA_DISABLED=true AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null
checks=0 wrong=0

# client NAME COMMAND…: the command against a new cloud; its last line says how many checks passed and failed.
client() {
  local name=$1 last
  shift
  : >"$work/log"
  "$sawhorse" cloud --port 0 2>"$work/log" &
  cloud=$!
  for _ in $(seq 100); do
    AWS_ENDPOINT_URL=$(sed -n 's/^cloud *\(http:[^ ]*\).*/\1/p' "$work/log")
    [ -n "$AWS_ENDPOINT_URL" ] && break
    kill -0 "$cloud" || { cat "$work/log" >&2; exit 1; }
    sleep 0.1
  done
  export AWS_ENDPOINT_URL
  "$work/venv/bin/python" "$here/hasten.py" "$AWS_ENDPOINT_URL"
  "$@" >"$work/said" 2>&1 || true
  kill "$cloud"
  wait "$cloud" 2>/dev/null || true
  last=$(tail -n 1 "$work/said")
  if [[ $last =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]]; then
    checks=$((checks + BASH_REMATCH[1])) wrong=$((wrong + BASH_REMATCH[2]))
    grep -v '^ok' "$work/said" | sed "s/^/$name: /"
  else
    wrong=$((wrong + 1))
    sed "s/^/$name: /" "$work/said"
  fi
}

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet -r "$here/requirements.txt"
client boto3 "$work/venv/bin/python" "$here/boto3_conformance.py"
client awscli "$here/awscli_checks.sh" "$work/venv/bin/aws"
if command -v go >/dev/null; then
  (cd "$here/go" && go build -o "$work/go-client" .)
  client aws-sdk-go-v2 "$work/go-client"
else
  echo "aws-sdk-go-v2: skipped, Go is not there"
fi
if command -v chromium >/dev/null && command -v chromedriver >/dev/null; then
  client chromium "$work/venv/bin/python" "$here/ui_check.py"
else
  echo "chromium: skipped, it or chromedriver is not there"
fi
echo "$checks checks of the clients passed, $wrong failed"
[ "$wrong" -eq 0 ]
