"""The vendor's own models of its services, held against every answer of the fake cloud.

A raw answer is walked along botocore's model of its operation. Told are: an element or key that the model does not have, a value
that is not of its member's type or not one of its enumeration, a member that the model requires and that is not there. EC2's
model requires nothing, so CONTRACT says for every operation what callers read.

Which operations are served the cloud is asked itself, by each name in the models: each must have been answered, and have its row.
"""

import http.client
import json
import urllib.parse
import xml.etree.ElementTree as ElementTree

import botocore.utils

# What a caller that manages nodes reads from each answer. `[]` steps into every element of a list, and a leading `?` says
# that some element has it (a GPU is not in every machine); without it, all elements must.
CONTRACT = {
    "DescribeInstanceTypes": [
        "InstanceTypes[].InstanceType", "InstanceTypes[].BareMetal", "?InstanceTypes[].Hypervisor",
        "InstanceTypes[].SupportedUsageClasses", "InstanceTypes[].ProcessorInfo.SupportedArchitectures",
        "?InstanceTypes[].ProcessorInfo.Manufacturer", "?InstanceTypes[].ProcessorInfo.SustainedClockSpeedInGhz",
        "?InstanceTypes[].ProcessorInfo.SupportedFeatures", "InstanceTypes[].VCpuInfo.DefaultVCpus",
        "InstanceTypes[].MemoryInfo.SizeInMiB", "?InstanceTypes[].InstanceStorageInfo.TotalSizeInGB",
        "?InstanceTypes[].InstanceStorageInfo.NvmeSupport", "InstanceTypes[].EbsInfo.EbsOptimizedSupport",
        "?InstanceTypes[].EbsInfo.EbsOptimizedInfo.MaximumBandwidthInMbps",
        "InstanceTypes[].NetworkInfo.NetworkCards[].NetworkCardIndex",
        "InstanceTypes[].NetworkInfo.NetworkCards[].MaximumNetworkInterfaces",
        "InstanceTypes[].NetworkInfo.DefaultNetworkCardIndex", "InstanceTypes[].NetworkInfo.Ipv4AddressesPerInterface",
        "?InstanceTypes[].NetworkInfo.EfaInfo.MaximumEfaInterfaces",
        "InstanceTypes[].NetworkInfo.EncryptionInTransitSupported", "InstanceTypes[].NetworkInfo.EnaSupport",
        "?InstanceTypes[].GpuInfo.Gpus[].Name", "?InstanceTypes[].GpuInfo.Gpus[].Manufacturer",
        "?InstanceTypes[].GpuInfo.Gpus[].Count", "?InstanceTypes[].GpuInfo.Gpus[].MemoryInfo.SizeInMiB",
        "?InstanceTypes[].NeuronInfo.NeuronDevices[].Name", "?InstanceTypes[].NeuronInfo.NeuronDevices[].Count",
        "?InstanceTypes[].NeuronInfo.NeuronDevices[].CoreInfo.Count", "InstanceTypes[].NitroEnclavesSupport",
        "InstanceTypes[].PlacementGroupInfo.SupportedStrategies",
    ],
    "DescribeInstanceTypeOfferings": ["InstanceTypeOfferings[].InstanceType", "InstanceTypeOfferings[].Location"],
    "DescribeAvailabilityZones": ["AvailabilityZones[].ZoneName", "AvailabilityZones[].ZoneId", "AvailabilityZones[].State"],
    "DescribeRegions": ["Regions[].RegionName", "Regions[].Endpoint"],
    "DescribeSpotPriceHistory": [
        "SpotPriceHistory[].SpotPrice", "SpotPriceHistory[].Timestamp", "SpotPriceHistory[].InstanceType",
        "SpotPriceHistory[].AvailabilityZone",
    ],
    "DescribeSubnets": [
        "Subnets[].SubnetId", "Subnets[].AvailabilityZone", "Subnets[].AvailabilityZoneId",
        "Subnets[].AvailableIpAddressCount",
    ],
    "DescribeSecurityGroups": ["SecurityGroups[].GroupId", "SecurityGroups[].GroupName"],
    "DescribeVpcs": ["Vpcs[].VpcId", "Vpcs[].CidrBlock"],
    "DescribeImages": [
        "Images[].ImageId", "Images[].Name", "Images[].Architecture", "Images[].CreationDate",
    ],
    "DescribeCapacityReservations": [
        "?CapacityReservations[].CapacityReservationId", "?CapacityReservations[].AvailableInstanceCount",
        "?CapacityReservations[].InstanceType", "?CapacityReservations[].AvailabilityZone", "?CapacityReservations[].OwnerId",
        "?CapacityReservations[].InstanceMatchCriteria", "?CapacityReservations[].ReservationType",
        "?CapacityReservations[].State", "?CapacityReservations[].Interruptible",
    ],
    "DescribePlacementGroups": ["?PlacementGroups[].GroupId", "?PlacementGroups[].GroupName", "?PlacementGroups[].Strategy"],
    "DescribeInstanceStatus": [
        "InstanceStatuses[].InstanceId", "InstanceStatuses[].InstanceStatus.Status",
        "InstanceStatuses[].SystemStatus.Status",
    ],
    "DescribeLaunchTemplates": ["LaunchTemplates[].LaunchTemplateId", "LaunchTemplates[].LaunchTemplateName"],
    "DescribeLaunchTemplateVersions": [
        "LaunchTemplateVersions[].VersionNumber", "LaunchTemplateVersions[].LaunchTemplateData.ImageId",
    ],
    "CreateLaunchTemplate": ["LaunchTemplate.LaunchTemplateId", "LaunchTemplate.LaunchTemplateName"],
    "CreateFleet": [
        "FleetId", "Errors", "Instances[].InstanceIds", "Instances[].InstanceType", "Instances[].Lifecycle",
        "Instances[].LaunchTemplateAndOverrides.Overrides.ImageId",
        "Instances[].LaunchTemplateAndOverrides.Overrides.AvailabilityZone",
        "Instances[].LaunchTemplateAndOverrides.Overrides.SubnetId",
    ],
    "DescribeInstances": [
        "Reservations[].Instances[].InstanceId", "Reservations[].Instances[].State.Name",
        "Reservations[].Instances[].State.Code", "Reservations[].Instances[].ImageId",
        "Reservations[].Instances[].InstanceType", "Reservations[].Instances[].LaunchTime",
        "Reservations[].Instances[].Placement.AvailabilityZone", "Reservations[].Instances[].Placement.AvailabilityZoneId",
        "Reservations[].Instances[].Placement.Tenancy", "?Reservations[].Instances[].SubnetId",
        "?Reservations[].Instances[].SecurityGroups[].GroupId", "?Reservations[].Instances[].Tags[].Key",
        "?Reservations[].Instances[].SpotInstanceRequestId", "?Reservations[].Instances[].InstanceLifecycle",
        "Reservations[].Instances[].CapacityReservationSpecification.CapacityReservationPreference",
        "?Reservations[].Instances[].NetworkInterfaces[].InterfaceType",
    ],
    "TerminateInstances": [
        "TerminatingInstances[].InstanceId", "TerminatingInstances[].CurrentState.Name",
        "TerminatingInstances[].PreviousState.Name",
    ],
    "CreateCapacityReservation": ["CapacityReservation.CapacityReservationId", "CapacityReservation.State"],
    "DescribeFleets": ["Fleets[].FleetId", "Fleets[].FleetState", "Fleets[].Instances[].InstanceIds"],
    "GetQueueUrl": ["QueueUrl"],
    "ReceiveMessage": ["?Messages[].MessageId", "?Messages[].ReceiptHandle", "?Messages[].Body", "?Messages[].Attributes.SentTimestamp"],
    "GetInstanceProfile": [
        "InstanceProfile.InstanceProfileName", "InstanceProfile.Path", "InstanceProfile.Roles[].RoleName",
        "InstanceProfile.CreateDate", "InstanceProfile.Tags[].Key",
    ],
    "ListInstanceProfiles": ["InstanceProfiles[].InstanceProfileName", "InstanceProfiles[].Path", "IsTruncated"],
    "DescribeSpotInstanceRequests": ["SpotInstanceRequests[].SpotInstanceRequestId", "SpotInstanceRequests[].State"],
    "GetManagedResource": ["arn", "zonalShifts"],
    "GetParameter": ["Parameter.Name", "Parameter.Value", "Parameter.Type", "Parameter.Version"],
    "GetParameters": ["Parameters[].Name", "Parameters[].Value", "InvalidParameters"],
    "GetProducts": ["FormatVersion", "PriceList"],
    "GetCallerIdentity": ["UserId", "Account", "Arn"],
    "DescribeCluster": [
        "cluster.name", "cluster.endpoint", "cluster.version", "cluster.arn",
        "cluster.kubernetesNetworkConfig.serviceIpv4Cidr",
    ],
    "AddRoleToInstanceProfile": [],
    "CancelCapacityReservation": ["Return"],
    "CancelSpotInstanceRequests": [
        "CancelledSpotInstanceRequests[].SpotInstanceRequestId", "CancelledSpotInstanceRequests[].State",
    ],
    "ChangeMessageVisibility": [],
    "CreateInstanceProfile": ["InstanceProfile.InstanceProfileName", "InstanceProfile.Path", "InstanceProfile.Arn"],
    "CreateInterruptibleCapacityReservationAllocation": [
        "SourceCapacityReservationId", "TargetInstanceCount", "Status", "InterruptionType",
    ],
    "CreateLaunchTemplateVersion": [
        "LaunchTemplateVersion.VersionNumber", "LaunchTemplateVersion.LaunchTemplateId",
        "LaunchTemplateVersion.LaunchTemplateData.ImageId",
    ],
    "CreatePlacementGroup": ["PlacementGroup.GroupId", "PlacementGroup.GroupName", "PlacementGroup.State"],
    "CreateQueue": ["QueueUrl"],
    "CreateRole": ["Role.RoleName", "Role.Arn"],
    "CreateTags": [],
    "DeleteFleets": [
        "SuccessfulFleetDeletions[].FleetId", "SuccessfulFleetDeletions[].CurrentFleetState",
        "SuccessfulFleetDeletions[].PreviousFleetState",
    ],
    "DeleteInstanceProfile": [],
    "DeleteLaunchTemplate": ["LaunchTemplate.LaunchTemplateId"],
    "DeleteLaunchTemplateVersions": [
        "SuccessfullyDeletedLaunchTemplateVersions[].VersionNumber",
        "UnsuccessfullyDeletedLaunchTemplateVersions[].ResponseError.Code",
    ],
    "DeleteMessage": [],
    "DeleteMessageBatch": ["Successful[].Id"],
    "DeletePlacementGroup": [],
    "DeleteQueue": [],
    "DeleteRole": [],
    "DeleteTags": [],
    "DescribeCapacityBlockOfferings": [
        "CapacityBlockOfferings[].CapacityBlockOfferingId", "CapacityBlockOfferings[].UpfrontFee",
        "CapacityBlockOfferings[].CurrencyCode", "CapacityBlockOfferings[].StartDate", "CapacityBlockOfferings[].EndDate",
        "CapacityBlockOfferings[].AvailabilityZone", "CapacityBlockOfferings[].InstanceCount",
        "CapacityBlockOfferings[].CapacityBlockDurationHours",
    ],
    "DescribeNetworkInterfaces": [
        "NetworkInterfaces[].NetworkInterfaceId", "NetworkInterfaces[].Status", "NetworkInterfaces[].SubnetId",
        "NetworkInterfaces[].PrivateIpAddress", "NetworkInterfaces[].Attachment.InstanceId",
    ],
    "DescribeTags": ["Tags[].Key", "Tags[].Value", "Tags[].ResourceId", "Tags[].ResourceType"],
    "DescribeVolumes": [
        "Volumes[].VolumeId", "Volumes[].Size", "Volumes[].State", "Volumes[].VolumeType", "Volumes[].AvailabilityZone",
        "Volumes[].Attachments[].InstanceId", "Volumes[].Attachments[].Device",
    ],
    "GetConsoleOutput": ["InstanceId", "Timestamp", "Output"],
    "GetParametersByPath": ["Parameters[].Name", "Parameters[].Value"],
    "GetQueueAttributes": ["?Attributes.ApproximateNumberOfMessages", "?Attributes.QueueArn"],
    "GetRole": ["Role.RoleName", "Role.Arn", "Role.AssumeRolePolicyDocument"],
    "GetSpotPlacementScores": ["SpotPlacementScores[].Region", "SpotPlacementScores[].Score"],
    "ListClusters": ["clusters"],
    "ListInstanceProfilesForRole": ["InstanceProfiles[].InstanceProfileName", "IsTruncated"],
    "ListQueues": ["?QueueUrls"],
    "ListRoles": ["Roles[].RoleName"],
    "ModifyCapacityReservation": ["Return"],
    "ModifyLaunchTemplate": ["LaunchTemplate.DefaultVersionNumber"],
    "PurchaseCapacityBlock": [
        "CapacityReservation.CapacityReservationId", "CapacityReservation.StartDate", "CapacityReservation.EndDate",
        "CapacityReservation.ReservationType",
    ],
    "PurgeQueue": [],
    "RebootInstances": [],
    "RemoveRoleFromInstanceProfile": [],
    "RunInstances": [
        "ReservationId", "OwnerId", "Instances[].InstanceId", "Instances[].State.Name", "Instances[].Placement.AvailabilityZone",
        "Instances[].ClientToken",
    ],
    "SendMessage": ["MessageId", "MD5OfMessageBody"],
    "SendMessageBatch": ["Successful[].MessageId", "Successful[].MD5OfMessageBody"],
    "SetQueueAttributes": [],
    "StartInstances": [
        "StartingInstances[].InstanceId", "StartingInstances[].CurrentState.Name", "StartingInstances[].PreviousState.Name",
    ],
    "StopInstances": [
        "StoppingInstances[].InstanceId", "StoppingInstances[].CurrentState.Name", "StoppingInstances[].PreviousState.Name",
    ],
    "TagInstanceProfile": [],
    "UpdateInterruptibleCapacityReservationAllocation": [
        "InterruptibleCapacityReservationId", "SourceCapacityReservationId", "InstanceCount", "TargetInstanceCount", "Status",
    ],
}

SERVICES = ("ec2", "iam", "sts", "sqs", "ssm", "pricing", "eks", "arc-zonal-shift")
PROBLEMS = []  # (operation, what is wrong and where)
SERVED = {}  # operation -> parsed answers
# Values that EC2 gave out before botocore's model had them.
NEWER = {("SupportedAdditionalProcessorFeature", "metal-compatibility")}
# Served, but for fleets that cannot be made here.
ALWAYS_REFUSED = {"DescribeFleetInstances"}
# What does not count as a member of an answer in XML.
ENVELOPE = ("requestId", "ResponseMetadata")


def scalar(shape, value):
    """Why this text, or value of JSON, is none of the shape; None if it is."""
    kind, text = shape.type_name, value if isinstance(value, str) else None
    try:
        if kind == "boolean":
            good = value is True or value is False or text in ("true", "false")
        elif kind in ("integer", "long"):
            good = not isinstance(value, (bool, float)) and int(value) is not None
        elif kind in ("float", "double"):
            good = not isinstance(value, bool) and float(value) is not None
        elif kind == "timestamp":
            good = botocore.utils.parse_timestamp(value) is not None
        elif kind == "string":
            known = getattr(shape, "enum", None)
            good = text is not None and (not known or text in known or (shape.name, text) in NEWER)
        else:
            good = kind == "blob"
    except (TypeError, ValueError):
        good = False
    return None if good else f"`{value}` is no {kind}" + (f" of {shape.name}" if getattr(shape, "enum", None) else "")


def walk_xml(shape, element, path, root=False):
    """Yields what is wrong below `element`."""
    if shape.type_name == "structure":
        members = {member.serialization.get("name", name): (name, member) for name, member in shape.members.items()}
        seen = set()
        for child in element:
            tag = child.tag.split("}")[-1]
            if tag in members:
                name, member = members[tag]
                seen.add(name)
                yield from walk_xml(member, child, f"{path}.{tag}")
            elif not (root and tag in ENVELOPE):
                yield f"{path}.{tag} is not in the model"
        yield from (f"{path}.{name} is missing" for name in shape.required_members if name not in seen)
    elif shape.type_name == "list":
        item = shape.member.serialization.get("name", "member")
        for child in element:
            tag = child.tag.split("}")[-1]
            if tag == item:
                yield from walk_xml(shape.member, child, f"{path}[]")
            else:
                yield f"{path}.{tag} is not in the model"
    elif shape.type_name != "map":
        wrong = "it has elements" if len(element) else scalar(shape, element.text or "")
        if wrong:
            yield f"{path}: {wrong}"


def walk_json(shape, value, path):
    """Yields what is wrong within `value`."""
    if shape.type_name == "structure":
        if not isinstance(value, dict):
            yield f"{path}: `{value}` is no structure"
            return
        members = {member.serialization.get("name", name): member for name, member in shape.members.items()}
        for key, child in value.items():
            if key in members:
                yield from walk_json(members[key], child, f"{path}.{key}")
            else:
                yield f"{path}.{key} is not in the model"
        yield from (f"{path}.{name} is missing" for name in shape.required_members if name not in value)
    elif shape.type_name == "list":
        if not isinstance(value, list):
            yield f"{path}: `{value}` is no list"
            return
        for child in value:
            yield from walk_json(shape.member, child, f"{path}[]")
    elif shape.type_name == "map":
        for key, child in value.items():
            yield from walk_json(shape.key, key, f"{path}.{key}")
            yield from walk_json(shape.value, child, f"{path}.{key}")
    else:
        wrong = scalar(shape, value)
        if wrong:
            yield f"{path}: {wrong}"


def before_parse(operation_model, response_dict, **_):
    """Compares the raw answer with the model; runs before botocore parses it."""
    shape = operation_model.output_shape
    if shape is None or response_dict["status_code"] >= 300 or not response_dict["body"]:
        return
    name = operation_model.name
    if operation_model.metadata["protocol"] in ("ec2", "query"):
        root = ElementTree.fromstring(response_dict["body"])
        if "resultWrapper" in shape.serialization:
            wrapped = root.find("{*}" + shape.serialization["resultWrapper"])
            root = root if wrapped is None else wrapped
        wrong = walk_xml(shape, root, name, root=True)
    else:
        wrong = walk_json(shape, json.loads(response_dict["body"]), name)
    PROBLEMS.extend((name, text) for text in wrong)


def after_call(model, parsed, http_response, **_):
    """Keeps parsed answers for the contract check."""
    if http_response.status_code < 300:
        SERVED.setdefault(model.name, []).append(parsed)


def watch(client):
    """Has every answer to this client looked at."""
    client.meta.events.register("before-parse", before_parse)
    client.meta.events.register("after-call", after_call)


def values_at(value, steps):
    """All values (or missing markers, None) at a path such as ["Subnets[]", "SubnetId"]."""
    if not steps:
        return [value]
    step, rest = steps[0], steps[1:]
    inner = value.get(step.removesuffix("[]")) if isinstance(value, dict) else None
    if inner is None:
        return [None]
    if step.endswith("[]"):
        return [found for element in inner for found in values_at(element, rest)]
    return values_at(inner, rest)


def is_served(connection, model, operation):
    """Whether the cloud knows the operation: asked without what it needs, so that nothing comes of it."""
    authorization = "AWS4-HMAC-SHA256 Credential=test/20260101/us-west-2/x/aws4_request, SignedHeaders=host, Signature=0"
    headers, protocol = {"Authorization": authorization}, model.metadata["protocol"]
    method, path, body = "POST", "/", "{}"
    if protocol in ("ec2", "query"):
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        body = urllib.parse.urlencode({"Action": operation, "Version": model.api_version, "DryRun": "true"})
    elif protocol == "json":
        headers["X-Amz-Target"] = f"{model.metadata['targetPrefix']}.{operation}"
    else:
        method, path = (model.operation_model(operation).http[key] for key in ("method", "requestUri"))
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    said = answer.getheader("x-amzn-errortype", "") + answer.read().decode()
    return "InvalidAction" not in said and "UnknownOperation" not in said


def served_operations(endpoint, session):
    """Every operation of the models that the cloud knows."""
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(endpoint).netloc, timeout=60)
    for service in SERVICES:
        model = session.get_service_model(service)
        yield from (name for name in model.operation_names if is_served(connection, model, name))


def report(check, endpoint, session):
    """What became of the answers: one check for each operation that is served, and for what callers read of it."""
    served = sorted(served_operations(endpoint, session))
    check("the models' operations are asked for", len(served) > 70, len(served))
    for operation in sorted({*served, *CONTRACT} - ALWAYS_REFUSED):
        answers = SERVED.get(operation, [])
        if not check(f"{operation} is served and was answered", operation in served and bool(answers)):
            continue
        wrong = sorted({text for name, text in PROBLEMS if name == operation})
        check(f"{operation}: {len(answers)} answers are as its model says", not wrong, wrong[:5])
        paths, missing = CONTRACT.get(operation, ["a row of CONTRACT"]), []
        for path in paths:
            some = path.startswith("?")
            found = [value for answer in answers for value in values_at(answer, path.removeprefix("?").split("."))]
            if not (any(v is not None for v in found) if some else found and all(v is not None for v in found)):
                missing.append(f"{path}, {sum(value is None for value in found)} of {len(found)}")
        check(f"{operation}: the {len(paths)} members that callers read are there", not missing, missing)
