"""Runs steps 1 to 7 of ecs/README.md against moto, a simulation of AWS, and reads back what
matters. It says which resources moto does not make; deploy/*_test.go reads those, and the
properties that moto does not keep, in the templates. No account is touched."""

import hashlib
import ipaddress
import itertools
import logging
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import warnings

import boto3
import moto.cloudformation.parsing as parsing
import moto.ec2.models.subnets as subnets
import moto.elbv2.models as elb
from moto.server import ThreadedMotoServer

ROOT = pathlib.Path(__file__).resolve().parent.parent
REGION = "eu-west-1"


def complete_moto():
    """Gives moto what it lacks of CloudFormation: AWS::NoValue takes an item out of a list,
    Fn::Cidr cuts a range, a subnet knows its own, names of repositories are in lower case, and
    a load balancer has the type that its template says."""
    clean = parsing.clean_json

    def complete(value, resources):
        if isinstance(value, dict) and "Fn::Cidr" in value:
            block, count, bits = complete(value["Fn::Cidr"], resources)
            cut = ipaddress.ip_network(block).subnets(new_prefix=32 - int(bits))
            return [str(n) for n in itertools.islice(cut, int(count))]
        cleaned = clean(value, resources)
        return [v for v in cleaned if v is not None] if isinstance(value, list) else cleaned

    parsing.clean_json = complete
    named = parsing.generate_resource_name

    def lower(kind, *rest):
        name = named(kind, *rest)
        return name.lower() if kind == "AWS::ECR::Repository" else name

    parsing.generate_resource_name = lower
    subnets.Subnet.get_cfn_attribute = lambda self, name: {"CidrBlock": self.cidr_block}[name]
    subnets.Subnet.has_cfn_attr = classmethod(lambda cls, name: name == "CidrBlock")
    create = elb.ELBv2Backend.create_load_balancer

    def network(self, *args, **kwargs):
        return create(self, *args, **{**kwargs, "loadbalancer_type": "network"})

    elb.ELBv2Backend.create_load_balancer = network


def walkthrough():
    """The commands of steps 1 to 7, without what needs Docker or a running function."""
    readme = (ROOT / "deploy/ecs/README.md").read_text()
    section = readme.split("\n## From an account to the first refusal\n")[1].split("\n**8. ")[0]
    blocks = re.findall(r"^```bash\n(.*?)^```", section, re.M | re.S)
    assert len(blocks) >= 7, "the README has no steps"
    return "\n".join(blocks)


# What stands in for Docker, and for calls that a simulation cannot answer.
PRELUDE = """
set -euo pipefail
docker() { [ "$1" != login ] || cat >/dev/null; echo "(not run) docker $1" >&2; }
aws() {
  case "$1 $2" in
    "lambda invoke") echo '{}' >answer.json ;;
    "ecr get-login-password") echo none ;;
    "cloudformation deploy") python3 deploy/check_stacks.py "$@" ;;
    *) command aws "$@" ;;
  esac
}
"""



def create(arguments):
    """Does what "aws cloudformation deploy" does: moto forgets the outputs of a stack that was
    made by a change set, which is how the command makes one."""
    name = arguments[arguments.index("--stack-name") + 1]
    template = arguments[arguments.index("--template-file") + 1]
    capabilities = ["CAPABILITY_IAM"] if "CAPABILITY_IAM" in arguments else []
    parameters = arguments[arguments.index("--parameter-overrides") + 1 :] if "--parameter-overrides" in arguments else []
    pairs = [p.split("=", 1) for p in parameters]
    cf = boto3.client("cloudformation")
    body = pathlib.Path(template).read_text()
    if "AWS::IAM::" in body and not capabilities:
        sys.exit(f"{template} makes roles; deploy it with CAPABILITY_IAM")
    known = set(re.findall(r"^  (\w+):$", body.partition("\nParameters:\n")[2].partition("\n\n")[0], re.M))
    unknown = [k for k, v in pairs if k not in known or not v or v == "None"]
    if unknown:
        sys.exit(f"{template}: {unknown} is no parameter, or is empty")
    cf.create_stack(StackName=name, TemplateBody=body, Capabilities=capabilities,
                    Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in pairs])


failures = []


def expect(what, got, want):
    if got == want:
        print(f"{what}: {got}")
    else:
        failures.append(what)
        print(f"{what}: {got}, want {want}")


def outputs(cf, stack):
    found = cf.describe_stacks(StackName=stack)["Stacks"][0]
    expect(f"{stack}", found["StackStatus"], "CREATE_COMPLETE")
    return {o["OutputKey"]: o["OutputValue"] for o in found["Outputs"]}


def read_back(client):
    cf = client("cloudformation")
    store, network, proxy, sample = (outputs(cf, f"egress-{s}") for s in ("store", "network", "proxy", "sample"))
    ec2, s3, ecs = client("ec2"), client("s3"), client("ecs")

    bucket = store["PolicyBucket"]
    rules = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    expect("bucket encryption", rules[0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"], "AES256")
    policy = s3.get_object(Bucket=bucket, Key="egress.yaml")["Body"].read().decode()
    sample_policy = (ROOT / "deploy/ecs/egress.yaml").read_text()
    expect("the policy in the bucket has a token of its own", policy != sample_policy, True)
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as f:
        f.write(policy)
        f.flush()
        said = subprocess.run([ROOT / "bin/proxy", "check", f.name], capture_output=True, text=True)
    expect("proxy check of it", (said.returncode, said.stdout.strip()), (0, "ok: 1 functions, 1 rules"))

    # moto keeps no associations of stacks; which subnet has which table is read in the template.
    routes = {t["RouteTableId"]: t["Routes"] for t in ec2.describe_route_tables()["RouteTables"]}
    out = [r for r in routes.pop(network["FunctionRouteTableId"]) if r.get("GatewayId") != "local"]
    expect("ways out of the isolated subnets", [r for r in out if r.get("DestinationCidrBlock")], [])
    nat = [r["NatGatewayId"] for rs in routes.values() for r in rs if r.get("DestinationCidrBlock") == "0.0.0.0/0" and r.get("NatGatewayId")]
    expect("NAT gateways that private subnets use", len(set(nat)), 2)
    groups = ec2.describe_security_groups()["SecurityGroups"]
    world = [g["GroupId"] for g in groups for p in g["IpPermissions"] for r in p.get("IpRanges", []) if r["CidrIp"] == "0.0.0.0/0"]
    expect("security groups open to the world", world, [])
    endpoints = ec2.describe_vpc_endpoints()["VpcEndpoints"]
    expect("endpoints", sorted(e["ServiceName"].rsplit(".", 1)[1] for e in endpoints), ["dynamodb", "s3"])

    service = ecs.describe_services(cluster=proxy["Cluster"], services=[proxy["Service"]])["services"][0]
    task = ecs.describe_task_definition(taskDefinition=service["taskDefinition"])["taskDefinition"]
    container = task["containerDefinitions"][0]
    expect("log mode", container["logConfiguration"]["options"]["mode"], "blocking")
    expect("stop timeout", int(container["stopTimeout"]), 120)
    expect("read-only root", container["readonlyRootFilesystem"] in (True, "true"), True)
    expect("health check", container["healthCheck"]["command"], ["CMD", "/proxy", "healthcheck", "--live"])
    expect("command", container["command"], ["run", "--config", f"s3://{bucket}/egress.yaml", "--emf", "60s", "--emf-deployment", "egress-proxy"])
    expect("image", container["image"], store["RepositoryUri"] + ":v1.0.0")
    groups = client("logs").describe_log_groups()["logGroups"]
    kept = {g["logGroupName"]: g.get("retentionInDays") for g in groups}
    expect("retention of records, days", int(kept[store["LogGroup"]]), 400)
    expect("retention of flow logs, days", int(kept[network["FlowLogGroup"]]), 400)
    listeners = client("elbv2").describe_listeners(LoadBalancerArn=client("elbv2").describe_load_balancers()["LoadBalancers"][0]["LoadBalancerArn"])
    expect("listeners", [(l["Protocol"], int(l["Port"])) for l in listeners["Listeners"]], [("TCP", 3128)])

    default = ec2.describe_security_groups(GroupIds=[network["DefaultSecurityGroupId"]])["SecurityGroups"][0]
    expect("ways through the default security group", default["IpPermissions"] + default["IpPermissionsEgress"], [])
    expect("the proxy's subnets, as the policy has them", f"proxy_protocol_from: [{network['ProxySubnetCidrs']}]" in policy, True)

    function = client("lambda").get_function_configuration(FunctionName=sample["FunctionName"])
    variables = function["Environment"]["Variables"]
    # moto leaves the dynamic reference as it is, so it is followed here.
    reference = re.fullmatch(r"http://sample-function:\{\{resolve:secretsmanager:(arn:.*):SecretString:::(.*)\}\}@(.*):3128", variables["HTTPS_PROXY"])
    token = client("secretsmanager").get_secret_value(SecretId=reference[1], VersionId=reference[2])["SecretString"]
    expect("the policy has the digest of the function's token", f'"sha256:{hashlib.sha256(token.encode()).hexdigest()}"' in policy, True)
    expect("the function's proxy", reference[3], proxy["ProxyHost"])
    expect("its subnets", sorted(function["VpcConfig"]["SubnetIds"]), sorted(network["FunctionSubnets"].split(",")))
    return cf


def not_made(cf):
    for stack, template in (("store", "store"), ("network", "network"), ("proxy", "proxy"), ("sample", "function")):
        have = {r["ResourceType"] for r in cf.list_stack_resources(StackName=f"egress-{stack}")["StackResourceSummaries"]}
        text = (ROOT / f"deploy/ecs/{template}.yaml").read_text()
        missing = sorted(set(re.findall(r"^    Type: (AWS::(?!Route53)\w+::\w+)$", text, re.M)) - have)
        if missing:
            print(f"{template}.yaml: moto does not make {', '.join(m[5:] for m in missing)}")


def main():
    complete_moto()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")  # moto warns of what not_made tells
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    left = [ROOT / "egress.yaml", ROOT / "bin/proxy"]  # what the steps make here
    kept = {f: f.read_bytes() for f in left if f.exists()}
    env = {k: v for k, v in os.environ.items() if not re.match(r"(?i)^(https?|all|no)_proxy$|^AWS_", k)}
    env |= {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none", "AWS_ENDPOINT_URL": endpoint,
            "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_PAGER": ""}
    try:
        ran = subprocess.run(["bash", "-c", PRELUDE + walkthrough()], cwd=ROOT, env=env, capture_output=True, text=True, timeout=540)
        if ran.returncode != 0:
            print(ran.stdout, ran.stderr)
            sys.exit("the steps of ecs/README.md do not run")
        os.environ.update(AWS_ACCESS_KEY_ID="none", AWS_SECRET_ACCESS_KEY="none")
        cf = read_back(lambda service: boto3.client(service, region_name=REGION, endpoint_url=endpoint))
        not_made(cf)
    finally:
        server.stop()
        for f in left:
            if f in kept:
                f.write_bytes(kept[f])
            else:
                f.unlink(missing_ok=True)
        if (ROOT / "bin").is_dir() and not any((ROOT / "bin").iterdir()):
            (ROOT / "bin").rmdir()
    if failures:
        sys.exit(f"{len(failures)} differ: {', '.join(failures)}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        create(sys.argv[3:])
    else:
        main()
