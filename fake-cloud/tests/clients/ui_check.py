#!/usr/bin/env python3
"""The fake cloud's page in a real browser: Debian's chromium, driven by its chromedriver over the WebDriver protocol.

    AWS_ENDPOINT_URL=http://127.0.0.1:PORT python ui_check.py

Looks at what the page shows while a machine is bought, and clicks what a person would. Prints one line per check and
`N passed, N failed`.
"""

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import boto3
import botocore.config
import botocore.exceptions

ENDPOINT = os.environ["AWS_ENDPOINT_URL"]
PATIENCE_S = 120
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # WebDriver's own key of an element's id

results = {True: 0, False: 0}


def check(name, truth, detail=""):
    results[bool(truth)] += 1
    print(f"ok    {name}" if truth else f"FAIL  {name}: {detail}", flush=True)


def http_json(method, url, body=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method), timeout=PATIENCE_S) as answer:
        return json.load(answer)


def control(method, path, body=None):
    return http_json(method, f"{ENDPOINT}/control/v1{path}", body)


class Browser:
    """One window."""

    def __init__(self, driver, profile):
        # Chromium does not run as root with its sandbox.
        arguments = ["--headless=new", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={profile}"]
        arguments += ["--no-sandbox"] if os.geteuid() == 0 else []
        wanted = {"browserName": "chrome", "goog:chromeOptions": {"args": arguments}, "goog:loggingPrefs": {"browser": "ALL"}}
        made = http_json("POST", f"{driver}/session", {"capabilities": {"alwaysMatch": wanted}})
        self.url = f"{driver}/session/{made['value']['sessionId']}"

    def do(self, method, path, body=None):
        return http_json(method, self.url + path, body)["value"]

    def script(self, text):
        return self.do("POST", "/execute/sync", {"script": text, "args": []})

    def text(self, selector):
        return self.script(f"return document.querySelector({json.dumps(selector)})?.innerText ?? ''")

    def click(self, selector, text):
        """Clicks as a person does the first such element that says `text`; rows are made anew all the time, so tries again."""
        found = []

        def attempt():
            for one in self.do("POST", "/elements", {"using": "css selector", "value": selector}):
                with contextlib.suppress(urllib.error.HTTPError):
                    if self.do("GET", f"/element/{one[ELEMENT]}/text") == text:
                        self.do("POST", f"/element/{one[ELEMENT]}/click", {})
                        found.append(one)
                        return True
            return False

        self.until(attempt)
        return bool(found)

    @staticmethod
    def until(condition):
        """Waits until it holds; whether it does in the end."""
        end = time.monotonic() + PATIENCE_S
        while not (truth := condition()) and time.monotonic() < end:
            time.sleep(0.1)
        return truth


def start_driver():
    """chromedriver on a port of its choice."""
    process = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for line in process.stdout:
        if found := re.search(r"started successfully on port (\d+)", line):
            return process, f"http://127.0.0.1:{found[1]}"
    raise RuntimeError("chromedriver did not start")


def clicks(page, ec2, ssm):
    """A person's way through the page."""
    page.do("POST", "/url", {"url": f"{ENDPOINT}/ui"})
    check("the page is there", page.do("GET", "/title") == "sawhorse cloud", page.do("GET", "/title"))
    check("it says where", page.until(lambda: "us-west-2, cluster sawhorse" in page.text("#where")), page.text("#where"))
    check("nothing runs", page.text("#running") == "0", page.text("#running"))
    alias = "/aws/service/eks/optimized-ami/1.35/amazon-linux-2023/x86_64/standard/recommended/image_id"
    image = ssm.get_parameter(Name=alias)["Parameter"]["Value"]
    spot = {"ImageId": image, "InstanceType": "m5.large", "MinCount": 1, "MaxCount": 1, "InstanceMarketOptions": {"MarketType": "spot"}}
    [machine] = ec2.run_instances(**spot)["Instances"]
    row = lambda: page.text("#machines tr")  # noqa: E731
    check("a machine that is bought appears by itself", page.until(lambda: machine["InstanceId"] in row()), row())
    check("and is counted as running", page.until(lambda: page.text("#running") == "1"), page.text("#running"))
    check("its price is told", page.until(lambda: float(page.text("#hourly")) > 0), page.text("#hourly"))
    check("calls are listed", "RunInstances" in page.text("#calls"), page.text("#calls")[:200])
    check("a click interrupts it", page.click("#machines button", "interrupt") and page.until(lambda: "interrupted" in row()), row())
    check("a click exhausts its pool", page.click("#pools button", "exhaust")
          and page.until(lambda: "refill" in page.text("#pools")), page.text("#pools"))
    zone = machine["Placement"]["AvailabilityZone"]
    try:
        ec2.run_instances(**spot, Placement={"AvailabilityZone": zone})
        check("the pool is empty", False, "a machine was bought")
    except botocore.exceptions.ClientError as error:
        check("the pool is empty", error.response["Error"]["Code"] == "InsufficientInstanceCapacity", error)
    check("a click throttles", page.click("#throttle", "Throttle to a tenth")
          and page.until(lambda: control("GET", "/throttling")["enabled"]), control("GET", "/throttling"))
    check("and the button offers the way back", page.until(lambda: page.text("#throttle") == "Lift the limits"))
    control("POST", "/faults", {"operation": "CreateFleet", "effect": "throttle"})
    check("a fault appears", page.until(lambda: "CreateFleet" in page.text("#faults")), page.text("#faults"))
    check("a click removes it", page.click("#clear", "Remove faults") and page.until(lambda: page.text("#faults") == ""), page.text("#faults"))
    check("what was done is told", "done: /faults" in page.text("#told"), page.text("#told"))
    wrong = [entry["message"] for entry in page.do("POST", "/se/log", {"type": "browser"}) if entry["level"] == "SEVERE"]
    # Browsers ask every server for this; a page without an icon is no fault.
    wrong = [message for message in wrong if "favicon.ico" not in message]
    check("the browser has nothing to complain of", not wrong, wrong)


def main():
    config = botocore.config.Config(retries={"total_max_attempts": 1})
    ec2, ssm = (boto3.client(service, endpoint_url=ENDPOINT, config=config) for service in ("ec2", "ssm"))
    process, driver = start_driver()
    try:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
            page = Browser(driver, profile)
            try:
                clicks(page, ec2, ssm)
            finally:
                page.do("DELETE", "")
    except Exception as error:  # noqa: BLE001 - any surprise is a failed check
        check("the page is driven to the end", False, f"{type(error).__name__}: {error}")
    finally:
        process.terminate()
        process.wait()
    print(f"{results[True]} passed, {results[False]} failed")
    sys.exit(1 if results[False] else 0)


if __name__ == "__main__":
    main()
