#!/usr/bin/env python3
"""The same requests to `sawhorse cloud` and to `moto_server`, one after another in one run: requests per second of each.

    python beside_moto.py path/to/sawhorse path/to/moto_server

Also: from the start of the program to its first answer, the median of a few starts, and memory then. Requests are bytes that
are sent again as they are, by one client and by several at once, so that no client's work is measured; what counts is each
server's better rate. Ends with 1 if a ratio is below what is claimed.
"""

import http.client
import multiprocessing
import re
import socket
import statistics
import subprocess
import sys
import time
import urllib.parse

HEADERS = {"Content-Type": "application/x-www-form-urlencoded",
           "Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-west-2/ec2/aws4_request, SignedHeaders=host, Signature=0"}
INSTANCES = 1000
SECONDS = 3.0
CLIENTS = (1, 4)
STARTS = 5
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
        self.idle_mib = self.memory_mib()

    def stop(self):
        self.process.terminate()
        self.process.wait()

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
        """Requests per second, by as many clients as are best for it."""
        body = self.body(action, params)
        head = ["POST / HTTP/1.1", f"Host: 127.0.0.1:{self.port}", f"Content-Length: {len(body)}"]
        head += [f"{name}: {value}" for name, value in HEADERS.items()]
        request = ("\r\n".join(head) + "\r\n\r\n" + body).encode()
        return max(self.rate_of(request, clients) for clients in CLIENTS)

    def rate_of(self, request, clients):
        with multiprocessing.Pool(clients) as pool:
            return sum(pool.starmap(send_again, [(self.port, request)] * clients, chunksize=1))

    def memory_mib(self):
        with open(f"/proc/{self.process.pid}/status", encoding="utf-8") as status:
            return int(re.search(r"VmRSS:\s+(\d+)", status.read())[1]) / 1024


def send_again(port, request):
    """Sends the request for a while, over one connection if the server keeps it; answers per second."""
    count, connection, started = 0, None, time.monotonic()
    while time.monotonic() - started < SECONDS or count == 0:
        if connection is None:
            connection = socket.create_connection(("127.0.0.1", port), timeout=300)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(request)
        status, stays = read_answer(connection)
        if status >= 300:
            raise RuntimeError(f"{status} for {request[-300:]}")
        if not stays:
            connection.close()
            connection = None
        count += 1
    return count / (time.monotonic() - started)


def read_answer(connection):
    """Reads one answer to its end; its status, and whether the connection stays."""
    data = more(connection)
    while (end := data.find(b"\r\n\r\n")) < 0:
        data += more(connection)
    head = data[:end].lower()
    left = int(re.search(rb"\r\ncontent-length: *(\d+)", head)[1]) - (len(data) - end - 4)
    while left > 0:
        left -= len(more(connection))
    return int(head[9:12]), head.startswith(b"http/1.1") and b"\r\nconnection: close" not in head


def more(connection):
    data = connection.recv(1 << 20)
    if not data:
        raise RuntimeError("the server has closed the connection before the end of an answer")
    return data


def sawhorse_port(process):
    for line in process.stdout:
        if found := re.match(r"cloud\s+http://127\.0\.0\.1:(\d+)", line):
            return int(found[1])
    raise RuntimeError("the cloud did not start")


def first(pattern, text):
    return re.search(pattern, text)[1]


def starts(name, command, port_of):
    """Starts the server a few times; the milliseconds that took."""
    times = []
    for _ in range(STARTS):
        cloud = Cloud(name, command, port_of)
        cloud.stop()
        times.append(cloud.start_ms)
    return times


def measure(cloud, image, start_ms):
    """Fills the cloud, then measures."""
    figures = {"start to first answer, ms": statistics.median(start_ms), "idle memory, MiB": cloud.idle_mib}
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
    servers = [
        ("sawhorse", [sawhorse, "cloud", "--port", "0"], sawhorse_port),
        ("moto_server", [moto, "-H", "127.0.0.1", "-p", "45671"], lambda _: 45671),
    ]
    start_ms = [starts(*server) for server in servers]
    clouds = [Cloud(*server) for server in servers]
    try:
        images = [first(r"<imageId>(ami-\w+)</imageId>", cloud.call("DescribeImages", **{
            "Filter.1.Name": "architecture", "Filter.1.Value.1": "x86_64"})) for cloud in clouds]
        ours, theirs = (measure(*each) for each in zip(clouds, images, start_ms))
    finally:
        for cloud in clouds:
            cloud.stop()
    failed = False
    print(f"{'':36} {'sawhorse':>12} {'moto_server':>12} {'ratio':>8}")
    for name, our in ours.items():
        their = theirs[name]
        ratio = our / their if name.endswith("1/s") else their / our
        print(f"{name:36} {our:12.1f} {their:12.1f} {ratio:7.0f}x")
        failed |= name.endswith("1/s") and ratio < CLAIM
    failed |= ours["start to first answer, ms"] > 50 or ours["idle memory, MiB"] > 38.1
    print("below what is claimed" if failed else "as claimed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
