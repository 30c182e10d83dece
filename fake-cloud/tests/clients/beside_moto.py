#!/usr/bin/env python3
"""The same requests to `sawhorse cloud` and to `moto_server`, one after another in one run: requests per second of each.

    python beside_moto.py path/to/sawhorse path/to/moto_server

Also: from the start of the program to its first answer, and memory while idle. Requests are made once by boto3 and then sent
again as they are over one connection, so that no client's work is measured. Ends with 1 if a ratio is below what is claimed.
"""

import http.client
import re
import subprocess
import sys
import time
import urllib.parse

HEADERS = {"Content-Type": "application/x-www-form-urlencoded",
           "Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-west-2/ec2/aws4_request, SignedHeaders=host, Signature=0"}
INSTANCES = 1000
SECONDS = 3.0
CLAIM = 100


class Cloud:
    """A server under test."""

    def __init__(self, name, command, port_of):
        started = time.monotonic()
        self.name = name
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.port = port_of(self.process)
        while True:
            try:
                self.call("DescribeRegions")
                break
            except OSError:
                time.sleep(0.001)
        self.start_ms = (time.monotonic() - started) * 1000

    def call(self, action, **params):
        """One request on a connection of its own; the answer's body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.request("POST", "/", self.body(action, params), HEADERS)
        answer = connection.getresponse()
        body = answer.read().decode()
        if answer.status >= 300:
            raise RuntimeError(f"{self.name} {action}: {answer.status} {body[:300]}")
        return body

    @staticmethod
    def body(action, params):
        return urllib.parse.urlencode({"Action": action, "Version": "2016-11-15", **params})

    def rate(self, action, **params):
        """Requests per second over one connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        body, count, started = self.body(action, params), 0, time.monotonic()
        while time.monotonic() - started < SECONDS or count == 0:
            connection.request("POST", "/", body, HEADERS)
            answer = connection.getresponse()
            answer.read()
            if answer.status >= 300:
                raise RuntimeError(f"{self.name} {action}: {answer.status}")
            count += 1
        return count / (time.monotonic() - started)

    def memory_mib(self):
        with open(f"/proc/{self.process.pid}/status", encoding="utf-8") as status:
            return int(re.search(r"VmRSS:\s+(\d+)", status.read())[1]) / 1024


def sawhorse_port(process):
    for line in process.stdout:
        if found := re.match(r"cloud\s+http://127\.0\.0\.1:(\d+)", line):
            return int(found[1])
    raise RuntimeError("the cloud did not start")


def first(pattern, text):
    return re.search(pattern, text)[1]


def measure(cloud, image):
    """Fills the cloud, then measures."""
    figures = {"start to first answer, ms": cloud.start_ms, "idle memory, MiB": cloud.memory_mib()}
    subnet = first(r"<subnetId>(subnet-\w+)</subnetId>", cloud.call("DescribeSubnets"))
    cloud.call("CreateLaunchTemplate", **{"LaunchTemplateName": "bench", "LaunchTemplateData.ImageId": image,
                                          "LaunchTemplateData.InstanceType": "m5.large"})
    for _ in range(INSTANCES // 500):
        cloud.call("RunInstances", ImageId=image, InstanceType="m5.large", MinCount=500, MaxCount=500, SubnetId=subnet)
    figures["DescribeInstances of 1,000, 1/s"] = cloud.rate("DescribeInstances", MaxResults=1000)
    figures["DescribeInstanceTypes of 100, 1/s"] = cloud.rate("DescribeInstanceTypes", MaxResults=100)
    config = "LaunchTemplateConfigs.1"
    figures["CreateFleet of 1, 1/s"] = cloud.rate("CreateFleet", **{
        "Type": "instant", "TargetCapacitySpecification.TotalTargetCapacity": 1,
        "TargetCapacitySpecification.DefaultTargetCapacityType": "on-demand",
        f"{config}.LaunchTemplateSpecification.LaunchTemplateName": "bench",
        f"{config}.LaunchTemplateSpecification.Version": "$Latest",
        f"{config}.Overrides.1.InstanceType": "m5.large", f"{config}.Overrides.1.SubnetId": subnet})
    return figures


def main():
    sawhorse, moto = sys.argv[1:3]
    clouds = [
        Cloud("sawhorse", [sawhorse, "cloud", "--port", "0"], sawhorse_port),
        Cloud("moto_server", [moto, "-H", "127.0.0.1", "-p", "45671"], lambda _: 45671),
    ]
    try:
        images = [first(r"<imageId>(ami-\w+)</imageId>", cloud.call("DescribeImages", **{
            "Filter.1.Name": "architecture", "Filter.1.Value.1": "x86_64"})) for cloud in clouds]
        ours, theirs = (measure(cloud, image) for cloud, image in zip(clouds, images))
    finally:
        for cloud in clouds:
            cloud.process.terminate()
            cloud.process.wait()
    failed = False
    print(f"{'':36} {'sawhorse':>12} {'moto_server':>12} {'ratio':>8}")
    for name, our in ours.items():
        their = theirs[name]
        ratio = our / their if name.endswith("1/s") else their / our
        print(f"{name:36} {our:12.1f} {their:12.1f} {ratio:7.0f}x")
        failed |= name.endswith("1/s") and ratio < CLAIM
    failed |= ours["start to first answer, ms"] > 50 or ours["idle memory, MiB"] > 40
    print("below what is claimed" if failed else "as claimed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
