"""What moto cannot play: a task that fails, a version that does not start, a log that stalls, an
update. The tasks are the real program on loopback; the load balancer and the scheduler of ECS
are stand-ins with the numbers of proxy.yaml, a hundred times as fast."""

import base64
import pathlib
import re
import socket
import subprocess
import tempfile
import threading
import time

from rehearsal.pages import ROOT

FASTER = 100
FAILURES = 3  # after so many the circuit breaker of ECS rolls back a small service


def setting(name):
    """A number of proxy.yaml."""
    return int(re.search(rf"^ *{name}: (\d+)$", (ROOT / "deploy/ecs/proxy.yaml").read_text(), re.M)[1])


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait(what, true, seconds=60):
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise SystemExit(f"never: {what}")
        time.sleep(0.02)


def pump(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def serve(listener, handle):
    def accept():
        while True:
            try:
                conn, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=handle, args=(conn,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


class Task:
    """One task: the program with a policy of its own ports. Nobody reads the output of one whose
    log stalls."""

    def __init__(self, binary, folder, policy, stalls=False):
        self.binary, self.port, self.admin = binary, free_port(), free_port()
        file = pathlib.Path(tempfile.mkstemp(dir=folder, suffix=".yaml")[1])
        file.write_text(policy.replace("PORT", str(self.port)).replace("ADMIN", str(self.admin)))
        out = subprocess.PIPE if stalls else subprocess.DEVNULL
        self.process = subprocess.Popen([binary, "run", "--config", file], stdout=out, stderr=subprocess.DEVNULL)

    def runs(self):
        return self.process.poll() is None

    def alive(self):
        """The container's health check, as proxy.yaml has it."""
        command = re.search(r"Command: \[CMD, /proxy, (healthcheck.*)\]", (ROOT / "deploy/ecs/proxy.yaml").read_text())[1].split(", ")
        return subprocess.run([self.binary, *command, "--admin", f"127.0.0.1:{self.admin}"], capture_output=True).returncode == 0

    def ready(self):
        return subprocess.run([self.binary, "healthcheck", "--admin", f"127.0.0.1:{self.admin}"], capture_output=True).returncode == 0

    def end(self):
        if self.runs():
            self.process.kill()
        self.process.wait()


class Balancer:
    """Forwards connections to healthy targets with a PROXY v2 header, and checks by TCP."""

    def __init__(self):
        self.targets, self.lock, self.turn, self.stopped = {}, threading.Lock(), 0, False
        self.connections = {}  # by port, those of targets that are being deregistered too
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        serve(self.listener, self.forward)
        threading.Thread(target=self.check, daemon=True).start()

    def register(self, port):
        with self.lock:
            self.targets[port] = {"healthy": False, "row": 0}

    def deregister(self, port):
        with self.lock:
            self.targets.pop(port, None)

    def healthy(self):
        with self.lock:
            return [p for p, t in self.targets.items() if t["healthy"]]

    def check(self):
        up, down = setting("HealthyThresholdCount"), setting("UnhealthyThresholdCount")
        while not self.stopped:
            for port in list(self.targets):
                conn = self.dial(port)
                answers = conn is not None
                if answers:
                    conn.close()
                with self.lock:
                    t = self.targets.get(port)
                    if t is None:
                        continue
                    t["row"] = t["row"] + 1 if answers != t["healthy"] else 0
                    if t["row"] >= (up if answers else down):
                        t["healthy"], t["row"] = answers, 0
            time.sleep(setting("HealthCheckIntervalSeconds") / FASTER)

    @staticmethod
    def dial(port):
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=5)
        except OSError:
            return None

    def forward(self, client):
        with self.lock:
            healthy = [p for p, t in self.targets.items() if t["healthy"]]
            self.turn += 1
            port = healthy[self.turn % len(healthy)] if healthy else None
            self.connections[port] = self.connections.get(port, 0) + 1
        try:
            self.carry(client, self.dial(port) if port else None)
        finally:
            with self.lock:
                self.connections[port] -= 1

    def carry(self, client, server):
        if server is None:
            client.close()
            return
        server.settimeout(None)
        a, b = client.getpeername(), client.getsockname()
        head = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + socket.inet_aton(a[0]) + socket.inet_aton(b[0]) + a[1].to_bytes(2, "big") + b[1].to_bytes(2, "big")
        server.sendall(head)
        back = threading.Thread(target=pump, args=(server, client), daemon=True)
        back.start()
        pump(client, server)
        back.join()


class Service:
    """The scheduler of ECS: keeps the number of tasks, starts new beside old, rolls back."""

    def __init__(self, balancer, start, tasks):
        self.balancer, self.start, self.tasks = balancer, start, []
        self.started = 0
        for _ in range(tasks):
            self.add(start)
        self.settle()

    def add(self, start):
        task = start()
        self.started += 1
        self.tasks.append(task)
        self.balancer.register(task.port)
        return task

    def settle(self):
        wait("every task is healthy", lambda: set(self.balancer.healthy()) == {t.port for t in self.tasks})

    def remove(self, task):
        self.balancer.deregister(task.port)
        self.tasks.remove(task)

    def replace_what_failed(self):
        """Tasks that ended, fail the balancer's check or the container's are replaced."""
        for task in [t for t in self.tasks if not t.runs() or not t.alive()]:
            self.remove(task)
            task.end()
            self.add(self.start)
        self.settle()

    def deploy(self, start):
        """At least all tasks stay, at most twice as many run. Returns whether it was rolled back."""
        old, failed = list(self.tasks), 0
        fresh = []
        while len(fresh) < len(old):
            task = self.add(start)
            wait("the new task is healthy, or ended", lambda: task.port in self.balancer.healthy() or not task.runs())
            if task.runs():
                fresh.append(task)
                continue
            self.remove(task)
            failed += 1
            if failed == FAILURES:
                for t in fresh:
                    self.remove(t)
                    t.end()
                return True
        self.start = start
        for task in old:
            self.remove(task)
            # The deregistration delay: what is under way ends by itself.
            wait("the old task has nothing to do", lambda: not self.balancer.connections.get(task.port))
            task.process.terminate()
        for task in old:
            task.process.wait(timeout=60)
        return False


class Caller:
    """Calls through the balancer, over and over, and counts."""

    def __init__(self, port, token, origin):
        self.port, self.origin = port, origin
        self.credential = base64.b64encode(f"demo:{token}".encode()).decode()
        self.ok = self.failed = 0
        self.stopped = False

    def tunnel(self, host="localhost"):
        conn = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        conn.sendall(f"CONNECT {host}:{self.origin} HTTP/1.1\r\nHost: {host}\r\nProxy-Authorization: Basic {self.credential}\r\n\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head:
            data = conn.recv(4096)
            if not data:
                raise OSError("closed before an answer")
            head += data
        return conn, head.split(b" ")[1].decode()

    def echoes(self, conn):
        try:
            conn.sendall(b"hello\n")
            return conn.recv(100) == b"hello\n"
        except OSError:
            return False

    def call(self):
        try:
            conn, status = self.tunnel()
            with conn:
                good = status == "200" and self.echoes(conn)
        except OSError:
            good = False
        self.ok, self.failed = self.ok + good, self.failed + (not good)
        return good

    def calls(self, times):
        self.ok = self.failed = 0
        for _ in range(times):
            self.call()
        return self.ok, self.failed

    def during(self, do):
        """Calls while something happens; returns what it returned, and the counts."""
        self.ok = self.failed = 0
        done = threading.Event()

        def loop():
            while not done.is_set():
                self.call()

        thread = threading.Thread(target=loop)
        thread.start()
        try:
            result = do()
        finally:
            done.set()
            thread.join()
        return result, self.ok, self.failed


POLICY = """
version: 1
listen: {{proxy: "127.0.0.1:PORT", admin: "127.0.0.1:ADMIN", proxy_protocol_from: [127.0.0.0/8]}}
functions:
  demo:
    identify: {{tokens: ["{digest}"]}}
    allow:
      - {{host: localhost, ports: [{origin}], tls: any, addresses: [127.0.0.0/8, "::1/128"]}}
limits: {{drain: 2s}}
"""


def play(expect):
    with tempfile.TemporaryDirectory() as folder:
        binary = pathlib.Path(folder) / "proxy"
        subprocess.run(["go", "build", "-o", binary, "./cmd/proxy"], cwd=ROOT, check=True)
        said = subprocess.run([binary, "token", "demo"], capture_output=True, text=True, check=True).stdout
        token, digest = re.search(r"demo:([^@]+)@", said)[1], re.search(r"sha256:[0-9a-f]{64}", said)[0]
        origin = socket.create_server(("127.0.0.1", 0))
        serve(origin, lambda conn: pump(conn, conn))
        policy = POLICY.format(digest=digest, origin=origin.getsockname()[1])
        balancer = Balancer()
        service = Service(balancer, lambda: Task(binary, folder, policy), tasks=2)
        caller = Caller(balancer.port, token, origin.getsockname()[1])
        try:
            scenes(expect, binary, folder, policy, balancer, service, caller)
        finally:
            balancer.stopped = True
            for task in service.tasks:
                task.end()


def scenes(expect, binary, folder, policy, balancer, service, caller):
    print("two tasks, by the real program")
    expect("calls", caller.calls(20), (20, 0))

    print("a task dies")
    survivor, victim = service.tasks
    held = []
    while len({t for t, _ in held}) < 2:  # a tunnel at each
        before = balancer.turn
        conn, _ = caller.tunnel()
        held.append((balancer.healthy()[(before + 1) % 2], conn))
    victim.process.kill()

    def noticed():
        wait("the balancer notices", lambda: balancer.healthy() == [survivor.port])

    _, ok, failed = caller.during(noticed)
    print(f"  until it is noticed: {ok} calls went through, {failed} did not")
    expect("then", caller.calls(20), (20, 0))
    expect("the tunnel at the other", [caller.echoes(c) for p, c in held if p == survivor.port][0], True)
    expect("the tunnel at the dead one", [caller.echoes(c) for p, c in held if p == victim.port][0], False)
    for _, conn in held:
        conn.close()
    _, ok, failed = caller.during(service.replace_what_failed)
    expect("calls that fail while it is replaced", failed, 0)
    expect("healthy tasks", len(balancer.healthy()), 2)

    print("a version that does not start")
    before = [t.process.pid for t in service.tasks]
    rolled_back, ok, failed = caller.during(lambda: service.deploy(lambda: Task(binary, folder, policy.replace("version: 1", "version: one"))))
    expect("it is rolled back", rolled_back, True)
    expect("calls that fail meanwhile", failed, 0)
    expect("the tasks are those of before", [t.process.pid for t in service.tasks], before)

    print("a version that starts")
    rolled_back, ok, failed = caller.during(lambda: service.deploy(lambda: Task(binary, folder, policy)))
    expect("it is rolled back", rolled_back, False)
    expect("calls that fail meanwhile", failed, 0)
    expect("a task of before is left", any(t.process.pid in before for t in service.tasks), False)

    print("a log that stalls")
    stalled = Service(Balancer(), lambda: Task(binary, folder, policy, stalls=True), tasks=1)
    task = stalled.tasks[0]
    there = Caller(stalled.balancer.port, caller_token(caller), caller.origin)
    conn, _ = there.tunnel()

    def refused():
        other, status = there.tunnel("evil.example")
        other.close()
        return status

    wait("records are refused", lambda: refused() == "503")
    expect("ready", task.ready(), False)
    stalled.replace_what_failed()
    expect("the same task", stalled.tasks == [task] and task.runs() and stalled.started == 1, True)
    expect("its tunnel", there.echoes(conn), True)
    stalled.balancer.stopped = True
    task.end()


def caller_token(caller):
    return base64.b64decode(caller.credential).decode().partition(":")[2]
