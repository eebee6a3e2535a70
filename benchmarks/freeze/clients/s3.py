# boto3 with one client of S3 and no second attempts: URL, connections, proxy or "".
import sys, threading
import boto3, botocore.config

url, n, proxy = sys.argv[1], int(sys.argv[2]), sys.argv[3]
client = boto3.client("s3", endpoint_url=url, config=botocore.config.Config(
    max_pool_connections=n, retries={"total_max_attempts": 1}, proxies={"https": proxy} if proxy else {}, read_timeout=60))

def all_at_once():
    failed = []
    def one():
        try:
            client.list_buckets()
        except Exception as e:
            failed.append(e)
            print(repr(e)[:200], file=sys.stderr)
    threads = [threading.Thread(target=one) for _ in range(n)]
    for t in threads: t.start()
    for t in threads: t.join()
    print(len(failed), flush=True)

all_at_once()
sys.stdin.readline()
all_at_once()
