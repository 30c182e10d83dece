"""Lets a fake cloud's machines change their states within a second, so that waiting for them does not take minutes."""

import json
import sys
import urllib.request

SHORT = {"min": "200ms", "max": "800ms"}
BODY = json.dumps({"pending": SHORT, "stopping": SHORT, "shuttingDown": SHORT, "interruptionNotice": "3s"}).encode()
urllib.request.urlopen(urllib.request.Request(f"{sys.argv[1]}/control/v1/delays", BODY, method="PUT")).close()
