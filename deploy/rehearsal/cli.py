"""The AWS CLI without its start: a process that has it loaded forks for each command, with the
command's own arguments, variables, folder and streams. Hundreds of commands are run, and the
start of each costs most of its time."""

import json
import os
import socket
import sys

CLIENT = """
import json, os, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
socket.send_fds(s, [json.dumps([sys.argv[2:], dict(os.environ), os.getcwd()]).encode()], [0, 1, 2])
sys.exit(int(s.recv(8) or 1))
"""


def serve(path):
    """Serves until it is killed."""
    import awscli.clidriver
    import awscli.customizations.s3.s3  # noqa: F401

    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    while True:
        conn, _ = listener.accept()
        if os.fork() == 0:
            os._exit(answer(conn, awscli.clidriver))
        conn.close()
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass


def answer(conn, driver):
    """Runs one command; the caller has its exit code."""
    asked, fds, _, _ = socket.recv_fds(conn, 1 << 20, 3)
    arguments, variables, folder = json.loads(asked)
    for at, fd in enumerate(fds):
        os.dup2(fd, at)
    data = os.environ.get("AWS_DATA_PATH", "")  # the CLI's own, which it sets as it is loaded
    os.environ.clear()
    os.environ.update(variables, AWS_DATA_PATH=data)
    os.chdir(folder)
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(n, mode, closefd=False) for n, mode in ((0, "r"), (1, "w"), (2, "w")))
    sys.argv = ["aws", *arguments]
    try:
        code = driver.main()
    except SystemExit as end:
        code = end.code or 0
    sys.stdout.flush()
    sys.stderr.flush()
    conn.sendall(str(code).encode())
    return 0


if __name__ == "__main__":
    serve(sys.argv[1])
