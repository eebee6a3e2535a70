# requests with one session: URL, connections, proxy or "".
import sys, threading
import requests

url, n, proxy = sys.argv[1], int(sys.argv[2]), sys.argv[3]
session = requests.Session()
session.mount("https://", requests.adapters.HTTPAdapter(pool_connections=1, pool_maxsize=n))
proxies = {"https": proxy} if proxy else {}

def get():
    session.get(url, proxies=proxies, timeout=60)

def all_at_once():
    failed = []
    def one():
        try:
            get()
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
