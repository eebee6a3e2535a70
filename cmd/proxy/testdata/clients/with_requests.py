# POSTs a file with requests, which finds the proxy in the environment.
# usage: with_requests.py URL CA PAYLOAD OUT
import sys

import requests

url, ca, payload, out = sys.argv[1:]
with open(payload, "rb") as f:
    response = requests.post(url, data=f.read(), verify=ca, timeout=60)
response.raise_for_status()
with open(out, "wb") as f:
    f.write(response.content)
