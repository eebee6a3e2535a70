# requests with one session: URL, connections, proxy or "".
import sys
import requests
import pooled

url, n, proxy = sys.argv[1], int(sys.argv[2]), sys.argv[3]
session = requests.Session()
session.mount("https://", requests.adapters.HTTPAdapter(pool_connections=1, pool_maxsize=n))
proxies = {"https": proxy} if proxy else {}
pooled.run(n, lambda: session.get(url, proxies=proxies, timeout=60))
