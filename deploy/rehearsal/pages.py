"""The commands of the pages in ecs/, run as they stand there, in one shell. What a simulation
cannot answer has a stand-in, which says so."""

import ast
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import boto3

from rehearsal import cli

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent

# What stands in for Docker, for calls that a simulation cannot answer, and for waiting.
PRELUDE = """
set -euo pipefail
docker() { [ "$1" != login ] || cat >/dev/null; echo "(not run) docker $1" >&2; }
sleep() { command sleep 1; }
cli() { python3 -I -S -c "$CLI_CLIENT" "$CLI_SOCKET" "$@"; }
aws() {
  case "$1 $2" in
    "lambda invoke") echo '{}' >answer.json; echo "(not run) aws lambda invoke" >&2 ;;
    "ecr get-login-password") echo none ;;
    "logs tail") cli logs filter-log-events --log-group-name "$3" --query 'events[].message' --output text ;;
    "cloudformation deploy") python3 deploy/ecs/rehearse "$@" ;;
    *) cli "$@" ;;
  esac
}
"""


def blocks(page, begin, end, not_run=False):
    """Returns the blocks of a page between two texts; those that say not-run for a case of their
    own, or the others."""
    text = (ROOT / "deploy/ecs" / page).read_text()
    _, found, rest = text.partition(begin)
    if not found or end and end not in rest:
        sys.exit(f"{page} has no {begin!r} before {end!r}")
    section = rest.partition(end)[0] if end else rest
    mark = " not-run: [^\n]*" if not_run else ""
    commands = re.findall(rf"^ *```bash{mark}\n(.*?)^ *```", section, re.M | re.S)
    if not commands:
        sys.exit(f"{page} has no commands behind {begin!r}")
    return commands


class Shell:
    """A shell whose variables and functions outlive a run of it, as those of a terminal do."""

    def __init__(self, endpoint):
        self.folder = tempfile.TemporaryDirectory()
        self.state = pathlib.Path(self.folder.name) / "state"
        self.state.touch()
        at = str(pathlib.Path(self.folder.name) / "cli")
        self.cli = subprocess.Popen([sys.executable, cli.__file__, at])
        self.env = {k: v for k, v in os.environ.items() if not re.match(r"(?i)^(https?|all|no)_proxy$|^AWS_", k)}
        self.env |= {
            "AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none", "AWS_ENDPOINT_URL": endpoint, "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_PAGER": "",
            "CLI_CLIENT": cli.CLIENT, "CLI_SOCKET": at,
        }
        while not pathlib.Path(at).exists() and self.cli.poll() is None:
            time.sleep(0.1)
        self.commands = 0

    def run(self, commands, must=True):
        """Runs blocks; returns their output. A command that fails ends the rehearsal."""
        script = "\n".join(commands)
        self.commands += len(re.findall(r"^\s*(?:\w+=\$\()?aws ", script, re.M))
        save = f'{{ declare -f; declare -p | grep -v "^declare -[^ ]*r" | grep -v -E "^declare -[^ ]+ (BASH|FUNCNAME|GROUPS|DIRSTACK|PIPESTATUS)"; }} >{self.state}'
        ran = subprocess.run(["bash", "-c", f"source {self.state} 2>/dev/null || true\n{PRELUDE}\n{script}\n{save}"], cwd=ROOT, env=self.env, capture_output=True, text=True, timeout=900)
        if must and ran.returncode != 0:
            print(script, ran.stdout, ran.stderr, sep="\n")
            sys.exit("a command of the page does not run")
        return ran

    def close(self):
        self.cli.kill()
        self.cli.wait()
        self.folder.cleanup()


def listed(value):
    """Moto tells a list as Python prints it."""
    return ",".join(ast.literal_eval(value)) if value.startswith("[") else value


def deploy(arguments):
    """Does what "aws cloudformation deploy" does, and keeps the outputs: moto forgets those of a
    stack that was made by a change set, which is how the command makes one."""
    name = arguments[arguments.index("--stack-name") + 1]
    body = pathlib.Path(arguments[arguments.index("--template-file") + 1]).read_text()
    given = arguments[arguments.index("--parameter-overrides") + 1 :] if "--parameter-overrides" in arguments else []
    pairs = dict(p.split("=", 1) for p in given)
    if "AWS::IAM::" in body and "CAPABILITY_IAM" not in arguments:
        sys.exit(f"{name} makes roles; deploy it with CAPABILITY_IAM")
    known = set(re.findall(r"^  (\w+):$", body.partition("\nParameters:\n")[2].partition("\n\n")[0], re.M))
    unknown = [k for k, v in pairs.items() if k not in known or not v or v == "None"]
    if unknown:
        sys.exit(f"{name}: {unknown} is no parameter, or is empty")
    cf = boto3.client("cloudformation")
    stacks = [s for s in cf.describe_stacks()["Stacks"] if s["StackName"] == name]
    if stacks and stacks[0]["StackStatus"] == "DELETE_FAILED":
        sys.exit(f"{name} is in DELETE_FAILED state and can not be updated")
    if stacks:
        pairs = {p["ParameterKey"]: listed(p["ParameterValue"]) for p in stacks[0].get("Parameters", []) if p["ParameterKey"] in known} | pairs
    call = cf.update_stack if stacks else cf.create_stack
    call(StackName=name, TemplateBody=body, Capabilities=["CAPABILITY_IAM"], Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in pairs.items()])
