# boto3 with one client of S3 and no second attempts: URL, connections, proxy or "".
import sys
import boto3, botocore.config
import pooled

url, n, proxy = sys.argv[1], int(sys.argv[2]), sys.argv[3]
client = boto3.client("s3", endpoint_url=url, config=botocore.config.Config(
    max_pool_connections=n, retries={"total_max_attempts": 1}, proxies={"https": proxy} if proxy else {}, read_timeout=60))
pooled.run(n, client.list_buckets)
