# What the clients in Python have in common.
import sys, threading

def run(n, request):
    """Makes n requests at once, says how many failed, and does it again behind a line of input."""
    all_at_once(n, request)
    sys.stdin.readline()
    all_at_once(n, request)

def all_at_once(n, request):
    failed = []
    def one():
        try:
            request()
        except Exception as e:
            failed.append(e)
            print(repr(e)[:200], file=sys.stderr)
    threads = [threading.Thread(target=one) for _ in range(n)]
    for t in threads: t.start()
    for t in threads: t.join()
    print(len(failed), flush=True)
