#!/usr/bin/env bash
# The fake cloud through the `aws` command line, as people use it. Usage: awscli_checks.sh path/to/aws
# Each check is what is expected, as a pattern, and the command. Prints one line per check and `N passed, N failed`.
set -uo pipefail
aws=$1
passed=0 failed=0

# says PATTERN COMMAND…: the command's whole output is as the pattern.
says() {
  local want=$1 got
  shift
  got=$("$aws" "$@" --output text 2>&1)
  # shellcheck disable=SC2053 # it is a pattern
  if [[ $got == $want ]]; then
    passed=$((passed + 1))
    echo "ok    aws $*"
  else
    failed=$((failed + 1))
    printf 'FAIL  aws %s: expected %s, got\n%s\n' "$*" "$want" "$got"
  fi
}

says '*us-west-2' ec2 describe-regions --query 'Regions[].RegionName'
says $'2\t8192' ec2 describe-instance-types --instance-types m5.large --query 'InstanceTypes[].[VCpuInfo.DefaultVCpus, MemoryInfo.SizeInMiB]'
says $'H100\t8' ec2 describe-instance-types --instance-types p5.48xlarge --query 'InstanceTypes[].GpuInfo.Gpus[].[Name, Count]'
says '*(InvalidInstanceType)*' ec2 describe-instance-types --instance-types zz9.large
says '*us-west-2a*' ec2 describe-instance-type-offerings --location-type availability-zone --filters Name=instance-type,Values=m5.large
says '0.*' ec2 describe-spot-price-history --instance-types m5.large --product-descriptions Linux/UNIX --max-items 1 --query 'SpotPriceHistory[].SpotPrice'
says '4' ec2 describe-subnets --filters Name=tag:karpenter.sh/discovery,Values=sawhorse --query 'length(Subnets)'
says '0' ec2 describe-capacity-reservations --query 'length(CapacityReservations)'
says 'p5.48xlarge*' ec2 describe-capacity-block-offerings --instance-type p5.48xlarge --instance-count 1 --capacity-duration-hours 24 --query 'CapacityBlockOfferings[].InstanceType'
says '' ec2 describe-instances --page-size 5 --query 'Reservations[].Instances[?State.Name==`running`].InstanceId'
says '*(DryRunOperation)*' ec2 describe-instance-status --dry-run
says 'us-west-2*' ec2 get-spot-placement-scores --target-capacity 5 --instance-types m5.large --query 'SpotPlacementScores[].Region'

alias=/aws/service/eks/optimized-ami/1.35/amazon-linux-2023/x86_64/standard/recommended/image_id
image=$("$aws" ssm get-parameter --name "$alias" --query Parameter.Value --output text)
says 'x86_64' ec2 describe-images --image-ids "$image" --query 'Images[].Architecture'
says '*(ParameterNotFound)*' ssm get-parameter --name /none
says '*(DryRunOperation)*' ec2 run-instances --image-id "$image" --instance-type m5.large --dry-run
id=$("$aws" ec2 run-instances --image-id "$image" --instance-type m5.large --count 1 \
  --tag-specifications 'ResourceType=instance,Tags=[{Key=Name,Value=by-hand}]' --query 'Instances[].InstanceId' --output text)
says '' ec2 wait instance-running --instance-ids "$id"
says "$id" ec2 describe-instances --filters Name=tag:Name,Values=by-* Name=instance-state-name,Values=running --query 'Reservations[].Instances[].InstanceId'
says '' ec2 create-tags --resources "$id" --tags Key=owner,Value=me
says 'me' ec2 describe-tags --filters "Name=resource-id,Values=$id" Name=key,Values=owner --query 'Tags[].Value'
says 'stopping' ec2 stop-instances --instance-ids "$id" --query 'StoppingInstances[].CurrentState.Name'
says '' ec2 wait instance-stopped --instance-ids "$id"
says 'pending' ec2 start-instances --instance-ids "$id" --query 'StartingInstances[].CurrentState.Name'
says 'shutting-down' ec2 terminate-instances --instance-ids "$id" --query 'TerminatingInstances[].CurrentState.Name'
says '' ec2 wait instance-terminated --instance-ids "$id"
says '*(InvalidInstanceID.NotFound)*' ec2 terminate-instances --instance-ids i-00000000000000000

says '1' ec2 create-launch-template --launch-template-name by-hand --launch-template-data "{\"ImageId\": \"$image\", \"InstanceType\": \"m5.large\"}" --query LaunchTemplate.LatestVersionNumber
says $'by-hand' ec2 describe-launch-templates --launch-template-names by-hand --query 'LaunchTemplates[].LaunchTemplateName'
says 'spot' ec2 create-fleet --type instant --target-capacity-specification TotalTargetCapacity=1,DefaultTargetCapacityType=spot \
  --launch-template-configs 'LaunchTemplateSpecification={LaunchTemplateName=by-hand,Version=$Latest}' --query 'Instances[].Lifecycle'
says 'by-hand' ec2 delete-launch-template --launch-template-name by-hand --query LaunchTemplate.LaunchTemplateName

# This command line has addresses of its own for SQS unless it is given one as an option.
queue=$AWS_ENDPOINT_URL/123456789012/sawhorse
says "$queue" sqs get-queue-url --queue-name sawhorse --endpoint-url "$AWS_ENDPOINT_URL"
says "$queue" sqs list-queues --endpoint-url "$AWS_ENDPOINT_URL" --query 'QueueUrls[]'
says '' sqs purge-queue --queue-url "$queue" --endpoint-url "$AWS_ENDPOINT_URL"
says '????????????????????????????????' sqs send-message --queue-url "$queue" --message-body hello --endpoint-url "$AWS_ENDPOINT_URL" --query MD5OfMessageBody
says 'hello' sqs receive-message --queue-url "$queue" --endpoint-url "$AWS_ENDPOINT_URL" --query 'Messages[].Body'
says 'None' iam list-instance-profiles --path-prefix /karpenter/ --query 'InstanceProfiles[0].Path'
says 'by-hand' iam create-instance-profile --instance-profile-name by-hand --query InstanceProfile.InstanceProfileName
says '*(EntityAlreadyExists)*' iam create-instance-profile --instance-profile-name by-hand
says '' iam delete-instance-profile --instance-profile-name by-hand
says '*AmazonEC2*' pricing get-products --service-code AmazonEC2 --max-items 1 --region us-east-1
says 'sawhorse' eks list-clusters --query 'clusters[]'
says '1.*' eks describe-cluster --name sawhorse --query cluster.version
says '123456789012' sts get-caller-identity --query Account

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
