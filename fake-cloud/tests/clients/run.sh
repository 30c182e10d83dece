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

# The same server through the command line, as people use it. Each command must succeed; its output is for people.
export AWS_ENDPOINT_URL=$url AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_DEFAULT_REGION=us-west-2 AWS_PAGER=
commands=0
while read -r command; do
  # shellcheck disable=SC2086 # a command is words
  "$work/venv/bin/aws" $command >"$work/said" 2>&1 || { echo "FAIL  aws $command"; cat "$work/said"; exit 1; }
  commands=$((commands + 1))
done <<'COMMANDS'
ec2 describe-regions
ec2 describe-instance-types --instance-types m5.large p5.48xlarge
ec2 describe-instance-type-offerings --location-type availability-zone --filters Name=instance-type,Values=m5.*
ec2 describe-spot-price-history --instance-types m5.large --product-descriptions Linux/UNIX --max-items 3
ec2 describe-subnets --filters Name=tag:karpenter.sh/discovery,Values=sawhorse
ec2 describe-capacity-reservations
ec2 describe-capacity-block-offerings --instance-type p5.48xlarge --instance-count 1 --capacity-duration-hours 24
ec2 describe-instances --page-size 5
ec2 describe-instance-status --include-all-instances
ec2 get-spot-placement-scores --target-capacity 5 --instance-types m5.large
sqs list-queues
sqs get-queue-url --queue-name sawhorse
iam list-instance-profiles --path-prefix /karpenter/
ssm get-parameter --name /aws/service/eks/optimized-ami/1.35/amazon-linux-2023/x86_64/standard/recommended/image_id
pricing get-products --service-code AmazonEC2 --max-items 1
eks list-clusters
eks describe-cluster --name sawhorse
sts get-caller-identity
COMMANDS
echo "$commands commands of the aws command line succeeded"
