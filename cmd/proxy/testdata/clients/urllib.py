# POSTs a file with urllib, which finds the proxy in the environment.
# usage: urllib.py URL CA PAYLOAD OUT
import ssl
import sys
import urllib.request

url, ca, payload, out = sys.argv[1:]
with open(payload, "rb") as f:
    request = urllib.request.Request(url, data=f.read())
context = ssl.create_default_context(cafile=ca)
with urllib.request.urlopen(request, timeout=60, context=context) as response, open(out, "wb") as f:
    f.write(response.read())
