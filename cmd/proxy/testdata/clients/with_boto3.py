# PUTs a file into a bucket and GETs it back with boto3, which finds the proxy
# in the environment. One attempt: by itself boto3 makes five in nine seconds.
# usage: with_boto3.py URL CA PAYLOAD OUT
import sys

import boto3
from botocore.config import Config

url, ca, payload, out = sys.argv[1:]
s3 = boto3.client(
    "s3",
    endpoint_url=url,
    verify=ca,
    region_name="eu-west-1",
    aws_access_key_id="AKIAEXAMPLE",
    aws_secret_access_key="example",
    config=Config(
        retries={"total_max_attempts": 1},
        s3={"addressing_style": "path"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    ),
)
with open(payload, "rb") as f:
    s3.put_object(Bucket="bucket", Key="key", Body=f.read())
with open(out, "wb") as f:
    f.write(s3.get_object(Bucket="bucket", Key="key")["Body"].read())
