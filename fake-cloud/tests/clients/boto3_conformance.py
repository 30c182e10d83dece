#!/usr/bin/env python3
"""Calls every AWS operation that the fake cloud serves with an unmodified boto3, and checks what comes back.

    AWS_ENDPOINT_URL=http://127.0.0.1:PORT python boto3_conformance.py [--kubernetes 1.35]

One line per check; the last line is `N passed, N failed`, and the exit code is 1 if any failed. Checked is behaviour (what is
created is found again, pages add up, errors have AWS's codes and statuses) and shape (see `shapes.py`).
"""

import argparse
import datetime
import json
import os
import sys
import time
import uuid

import boto3
import botocore.config
import botocore.exceptions

import shapes

passed, failed = 0, 0


def check(name, truth, detail=""):
    """One line of the report."""
    global passed, failed
    if truth:
        passed += 1
        print(f"ok    {name}", flush=True)
    else:
        failed += 1
        print(f"FAIL  {name}{': ' + str(detail) if detail != '' else ''}", flush=True)
    return truth


def section(function, *args):
    """Runs a group of checks; an exception fails the group and not the run."""
    try:
        return function(*args)
    except Exception as error:  # noqa: BLE001 - any surprise is a failed check
        check(function.__name__, False, f"{type(error).__name__}: {error}")
        return None


def refused(name, code, status, call, /, **params):
    """Checks that a call is refused with this code and status, and returns the message."""
    try:
        call(**params)
    except botocore.exceptions.ClientError as error:
        got = (error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"])
        check(f"{name} -> {code} {status}", got == (code, status), f"{got} {error.response['Error']['Message']}")
        return error.response["Error"]["Message"]
    check(f"{name} -> {code} {status}", False, "the call succeeded")
    return ""


# --- behaviour ------------------------------------------------------------------------------------------------------


def catalogue(ec2):
    """Instance types and where they are offered."""
    pages = list(ec2.get_paginator("describe_instance_types").paginate(
        Filters=[{"Name": "supported-virtualization-type", "Values": ["hvm"]},
                 {"Name": "processor-info.supported-architecture", "Values": ["x86_64", "arm64"]}],
        PaginationConfig={"PageSize": 100}))
    types = {t["InstanceType"]: t for page in pages for t in page["InstanceTypes"]}
    check("DescribeInstanceTypes pages of at most 100", all(len(page["InstanceTypes"]) <= 100 for page in pages))
    check("DescribeInstanceTypes serves more than 1000 types, each once",
          len(types) > 1000 and sum(len(page["InstanceTypes"]) for page in pages) == len(types), len(types))
    m5 = types["m5.large"]
    check("m5.large has 2 vCPU and 8 GiB",
          (m5["VCpuInfo"]["DefaultVCpus"], m5["MemoryInfo"]["SizeInMiB"]) == (2, 8192))
    check("m5.large takes 3 interfaces of 10 addresses",
          (m5["NetworkInfo"]["MaximumNetworkInterfaces"], m5["NetworkInfo"]["Ipv4AddressesPerInterface"]) == (3, 10))
    p5 = types["p5.48xlarge"]
    check("p5.48xlarge has 8 H100 and 32 EFA",
          (p5["GpuInfo"]["Gpus"][0]["Name"], p5["GpuInfo"]["Gpus"][0]["Count"],
           p5["NetworkInfo"]["EfaInfo"]["MaximumEfaInterfaces"]) == ("H100", 8, 32), p5.get("GpuInfo"))
    named = ec2.describe_instance_types(InstanceTypes=["m5.large", "c5.xlarge"])["InstanceTypes"]
    check("DescribeInstanceTypes by name", sorted(t["InstanceType"] for t in named) == ["c5.xlarge", "m5.large"])
    wild = ec2.describe_instance_types(Filters=[{"Name": "instance-type", "Values": ["p5.*"]}])["InstanceTypes"]
    check("DescribeInstanceTypes by wildcard", "p5.48xlarge" in [t["InstanceType"] for t in wild], len(wild))
    refused("DescribeInstanceTypes dry run", "DryRunOperation", 412, ec2.describe_instance_types, DryRun=True)
    refused("unknown type", "InvalidInstanceType", 400, ec2.describe_instance_types, InstanceTypes=["zz9.large"])
    refused("unknown filter", "InvalidParameterValue", 400, ec2.describe_instance_types,
            Filters=[{"Name": "colour", "Values": ["red"]}])
    refused("page of 3 types", "InvalidParameterValue", 400, ec2.describe_instance_types, MaxResults=3)
    refused("foreign token", "InvalidNextToken", 400, ec2.describe_instance_types, NextToken="bm9uc2Vuc2U", MaxResults=5)

    offers = list(ec2.get_paginator("describe_instance_type_offerings").paginate(
        LocationType="availability-zone", PaginationConfig={"PageSize": 1000}))
    pairs = [(o["InstanceType"], o["Location"]) for page in offers for o in page["InstanceTypeOfferings"]]
    check("DescribeInstanceTypeOfferings pages, each pair once",
          len(offers) > 1 and len(set(pairs)) == len(pairs), f"{len(offers)} pages, {len(pairs)} pairs")
    every = {t["InstanceType"] for page in ec2.get_paginator("describe_instance_types").paginate()
             for t in page["InstanceTypes"]}
    check("exactly the offered types are described", {t for t, _ in pairs} == every, {t for t, _ in pairs} ^ every)
    by_region = ec2.describe_instance_type_offerings(
        Filters=[{"Name": "instance-type", "Values": ["m5.large"]}])["InstanceTypeOfferings"]
    check("offerings default to the region",
          [(o["LocationType"], o["Location"]) for o in by_region] == [("region", ec2.meta.region_name)], by_region)
    return pairs


def network(ec2):
    """Regions, zones, networks."""
    regions = [r["RegionName"] for r in ec2.describe_regions()["Regions"]]
    check("DescribeRegions knows this region", ec2.meta.region_name in regions, regions)
    zones = ec2.describe_availability_zones()["AvailabilityZones"]
    check("DescribeAvailabilityZones are of this region",
          zones and all(z["RegionName"] == ec2.meta.region_name for z in zones), zones[:1])
    refused("unknown zone", "InvalidParameterValue", 400, ec2.describe_availability_zones, ZoneNames=["mars-east-1a"])

    subnets = [s for page in ec2.get_paginator("describe_subnets").paginate(PaginationConfig={"PageSize": 5})
               for s in page["Subnets"]]
    zone_ids = {z["ZoneName"]: z["ZoneId"] for z in zones}
    check("subnets are in known zones",
          subnets and all(zone_ids.get(s["AvailabilityZone"]) == s["AvailabilityZoneId"] for s in subnets))
    one = ec2.describe_subnets(SubnetIds=[subnets[0]["SubnetId"]])["Subnets"]
    check("DescribeSubnets by id", [s["SubnetId"] for s in one] == [subnets[0]["SubnetId"]])
    refused("unknown subnet", "InvalidSubnetID.NotFound", 400, ec2.describe_subnets, SubnetIds=["subnet-00000000000000000"])
    tag = subnets[0]["Tags"][0]
    tagged = ec2.describe_subnets(Filters=[{"Name": f"tag:{tag['Key']}", "Values": [tag["Value"]]}])["Subnets"]
    check("DescribeSubnets by tag", subnets[0]["SubnetId"] in [s["SubnetId"] for s in tagged])
    nothing = ec2.describe_subnets(Filters=[{"Name": "tag-key", "Values": ["no-such-key"]}])["Subnets"]
    check("DescribeSubnets by an absent tag is empty", nothing == [])

    groups = ec2.describe_security_groups()["SecurityGroups"]
    by_name = ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": [groups[0]["GroupName"]]}])
    check("DescribeSecurityGroups by name", groups[0]["GroupId"] in [g["GroupId"] for g in by_name["SecurityGroups"]])
    refused("unknown group", "InvalidGroup.NotFound", 400, ec2.describe_security_groups, GroupIds=["sg-00000000000000000"])
    vpcs = [v["VpcId"] for v in ec2.describe_vpcs()["Vpcs"]]
    check("subnets belong to known VPCs", {s["VpcId"] for s in subnets} <= set(vpcs), vpcs)
    refused("unknown VPC", "InvalidVpcID.NotFound", 400, ec2.describe_vpcs, VpcIds=["vpc-00000000000000000"])
    check("DescribePlacementGroups is empty", ec2.describe_placement_groups()["PlacementGroups"] == [])
    refused("unknown placement group", "InvalidPlacementGroup.Unknown", 400, ec2.describe_placement_groups,
            GroupNames=["none"])
    check("DescribeCapacityReservations is empty", ec2.describe_capacity_reservations(
        Filters=[{"Name": "state", "Values": ["active"]}], MaxResults=1000)["CapacityReservations"] == [])
    refused("unknown reservation", "InvalidCapacityReservationId.NotFound", 400, ec2.describe_capacity_reservations,
            CapacityReservationIds=["cr-00000000000000000"])
    return subnets, groups


def images(ec2, ssm, version):
    """AMI aliases and the images that they name."""
    base = f"/aws/service/eks/optimized-ami/{version}/amazon-linux-2023"
    names = [f"{base}/{arch}/standard/recommended/image_id" for arch in ("x86_64", "arm64")]
    amd64 = ssm.get_parameter(Name=names[0])["Parameter"]["Value"]
    many = ssm.get_parameters(Names=[*names, "/no/such/name"])
    check("GetParameters finds two and names the third",
          (len(many["Parameters"]), many["InvalidParameters"]) == (2, ["/no/such/name"]), many)
    below = [p["Name"] for page in ssm.get_paginator("get_parameters_by_path").paginate(
        Path=base, Recursive=True, PaginationConfig={"PageSize": 10}) for p in page["Parameters"]]
    check("GetParametersByPath pages", set(names) <= set(below), len(below))
    refused("unknown parameter", "ParameterNotFound", 400, ssm.get_parameter, Name="/no/such/name")
    refused("too many names", "ValidationException", 400, ssm.get_parameters, Names=[f"/n/{i}" for i in range(11)])
    ids = [parameter["Value"] for parameter in many["Parameters"]]
    found = ec2.describe_images(Filters=[{"Name": "image-id", "Values": ids}, {"Name": "state", "Values": ["available"]}],
                                IncludeDeprecated=True, MaxResults=1000)["Images"]
    check("DescribeImages finds what the aliases name", sorted(i["ImageId"] for i in found) == sorted(ids), found)
    check("their architectures differ", sorted(i["Architecture"] for i in found) == ["arm64", "x86_64"])
    amazon = ec2.describe_images(Owners=["amazon"], Filters=[{"Name": "architecture", "Values": ["arm64"]}])["Images"]
    check("DescribeImages by owner and architecture", amazon and {i["Architecture"] for i in amazon} == {"arm64"})
    check("DescribeImages of self is a list", isinstance(ec2.describe_images(Owners=["self"])["Images"], list))
    refused("unknown image", "InvalidAMIID.NotFound", 400, ec2.describe_images, ImageIds=["ami-00000000000000000"])
    refused("malformed image", "InvalidAMIID.Malformed", 400, ec2.describe_images, ImageIds=["image-1"])
    return amd64


def prices(ec2, pricing):
    """Spot history and the price list."""
    now = datetime.datetime.now(datetime.timezone.utc)
    pages = list(ec2.get_paginator("describe_spot_price_history").paginate(
        ProductDescriptions=["Linux/UNIX", "Linux/UNIX (Amazon VPC)"], StartTime=now,
        PaginationConfig={"PageSize": 2000}))
    rows = [row for page in pages for row in page["SpotPriceHistory"]]
    keys = {(row["InstanceType"], row["AvailabilityZone"]) for row in rows}
    check("DescribeSpotPriceHistory from now has one row per pool", rows and len(keys) == len(rows), len(rows))
    check("spot prices are positive decimals", all(float(row["SpotPrice"]) > 0 for row in rows))
    check("spot rows are not from the future", all(row["Timestamp"] <= now for row in rows))
    one = ec2.describe_spot_price_history(InstanceTypes=["m5.large"], StartTime=now)["SpotPriceHistory"]
    check("DescribeSpotPriceHistory by type", one and {row["InstanceType"] for row in one} == {"m5.large"})

    def products(tenancy, family):
        terms = {"regionCode": ec2.meta.region_name, "serviceCode": "AmazonEC2", "preInstalledSw": "NA",
                 "operatingSystem": "Linux", "capacitystatus": "Used", "marketoption": "OnDemand",
                 "tenancy": tenancy, "productFamily": family}
        filters = [{"Type": "TERM_MATCH", "Field": key, "Value": value} for key, value in terms.items()]
        pages = list(pricing.get_paginator("get_products").paginate(
            ServiceCode="AmazonEC2", Filters=filters, PaginationConfig={"PageSize": 100}))
        check(f"GetProducts {tenancy} pages of at most 100", all(len(page["PriceList"]) <= 100 for page in pages))
        found = {}
        for text in (text for page in pages for text in page["PriceList"]):
            item = json.loads(text)
            [term] = item["terms"]["OnDemand"].values()
            [dimension] = term["priceDimensions"].values()
            found[item["product"]["attributes"]["instanceType"]] = float(dimension["pricePerUnit"]["USD"])
        return found

    shared, metal = products("Shared", "Compute Instance"), products("Dedicated", "Compute Instance (bare metal)")
    check("GetProducts prices m5.large", 0.05 < shared.get("m5.large", 0) < 0.2, shared.get("m5.large"))
    check("GetProducts prices bare metal", metal and all("metal" in name for name in metal), list(metal)[:3])
    refused("unknown service", "InvalidParameterException", 400, pricing.get_products, ServiceCode="AmazonTea")
    return shared


TAGS = [{"Key": "karpenter.k8s.aws/ec2nodeclass", "Value": "default"}, {"Key": "karpenter.sh/nodepool", "Value": "default"}]


def template_data(image, groups):
    """Launch template data as a node autoscaler sends it."""
    return {
        "ImageId": image, "UserData": "IyEvYmluL3NoCg==", "Monitoring": {"Enabled": False},
        "IamInstanceProfile": {"Name": "conformance"},
        "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {
            "VolumeSize": 20, "VolumeType": "gp3", "Encrypted": True, "DeleteOnTermination": True}}],
        "NetworkInterfaces": [{"DeviceIndex": 0, "Groups": [groups[0]["GroupId"]]}],
        "MetadataOptions": {"HttpEndpoint": "enabled", "HttpProtocolIpv6": "disabled", "HttpPutResponseHopLimit": 1,
                            "HttpTokens": "required", "InstanceMetadataTags": "disabled"},
        "Placement": {"Tenancy": "default"}, "EnclaveOptions": {"Enabled": False},
        "CapacityReservationSpecification": {"CapacityReservationPreference": "none"},
        "TagSpecifications": [{"ResourceType": "network-interface", "Tags": TAGS}],
    }


def launch_templates(ec2, image, groups):
    """A launch template's life."""
    name = f"karpenter.k8s.aws/{uuid.uuid4().int % 2**63}"
    data, token = template_data(image, groups), str(uuid.uuid4())
    tags = [{"ResourceType": "launch-template", "Tags": [*TAGS, {"Key": "eks:eks-cluster-name", "Value": "conformance"}]}]
    create = {"LaunchTemplateName": name, "LaunchTemplateData": data, "TagSpecifications": tags, "ClientToken": token}
    refused("CreateLaunchTemplate dry run", "DryRunOperation", 412, ec2.create_launch_template, DryRun=True, **create)
    first = ec2.create_launch_template(**create)["LaunchTemplate"]
    again = ec2.create_launch_template(**create)["LaunchTemplate"]
    check("the same token gives the same template", first["LaunchTemplateId"] == again["LaunchTemplateId"])
    other = {**create, "LaunchTemplateName": name + "x"}
    refused("the same token for another template", "IdempotentParameterMismatch", 400, ec2.create_launch_template, **other)
    refused("a second template of the name", "InvalidLaunchTemplateName.AlreadyExistsException", 400,
            ec2.create_launch_template, **{**create, "ClientToken": str(uuid.uuid4())})
    refused("a malformed name", "InvalidLaunchTemplateName.MalformedException", 400, ec2.create_launch_template,
            LaunchTemplateName="a b c", LaunchTemplateData=data)
    named = ec2.describe_launch_templates(LaunchTemplateNames=[name])["LaunchTemplates"]
    check("DescribeLaunchTemplates by name", [t["LaunchTemplateId"] for t in named] == [first["LaunchTemplateId"]])
    tagged = [t for page in ec2.get_paginator("describe_launch_templates").paginate(
        Filters=[{"Name": "tag:eks:eks-cluster-name", "Values": ["conformance"]}], PaginationConfig={"PageSize": 200})
        for t in page["LaunchTemplates"]]
    check("DescribeLaunchTemplates by tag", first["LaunchTemplateId"] in [t["LaunchTemplateId"] for t in tagged])
    [version] = ec2.describe_launch_template_versions(LaunchTemplateName=name, Versions=["$Latest"])["LaunchTemplateVersions"]
    got = version["LaunchTemplateData"]
    for key, value in data.items():
        check(f"DescribeLaunchTemplateVersions gives back {key}", got.get(key) == value, got.get(key))
    refused("unknown template name", "InvalidLaunchTemplateName.NotFoundException", 400, ec2.describe_launch_templates,
            LaunchTemplateNames=["no-such-template"])
    refused("unknown template id", "InvalidLaunchTemplateId.NotFound", 400, ec2.delete_launch_template,
            LaunchTemplateId="lt-00000000000000000")
    return first


def fleets(ec2, template, subnets, image, pairs):
    """CreateFleet of type instant."""
    overrides, seen = [], set()
    for subnet in subnets:
        zone = subnet["AvailabilityZone"]
        if zone in seen:
            continue
        seen.add(zone)
        overrides += [{"InstanceType": kind, "SubnetId": subnet["SubnetId"], "ImageId": image, "AvailabilityZone": zone,
                       "Priority": 1.92e-08} for kind in ("m5.large", "c5.large", "r5.large") if (kind, zone) in pairs]

    def fleet(market, count, **more):
        specification = {"LaunchTemplateName": template["LaunchTemplateName"], "Version": "$Latest"}
        options = ({"SpotOptions": {"AllocationStrategy": "price-capacity-optimized"}} if market == "spot"
                   else {"OnDemandOptions": {"AllocationStrategy": "lowest-price"}})
        return {"Type": "instant", "ClientToken": str(uuid.uuid4()), **options,
                "LaunchTemplateConfigs": [{"LaunchTemplateSpecification": specification, "Overrides": overrides}],
                "TargetCapacitySpecification": {"TotalTargetCapacity": count, "DefaultTargetCapacityType": market},
                "TagSpecifications": [{"ResourceType": kind, "Tags": TAGS} for kind in ("instance", "volume", "fleet")],
                **more}

    refused("CreateFleet dry run", "DryRunOperation", 412, ec2.create_fleet, **fleet("on-demand", 1, DryRun=True))
    request = fleet("on-demand", 2)
    answer = ec2.create_fleet(**request)
    ids = [i for part in answer["Instances"] for i in part["InstanceIds"]]
    check("CreateFleet launches two on-demand machines", len(ids) == 2 and answer["Errors"] == [], answer["Errors"])
    again = ec2.create_fleet(**request)
    check("the same token launches nothing more",
          (again["FleetId"], [i for part in again["Instances"] for i in part["InstanceIds"]]) == (answer["FleetId"], ids))
    changed = {**request, "TargetCapacitySpecification": {"TotalTargetCapacity": 3, "DefaultTargetCapacityType": "on-demand"}}
    refused("the same token for another fleet", "IdempotentParameterMismatch", 400, ec2.create_fleet, **changed)
    spot = ec2.create_fleet(**fleet("spot", 1))
    check("CreateFleet launches a spot machine", [p["Lifecycle"] for p in spot["Instances"]] == ["spot"], spot.get("Errors"))
    ids += [i for part in spot["Instances"] for i in part["InstanceIds"]]
    for part in answer["Instances"] + spot["Instances"]:
        echoed = part["LaunchTemplateAndOverrides"]["Overrides"]
        check("CreateFleet echoes the override it used", any(
            all(echoed.get(key) == override[key] for key in ("InstanceType", "SubnetId", "AvailabilityZone", "ImageId"))
            for override in overrides), echoed)
    unknown = fleet("spot", 1)
    unknown["LaunchTemplateConfigs"] = [{**unknown["LaunchTemplateConfigs"][0], "LaunchTemplateSpecification": {
        "LaunchTemplateName": "no-such-template", "Version": "$Latest"}}]
    refused("CreateFleet without its template", "InvalidLaunchTemplateName.NotFoundException", 400, ec2.create_fleet, **unknown)
    return ids


def described(ec2, **query):
    """The instances of all pages."""
    pages = ec2.get_paginator("describe_instances").paginate(**query)
    return [i for page in pages for reservation in page["Reservations"] for i in reservation["Instances"]]


def instances(ec2, template, subnets, ids, image):
    """An instance's life."""
    found = described(ec2, InstanceIds=ids)
    check("DescribeInstances by id", sorted(i["InstanceId"] for i in found) == sorted(ids))
    check("spot machines say so",
          sorted((i.get("InstanceLifecycle", ""), "SpotInstanceRequestId" in i) for i in found)
          == [("", False), ("", False), ("spot", True)])
    check("instances carry the fleet's tags", all(
        {t["Key"]: t["Value"] for t in i["Tags"]}.get("karpenter.sh/nodepool") == "default" for i in found))
    live = ["pending", "running", "stopping", "stopped", "shutting-down"]
    listed = described(ec2, Filters=[
        {"Name": "tag-key", "Values": ["karpenter.sh/nodepool"]}, {"Name": "tag:karpenter.k8s.aws/ec2nodeclass", "Values": ["*"]},
        {"Name": "instance-state-name", "Values": live}], PaginationConfig={"PageSize": 5})
    check("DescribeInstances by tag and state, in pages", set(ids) <= {i["InstanceId"] for i in listed})
    lifecycle = described(ec2, Filters=[{"Name": "instance-lifecycle", "Values": ["spot"]},
                                        {"Name": "instance-id", "Values": ids}])
    check("DescribeInstances by lifecycle", len(lifecycle) == 1, len(lifecycle))
    refused("ids with a page size", "InvalidParameterCombination", 400, ec2.describe_instances, InstanceIds=ids, MaxResults=5)
    refused("unknown instance", "InvalidInstanceID.NotFound", 400, ec2.describe_instances,
            InstanceIds=[ids[0], "i-00000000000000000"])
    refused("malformed instance", "InvalidInstanceID.Malformed", 400, ec2.describe_instances, InstanceIds=["machine-1"])

    ec2.get_waiter("instance_running").wait(InstanceIds=ids, WaiterConfig={"Delay": 1, "MaxAttempts": 120})
    check("the instance_running waiter ends", True)
    statuses = ec2.describe_instance_status(InstanceIds=ids)["InstanceStatuses"]
    check("DescribeInstanceStatus knows them", sorted(s["InstanceId"] for s in statuses) == sorted(ids))
    impaired = ec2.describe_instance_status(Filters=[{"Name": "instance-status.status", "Values": ["impaired"]}])
    check("none is impaired", impaired["InstanceStatuses"] == [])

    ec2.create_tags(Resources=ids[:2], Tags=[{"Key": "Name", "Value": "node-1"}, {"Key": "spare", "Value": ""}])
    named = described(ec2, Filters=[{"Name": "tag:Name", "Values": ["node-?"]}, {"Name": "instance-id", "Values": ids}])
    check("CreateTags shows in DescribeInstances", sorted(i["InstanceId"] for i in named) == sorted(ids[:2]))
    tags = [t for page in ec2.get_paginator("describe_tags").paginate(
        Filters=[{"Name": "resource-id", "Values": ids[:1]}], PaginationConfig={"PageSize": 5}) for t in page["Tags"]]
    check("DescribeTags lists them", {"Name", "spare", "karpenter.sh/nodepool"} <= {t["Key"] for t in tags}, tags)
    ec2.delete_tags(Resources=ids[:1], Tags=[{"Key": "spare"}])
    left = ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": ids[:1]}, {"Name": "key", "Values": ["spare"]}])
    check("DeleteTags takes one away", left["Tags"] == [])
    refused("a reserved tag", "InvalidParameterValue", 400, ec2.create_tags, Resources=ids[:1],
            Tags=[{"Key": "aws:mine", "Value": "x"}])
    refused("tags for nobody", "InvalidInstanceID.NotFound", 400, ec2.create_tags, Resources=["i-00000000000000000"],
            Tags=[{"Key": "a", "Value": "b"}])

    run = {"LaunchTemplate": {"LaunchTemplateName": template["LaunchTemplateName"], "Version": "$Latest"},
           "InstanceType": "m5.large", "MinCount": 1, "MaxCount": 1, "ClientToken": str(uuid.uuid4()),
           "NetworkInterfaces": [{"DeviceIndex": 0, "SubnetId": subnets[0]["SubnetId"]}],
           "TagSpecifications": [{"ResourceType": "instance", "Tags": TAGS}]}
    refused("RunInstances dry run", "DryRunOperation", 412, ec2.run_instances, DryRun=True, **run)
    refused("RunInstances dry run without an image", "InvalidAMIID.NotFound", 400, ec2.run_instances, DryRun=True,
            ImageId="ami-00000000000000000", InstanceType="m5.large", MinCount=1, MaxCount=1)
    [machine] = ec2.run_instances(**run)["Instances"]
    check("RunInstances launches one", (machine["InstanceType"], machine["State"]["Name"]) == ("m5.large", "pending"), machine)
    again = ec2.run_instances(**run)["Instances"]
    check("the same token runs nothing more", [i["InstanceId"] for i in again] == [machine["InstanceId"]])
    ids = [*ids, machine["InstanceId"]]

    refused("TerminateInstances dry run", "DryRunOperation", 412, ec2.terminate_instances, InstanceIds=ids, DryRun=True)
    refused("terminating nobody", "InvalidInstanceID.NotFound", 400, ec2.terminate_instances, InstanceIds=["i-00000000000000000"])
    ended = ec2.terminate_instances(InstanceIds=ids)["TerminatingInstances"]
    check("TerminateInstances answers for each", sorted(i["InstanceId"] for i in ended) == sorted(ids))
    check("they are shutting down", {i["CurrentState"]["Name"] for i in ended} <= {"shutting-down", "terminated"}, ended)
    ec2.get_waiter("instance_terminated").wait(InstanceIds=ids, WaiterConfig={"Delay": 1, "MaxAttempts": 240})
    check("the instance_terminated waiter ends", True)
    twice = ec2.terminate_instances(InstanceIds=ids[:1])["TerminatingInstances"]
    check("terminating again succeeds", twice[0]["CurrentState"]["Name"] == "terminated", twice)
    left = described(ec2, InstanceIds=ids, Filters=[{"Name": "instance-state-name", "Values": live}])
    check("no live instance is left", left == [])


def power(ec2, image):
    """What happens to a machine beside being launched and ended, and what is attached to it."""
    [machine] = ec2.run_instances(ImageId=image, InstanceType="m5.large", MinCount=1, MaxCount=1, BlockDeviceMappings=[
        {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 30, "VolumeType": "gp3", "DeleteOnTermination": True}}])["Instances"]
    ids = [machine["InstanceId"]]
    ec2.get_waiter("instance_running").wait(InstanceIds=ids, WaiterConfig={"Delay": 1, "MaxAttempts": 120})
    of_machine = [{"Name": "attachment.instance-id", "Values": ids}]
    volumes = ec2.describe_volumes(Filters=of_machine)["Volumes"]
    check("its volume is described", [(v["Size"], v["VolumeType"], v["State"]) for v in volumes] == [(30, "gp3", "in-use")], volumes)
    interfaces = ec2.describe_network_interfaces(Filters=of_machine)["NetworkInterfaces"]
    check("so is its interface", [i["Status"] for i in interfaces] == ["in-use"], interfaces)
    check("a machine names its volume", [d["Ebs"]["VolumeId"] for d in described(ec2, InstanceIds=ids)[0]["BlockDeviceMappings"]]
          == [v["VolumeId"] for v in volumes])
    ec2.reboot_instances(InstanceIds=ids)
    refused("StopInstances dry run", "DryRunOperation", 412, ec2.stop_instances, InstanceIds=ids, DryRun=True)
    stopping = ec2.stop_instances(InstanceIds=ids)["StoppingInstances"]
    check("StopInstances stops it", [s["CurrentState"]["Name"] for s in stopping] == ["stopping"], stopping)
    ec2.get_waiter("instance_stopped").wait(InstanceIds=ids, WaiterConfig={"Delay": 1, "MaxAttempts": 240})
    starting = ec2.start_instances(InstanceIds=ids)["StartingInstances"]
    check("StartInstances starts it", [s["CurrentState"]["Name"] for s in starting] == ["pending"], starting)
    ec2.terminate_instances(InstanceIds=ids)
    ec2.get_waiter("instance_terminated").wait(InstanceIds=ids, WaiterConfig={"Delay": 1, "MaxAttempts": 240})
    check("its volume goes with it", ec2.describe_volumes(Filters=of_machine)["Volumes"] == [])
    check("and its interface", ec2.describe_network_interfaces(Filters=of_machine)["NetworkInterfaces"] == [])


def queues(sqs, ec2, image, cluster):
    """Queues, and what the cloud tells them."""
    url = sqs.get_queue_url(QueueName=cluster)["QueueUrl"]
    check("the cluster's queue is there", url.endswith(f"/{cluster}"), url)
    message = refused("unknown queue", "AWS.SimpleQueueService.NonExistentQueue", 400, sqs.get_queue_url, QueueName="none")
    check("the unknown queue is told in SQS' words", "does not exist" in message, message)
    sqs.purge_queue(QueueUrl=url)
    [machine] = ec2.run_instances(ImageId=image, InstanceType="m5.large", MinCount=1, MaxCount=1)["Instances"]
    got = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=5, VisibilityTimeout=20,
                              MessageSystemAttributeNames=["SentTimestamp"])["Messages"]
    events = [json.loads(m["Body"]) for m in got]
    of_machine = [e for e in events if e["detail"].get("instance-id") == machine["InstanceId"]]
    check("a state change is told", of_machine and of_machine[0]["detail"]["state"] == "pending", events[:1])
    check("events have EventBridge's envelope", all({"version", "id", "detail-type", "source", "account", "time", "region",
                                                     "resources", "detail"} == set(e) for e in events))
    check("messages say when they were sent", all(int(m["Attributes"]["SentTimestamp"]) > 1e12 for m in got))
    deleted = sqs.delete_message_batch(QueueUrl=url, Entries=[
        {"Id": str(n), "ReceiptHandle": m["ReceiptHandle"]} for n, m in enumerate(got)])
    check("DeleteMessageBatch deletes all", len(deleted["Successful"]) == len(got), deleted)
    sqs.delete_message(QueueUrl=url, ReceiptHandle=got[0]["ReceiptHandle"])
    check("deleting a message again is fine", True)
    ec2.terminate_instances(InstanceIds=[machine["InstanceId"]])

    made = sqs.create_queue(QueueName="mine", Attributes={"VisibilityTimeout": "0", "MessageRetentionPeriod": "300"})["QueueUrl"]
    check("creating it again is fine", sqs.create_queue(
        QueueName="mine", Attributes={"VisibilityTimeout": "0", "MessageRetentionPeriod": "300"})["QueueUrl"] == made)
    refused("creating it otherwise", "QueueAlreadyExists", 400, sqs.create_queue, QueueName="mine",
            Attributes={"VisibilityTimeout": "9"})
    sqs.send_message(QueueUrl=made, MessageBody="one")
    sent = sqs.send_message_batch(QueueUrl=made, Entries=[{"Id": "a", "MessageBody": "two"}, {"Id": "b", "MessageBody": "three"}])
    check("SendMessageBatch sends both", sorted(s["Id"] for s in sent["Successful"]) == ["a", "b"], sent)
    counts = sqs.get_queue_attributes(QueueUrl=made, AttributeNames=["All"])["Attributes"]
    check("GetQueueAttributes counts", counts["ApproximateNumberOfMessages"] == "3", counts)
    check("messages that are not hidden come again", [
        len(sqs.receive_message(QueueUrl=made, MaxNumberOfMessages=10).get("Messages", [])) for _ in range(2)] == [3, 3])
    [one] = sqs.receive_message(QueueUrl=made, MaxNumberOfMessages=1)["Messages"]
    sqs.change_message_visibility(QueueUrl=made, ReceiptHandle=one["ReceiptHandle"], VisibilityTimeout=60)
    left = sqs.receive_message(QueueUrl=made, MaxNumberOfMessages=10)["Messages"]
    check("a hidden message does not come", len(left) == 2 and one["MessageId"] not in [m["MessageId"] for m in left])
    sqs.set_queue_attributes(QueueUrl=made, Attributes={"VisibilityTimeout": "30"})
    check("SetQueueAttributes sets", sqs.get_queue_attributes(
        QueueUrl=made, AttributeNames=["VisibilityTimeout"])["Attributes"] == {"VisibilityTimeout": "30"})
    refused("an unknown attribute", "InvalidAttributeName", 400, sqs.get_queue_attributes, QueueUrl=made, AttributeNames=["Colour"])
    refused("eleven messages", "InvalidParameterValue", 400, sqs.receive_message, QueueUrl=made, MaxNumberOfMessages=11)
    refused("a receipt that is none", "ReceiptHandleIsInvalid", 400, sqs.delete_message, QueueUrl=made, ReceiptHandle="x")
    refused("a batch of nothing", "AWS.SimpleQueueService.EmptyBatchRequest", 400, sqs.send_message_batch, QueueUrl=made, Entries=[])
    sqs.purge_queue(QueueUrl=made)
    check("a purged queue is empty", "Messages" not in sqs.receive_message(QueueUrl=made))
    pages = [u for p in sqs.get_paginator("list_queues").paginate(PaginationConfig={"PageSize": 1}) for u in p["QueueUrls"]]
    check("ListQueues pages", made in pages and url in pages, pages)
    sqs.delete_queue(QueueUrl=made)
    check("a deleted queue is not listed", "QueueUrls" not in (got := sqs.list_queues(QueueNamePrefix="mine")) or not got["QueueUrls"])


def profiles(iam, ec2, image):
    """Roles and instance profiles."""
    trust = json.dumps({"Version": "2012-10-17", "Statement": []})
    role = iam.create_role(RoleName="nodes", AssumeRolePolicyDocument=trust, Tags=[{"Key": "a", "Value": "b"}])["Role"]
    check("CreateRole gives an ARN", role["Arn"].endswith(":role/nodes"), role)
    check("GetRole reads the document", iam.get_role(RoleName="nodes")["Role"]["AssumeRolePolicyDocument"] == json.loads(trust))
    refused("the role again", "EntityAlreadyExists", 409, iam.create_role, RoleName="nodes", AssumeRolePolicyDocument=trust)
    path = "/karpenter/us-west-2/c1/"
    made = iam.create_instance_profile(InstanceProfileName="c1_1", Path=path, Tags=[{"Key": "k", "Value": "v"}])["InstanceProfile"]
    check("a new profile has no role", (made["Roles"], made["Path"]) == ([], path), made)
    refused("the profile again", "EntityAlreadyExists", 409, iam.create_instance_profile, InstanceProfileName="c1_1")
    refused("an unknown profile", "NoSuchEntity", 404, iam.get_instance_profile, InstanceProfileName="none")
    iam.add_role_to_instance_profile(InstanceProfileName="c1_1", RoleName="nodes")
    refused("a second role", "LimitExceeded", 409, iam.add_role_to_instance_profile, InstanceProfileName="c1_1", RoleName="nodes")
    got = iam.get_instance_profile(InstanceProfileName="c1_1")["InstanceProfile"]
    check("GetInstanceProfile shows role and tags", (got["Roles"][0]["RoleName"], got["Tags"][0]["Value"]) == ("nodes", "v"), got)
    iam.create_instance_profile(InstanceProfileName="c1_2", Path=path)
    listed = [p["InstanceProfileName"] for page in iam.get_paginator("list_instance_profiles").paginate(
        PathPrefix=path, PaginationConfig={"PageSize": 1}) for p in page["InstanceProfiles"]]
    check("ListInstanceProfiles pages by path", listed == ["c1_1", "c1_2"], listed)
    of_role = iam.list_instance_profiles_for_role(RoleName="nodes")["InstanceProfiles"]
    check("ListInstanceProfilesForRole", [p["InstanceProfileName"] for p in of_role] == ["c1_1"])
    iam.tag_instance_profile(InstanceProfileName="c1_1", Tags=[{"Key": "k2", "Value": "v2"}])
    refused("deleting a profile with a role", "DeleteConflict", 409, iam.delete_instance_profile, InstanceProfileName="c1_1")
    refused("deleting a role in a profile", "DeleteConflict", 409, iam.delete_role, RoleName="nodes")
    refused("a path that is none", "ValidationError", 400, iam.create_instance_profile, InstanceProfileName="x", Path="y")
    [machine] = ec2.run_instances(ImageId=image, InstanceType="m5.large", MinCount=1, MaxCount=1,
                                  IamInstanceProfile={"Name": "c1_1"})["Instances"]
    check("a machine has its profile", machine["IamInstanceProfile"]["Arn"].endswith("instance-profile/c1_1"), machine)
    said = ec2.get_console_output(InstanceId=machine["InstanceId"])
    check("GetConsoleOutput answers", said["InstanceId"] == machine["InstanceId"], said)
    ec2.terminate_instances(InstanceIds=[machine["InstanceId"]])
    iam.remove_role_from_instance_profile(InstanceProfileName="c1_1", RoleName="nodes")
    for name in listed:
        iam.delete_instance_profile(InstanceProfileName=name)
    check("ListRoles", [r["RoleName"] for r in iam.list_roles()["Roles"]] == ["nodes"])
    iam.delete_role(RoleName="nodes")


def reservations(ec2, image, subnets):
    """Capacity reservations, capacity blocks, placement groups."""
    zone, subnet = subnets[0]["AvailabilityZone"], subnets[0]["SubnetId"]
    wanted = {"InstanceType": "c5.large", "InstancePlatform": "Linux/UNIX", "AvailabilityZone": zone, "InstanceCount": 2}
    refused("a reservation's dry run", "DryRunOperation", 412, ec2.create_capacity_reservation, DryRun=True, **wanted)
    token = str(uuid.uuid4())
    made = ec2.create_capacity_reservation(ClientToken=token, InstanceMatchCriteria="targeted", TagSpecifications=[
        {"ResourceType": "capacity-reservation", "Tags": TAGS}], **wanted)["CapacityReservation"]
    rid = made["CapacityReservationId"]
    check("CreateCapacityReservation reserves", (made["State"], made["AvailableInstanceCount"], made["InstanceMatchCriteria"],
                                                 made["ReservationType"]) == ("active", 2, "targeted", "default"), made)
    again = ec2.create_capacity_reservation(ClientToken=token, InstanceMatchCriteria="targeted", TagSpecifications=[
        {"ResourceType": "capacity-reservation", "Tags": TAGS}], **wanted)["CapacityReservation"]
    check("the same token reserves nothing more", again["CapacityReservationId"] == rid)
    refused("a token with other parameters", "IdempotentParameterMismatch", 400, ec2.create_capacity_reservation,
            ClientToken=token, **wanted)
    found = ec2.describe_capacity_reservations(Filters=[
        {"Name": "state", "Values": ["active"]}, {"Name": f"tag:{TAGS[0]['Key']}", "Values": [TAGS[0]["Value"]]}], MaxResults=1000)
    check("it is found by tag", [r["CapacityReservationId"] for r in found["CapacityReservations"]] == [rid])
    inside = {"ImageId": image, "InstanceType": "c5.large", "MinCount": 1, "MaxCount": 1, "SubnetId": subnet,
              "CapacityReservationSpecification": {"CapacityReservationPreference": "capacity-reservations-only",
                                                   "CapacityReservationTarget": {"CapacityReservationId": rid}}}
    ids = [ec2.run_instances(**inside)["Instances"][0]["InstanceId"] for _ in range(2)]
    machine = described(ec2, InstanceIds=ids[:1])[0]
    check("a machine says in which it runs", (machine["CapacityReservationId"], machine["CapacityReservationSpecification"][
        "CapacityReservationTarget"]["CapacityReservationId"]) == (rid, rid), machine)
    refused("a full reservation", "ReservationCapacityExceeded", 400, ec2.run_instances, **inside)
    ec2.modify_capacity_reservation(CapacityReservationId=rid, InstanceCount=3)
    one = ec2.describe_capacity_reservations(CapacityReservationIds=[rid])["CapacityReservations"][0]
    check("ModifyCapacityReservation adds one", (one["TotalInstanceCount"], one["AvailableInstanceCount"]) == (3, 1), one)
    check("CancelCapacityReservation", ec2.cancel_capacity_reservation(CapacityReservationId=rid)["Return"] is True)
    refused("cancelling it again", "InvalidCapacityReservationState", 400, ec2.cancel_capacity_reservation, CapacityReservationId=rid)
    machine = described(ec2, InstanceIds=ids[:1])[0]
    check("its machine runs on without it", "CapacityReservationId" not in machine, machine.get("CapacityReservationId"))
    ec2.terminate_instances(InstanceIds=ids)

    offers = ec2.describe_capacity_block_offerings(InstanceType="p5.48xlarge", InstanceCount=2, CapacityDurationHours=48)[
        "CapacityBlockOfferings"]
    check("capacity blocks are offered", offers and float(offers[0]["UpfrontFee"]) > 1000, offers[:1])
    block = ec2.purchase_capacity_block(CapacityBlockOfferingId=offers[0]["CapacityBlockOfferingId"],
                                        InstancePlatform="Linux/UNIX")["CapacityReservation"]
    check("PurchaseCapacityBlock schedules one", (block["State"], block["ReservationType"], block["TotalInstanceCount"]) == (
        "scheduled", "capacity-block", 2), block)
    refused("an offer that is sold", "InvalidCapacityBlockOfferingId.NotFound", 400, ec2.purchase_capacity_block,
            CapacityBlockOfferingId=offers[0]["CapacityBlockOfferingId"], InstancePlatform="Linux/UNIX")
    refused("a block of 25 hours", "InvalidParameterValue", 400, ec2.describe_capacity_block_offerings,
            InstanceType="p5.48xlarge", InstanceCount=1, CapacityDurationHours=25)
    refused("a type without blocks", "InvalidParameterValue", 400, ec2.describe_capacity_block_offerings,
            InstanceType="m5.large", InstanceCount=1, CapacityDurationHours=24)
    refused("a block before it begins", "ReservationCapacityExceeded", 400, ec2.run_instances, ImageId=image, MinCount=1,
            InstanceType="p5.48xlarge", MaxCount=1, SubnetId=[s["SubnetId"] for s in subnets if s["AvailabilityZone"]
                                                             == block["AvailabilityZone"]][0],
            InstanceMarketOptions={"MarketType": "capacity-block"}, CapacityReservationSpecification={
                "CapacityReservationTarget": {"CapacityReservationId": block["CapacityReservationId"]}})

    group = ec2.create_placement_group(GroupName="apart", Strategy="partition", PartitionCount=3)["PlacementGroup"]
    check("CreatePlacementGroup", (group["Strategy"], group["PartitionCount"], group["State"]) == ("partition", 3, "available"), group)
    refused("the group again", "InvalidPlacementGroup.Duplicate", 400, ec2.create_placement_group, GroupName="apart", Strategy="cluster")
    shown = ec2.describe_placement_groups(GroupIds=[group["GroupId"]], Filters=[{"Name": "state", "Values": ["available"]}])
    check("DescribePlacementGroups by id", [g["GroupName"] for g in shown["PlacementGroups"]] == ["apart"])
    refused("a partition that is not there", "InvalidParameterValue", 400, ec2.run_instances, ImageId=image, InstanceType="m5.large",
            MinCount=1, MaxCount=1, Placement={"GroupName": "apart", "PartitionNumber": 4})
    ec2.create_placement_group(GroupName="together", Strategy="cluster")
    refused("a type that no cluster group takes", "InvalidParameterCombination", 400, ec2.run_instances, ImageId=image,
            InstanceType="t3.large", MinCount=1, MaxCount=1, Placement={"GroupName": "together"})
    ec2.delete_placement_group(GroupName="together")
    machines = ec2.run_instances(ImageId=image, InstanceType="m5.large", MinCount=3, MaxCount=3,
                                 Placement={"GroupName": "apart"})["Instances"]
    check("machines share the partitions out", sorted(m["Placement"]["PartitionNumber"] for m in machines) == [1, 2, 3])
    refused("deleting a group in use", "InvalidPlacementGroup.InUse", 400, ec2.delete_placement_group, GroupName="apart")
    ids = [m["InstanceId"] for m in machines]
    ec2.terminate_instances(InstanceIds=ids)
    ec2.get_waiter("instance_terminated").wait(InstanceIds=ids, WaiterConfig={"Delay": 1, "MaxAttempts": 240})
    ec2.delete_placement_group(GroupName="apart")


def lent(ec2, template, image, subnets):
    """Interruptible reservations, which others lend to, and such as begin later."""
    zone, subnet = subnets[0]["AvailabilityZone"], subnets[0]["SubnetId"]
    wanted = {"InstanceType": "c5.large", "InstancePlatform": "Linux/UNIX", "AvailabilityZone": zone, "InstanceMatchCriteria": "targeted"}
    source = ec2.create_capacity_reservation(InstanceCount=4, **wanted)["CapacityReservation"]["CapacityReservationId"]
    token = {"CapacityReservationId": source, "InstanceCount": 2, "ClientToken": str(uuid.uuid4())}
    refused("lending more than nobody uses", "InvalidParameterValue", 400, ec2.create_interruptible_capacity_reservation_allocation,
            CapacityReservationId=source, InstanceCount=5)
    for _ in range(2):
        made = ec2.create_interruptible_capacity_reservation_allocation(**token)
    check("CreateInterruptibleCapacityReservationAllocation lends once by token", (
        made["SourceCapacityReservationId"], made["TargetInstanceCount"], made["Status"]) == (source, 2, "active"), made)
    shown = ec2.describe_capacity_reservations(CapacityReservationIds=[source])["CapacityReservations"][0]
    allocation = shown["InterruptibleCapacityAllocation"]
    rid = allocation["InterruptibleCapacityReservationId"]
    check("the source says what it lends", (shown["AvailableInstanceCount"], allocation["InstanceCount"]) == (2, 2), shown)
    shown = ec2.describe_capacity_reservations(CapacityReservationIds=[rid])["CapacityReservations"][0]
    check("the other is interruptible", (shown["Interruptible"], shown["AvailableInstanceCount"], shown["InstanceMatchCriteria"],
                                         shown["InterruptionInfo"]["SourceCapacityReservationId"]) == (True, 2, "targeted", source), shown)
    only = {"CapacityReservationPreference": "capacity-reservations-only", "CapacityReservationTarget": {"CapacityReservationId": rid}}
    refused("a lent machine as if bought on demand", "InvalidParameterCombination", 400, ec2.run_instances, ImageId=image, MinCount=1,
            MaxCount=1, InstanceType="c5.large", SubnetId=subnet, CapacityReservationSpecification=only)
    name = f"{template['LaunchTemplateName']}-lent"
    ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData={
        "ImageId": image, "InstanceMarketOptions": {"MarketType": "interruptible-capacity-reservation"},
        "CapacityReservationSpecification": only})
    fleet = {"Type": "instant", "LaunchTemplateConfigs": [{
        "LaunchTemplateSpecification": {"LaunchTemplateName": name, "Version": "$Latest"},
        "Overrides": [{"InstanceType": "c5.large", "SubnetId": subnet, "AvailabilityZone": zone, "ImageId": image}]}],
        "TargetCapacitySpecification": {"TotalTargetCapacity": 3, "DefaultTargetCapacityType": "reserved-capacity"},
        "ReservedCapacityOptions": {"ReservationTypes": ["interruptible-capacity-reservation"]}}
    got = ec2.create_fleet(**fleet)
    ids = got["Instances"][0]["InstanceIds"]
    check("a fleet takes what there is", (len(ids), [e["ErrorCode"] for e in got["Errors"]]) == (2, ["ReservationCapacityExceeded"]), got)
    check("and says how it was bought", got["Instances"][0]["Lifecycle"] == "interruptible-capacity-reservation", got["Instances"])
    check("as its machines do", {m["InstanceLifecycle"] for m in described(ec2, InstanceIds=ids)} == {
        "interruptible-capacity-reservation"})
    ec2.get_waiter("instance_running").wait(InstanceIds=ids, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    changed = ec2.update_interruptible_capacity_reservation_allocation(CapacityReservationId=source, TargetInstanceCount=0)
    check("UpdateInterruptibleCapacityReservationAllocation takes back", (
        changed["InterruptibleCapacityReservationId"], changed["InstanceCount"], changed["TargetInstanceCount"], changed["Status"]) == (
        rid, 2, 0, "updating"), changed)
    refused("cancelling the source meanwhile", "InvalidCapacityReservationState", 400, ec2.cancel_capacity_reservation,
            CapacityReservationId=source)
    ec2.get_waiter("instance_terminated").wait(InstanceIds=ids, WaiterConfig={"Delay": 1, "MaxAttempts": 400})
    shown = ec2.describe_capacity_reservations(CapacityReservationIds=[rid])["CapacityReservations"][0]
    check("after the warning they are gone, and it with them", shown["State"] == "cancelled", shown)
    ec2.cancel_capacity_reservation(CapacityReservationId=source)
    ec2.delete_launch_template(LaunchTemplateName=name)

    begin = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=30)
    later = {"StartDate": begin, "CommitmentDuration": 14 * 86_400, "DeliveryPreference": "incremental", **wanted}
    made = ec2.create_capacity_reservation(InstanceCount=16, **later)["CapacityReservation"]
    check("one for later is assessed", (made["State"], made["AvailableInstanceCount"], made["CommitmentInfo"]["CommittedInstanceCount"],
                                        made["DeliveryPreference"]) == ("assessing", 0, 16, "incremental"), made)
    refused("fewer than 32 vCPUs later", "InvalidParameterValue", 400, ec2.create_capacity_reservation, InstanceCount=15, **later)
    refused("later without a commitment", "MissingParameter", 400, ec2.create_capacity_reservation, InstanceCount=16, StartDate=begin, **wanted)
    ec2.cancel_capacity_reservation(CapacityReservationId=made["CapacityReservationId"])


def around_fleets(ec2, template, subnets, image):
    """What there is to ask about fleets, spot requests and template versions."""
    name = template["LaunchTemplateName"]
    override = {"InstanceType": "m5.large", "SubnetId": subnets[0]["SubnetId"], "ImageId": image,
                "AvailabilityZone": subnets[0]["AvailabilityZone"]}
    fleet = ec2.create_fleet(
        Type="instant", TargetCapacitySpecification={"TotalTargetCapacity": 2, "DefaultTargetCapacityType": "spot"},
        LaunchTemplateConfigs=[{"LaunchTemplateSpecification": {"LaunchTemplateName": name, "Version": "$Latest"},
                                "Overrides": [override]}],
        TagSpecifications=[{"ResourceType": "fleet", "Tags": TAGS}])
    shown = ec2.describe_fleets(FleetIds=[fleet["FleetId"]])["Fleets"][0]
    check("DescribeFleets shows what it brought", (shown["Type"], shown["FleetState"], len(shown["Instances"][0]["InstanceIds"])) == (
        "instant", "active", 2), shown)
    refused("instances of an instant fleet", "Unsupported", 400, ec2.describe_fleet_instances, FleetId=fleet["FleetId"])
    refused("an unknown fleet", "InvalidFleetId.NotFound", 400, ec2.describe_fleets,
            FleetIds=["fleet-00000000-0000-4000-8000-000000000000"])
    ids = fleet["Instances"][0]["InstanceIds"]
    requests = ec2.describe_spot_instance_requests(Filters=[{"Name": "instance-id", "Values": ids}])["SpotInstanceRequests"]
    check("spot requests are fulfilled", [(r["State"], r["Status"]["Code"]) for r in requests] == [("active", "fulfilled")] * 2, requests)
    cancelled = ec2.cancel_spot_instance_requests(SpotInstanceRequestIds=[requests[0]["SpotInstanceRequestId"]])
    check("CancelSpotInstanceRequests", cancelled["CancelledSpotInstanceRequests"][0]["State"] == "cancelled", cancelled)
    scores = ec2.get_spot_placement_scores(InstanceTypes=["m5.large"], TargetCapacity=10, SingleAvailabilityZone=True)
    check("GetSpotPlacementScores by zone", len(scores["SpotPlacementScores"]) == len(subnets), scores)
    deleted = ec2.delete_fleets(FleetIds=[fleet["FleetId"]], TerminateInstances=True)
    check("DeleteFleets ends it", deleted["SuccessfulFleetDeletions"][0]["FleetId"] == fleet["FleetId"], deleted)
    check("with its machines", {i["State"]["Name"] for i in described(ec2, InstanceIds=ids)} == {"shutting-down"})

    version = ec2.create_launch_template_version(LaunchTemplateName=name, SourceVersion="1", LaunchTemplateData={
        "InstanceType": "m5.xlarge"})["LaunchTemplateVersion"]
    check("a version from another keeps the rest", version["LaunchTemplateData"]["ImageId"] == image, version)
    number = version["VersionNumber"]
    moved = ec2.modify_launch_template(LaunchTemplateName=name, DefaultVersion=str(number))["LaunchTemplate"]
    check("ModifyLaunchTemplate moves the default", moved["DefaultVersionNumber"] == number, moved)
    gone = ec2.delete_launch_template_versions(LaunchTemplateName=name, Versions=["1", str(number), "99"])
    check("DeleteLaunchTemplateVersions keeps the default", (
        [v["VersionNumber"] for v in gone["SuccessfullyDeletedLaunchTemplateVersions"]],
        len(gone["UnsuccessfullyDeletedLaunchTemplateVersions"])) == ([1], 2), gone)


def identity(sts, eks, arc, name):
    """The small doors."""
    caller = sts.get_caller_identity()
    check("GetCallerIdentity has an account of 12 digits", len(caller["Account"]) == 12 and caller["Account"].isdigit())
    cluster = eks.describe_cluster(name=name)["cluster"]
    check("DescribeCluster gives a version", cluster["version"].startswith("1."), cluster["version"])
    check("ListClusters", eks.list_clusters()["clusters"] == [name])
    managed = arc.get_managed_resource(resourceIdentifier=cluster["arn"])
    check("no zonal shift is under way", managed["zonalShifts"] == [], managed)
    refused("an unmanaged resource", "ResourceNotFoundException", 404, arc.get_managed_resource,
            resourceIdentifier="arn:aws:eks:us-west-2:123456789012:cluster/other")
    refused("unknown cluster", "ResourceNotFoundException", 404, eks.describe_cluster, name="no-such-cluster")

def wire(endpoint, ec2, region):
    """What no SDK would send."""
    refused("an action that is not served", "InvalidAction", 400, ec2.create_vpn_gateway, Type="ipsec.1")
    anonymous = boto3.client("ec2", endpoint_url=endpoint, region_name=region,
                             config=botocore.config.Config(signature_version=botocore.UNSIGNED))
    refused("a call without credentials", "MissingAuthenticationToken", 403, anonymous.describe_regions)


def main():
    """Runs everything against one endpoint."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("endpoint", nargs="?", default=os.environ.get("AWS_ENDPOINT_URL"))
    parser.add_argument("--kubernetes", default="1.35", help="the cluster's minor version, for AMI aliases")
    parser.add_argument("--cluster", default="sawhorse")
    parser.add_argument("--region", default="us-west-2")
    args = parser.parse_args()

    session = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name=args.region)
    # Wrong requests must reach the server, so the client does not look at them first.
    config = botocore.config.Config(retries={"total_max_attempts": 1}, parameter_validation=False)

    def client(service):
        made = session.client(service, endpoint_url=args.endpoint, config=config)
        shapes.watch(made)
        return made

    ec2 = client("ec2")
    started = time.monotonic()
    pairs = section(catalogue, ec2) or []
    subnets, groups = section(network, ec2) or ([], [])
    image = section(images, ec2, client("ssm"), args.kubernetes)
    section(prices, ec2, client("pricing"))
    template = section(launch_templates, ec2, image, groups)
    if template:
        ids = section(fleets, ec2, template, subnets, image, set(pairs))
        if ids:
            section(instances, ec2, template, subnets, ids, image)
        section(lent, ec2, template, image, subnets)
        section(around_fleets, ec2, template, subnets, image)
        ec2.delete_launch_template(LaunchTemplateName=template["LaunchTemplateName"])
        refused("a deleted template", "InvalidLaunchTemplateName.NotFoundException", 400, ec2.describe_launch_templates,
                LaunchTemplateNames=[template["LaunchTemplateName"]])
    section(power, ec2, image)
    section(queues, client("sqs"), ec2, image, args.cluster)
    section(profiles, client("iam"), ec2, image)
    section(reservations, ec2, image, subnets)
    section(identity, client("sts"), client("eks"), client("arc-zonal-shift"), args.cluster)
    section(wire, args.endpoint, ec2, args.region)
    shapes.report(check, args.endpoint, session._session)  # noqa: SLF001 - the models are botocore's
    print(f"# {time.monotonic() - started:.1f} s, {sum(map(len, shapes.SERVED.values()))} answers of {len(shapes.SERVED)} operations")
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
