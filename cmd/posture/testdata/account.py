"""Serves an account of moto with planted faults, until standard input ends.

Prints the port on a line. Moto has neither function URLs as a list nor DNS Firewall;
those four calls are answered here, in the form that AWS documents.
"""
import io
import json
import logging
import re
import sys
import threading
import urllib.parse
import zipfile

import boto3
import requests
from moto.awslambda.models import LambdaFunction
from moto.ec2 import ec2_backends
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

REGION = "eu-west-1"
OPEN = '{"Statement":[{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}]}'
OWN = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*", "Condition": {
    "StringEquals": {"aws:PrincipalAccount": "123456789012", "aws:ResourceAccount": "123456789012"}}}]})
urls, firewalls = {}, {}  # by name of a function; by VPC: (rules that block, fails open)


def code():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        z.writestr("index.py", "def handler(e, c): pass")
    return out.getvalue()


def vpc_config(self):
    """Says the VPC of the subnets, where moto says vpc-123abc."""
    config = dict(self._vpc_config or {})
    if config.get("SubnetIds"):
        config["VpcId"] = ec2_backends[self.account_id][self.region].get_subnet(config["SubnetIds"][0]).vpc_id
    return config


LambdaFunction.vpc_config = property(vpc_config)


class Account:
    """What is in the account, made by the calls that an operator would make."""

    def __init__(self, endpoint):
        c = lambda name: boto3.client(name, REGION, endpoint_url=endpoint, aws_access_key_id="x", aws_secret_access_key="x")
        self.ec2, self.iam, self.functions, self.s3, self.sqs = c("ec2"), c("iam"), c("lambda"), c("s3"), c("sqs")
        self.code, self.lists = code(), {}
        for l in self.ec2.describe_managed_prefix_lists()["PrefixLists"]:
            self.lists[l["PrefixListName"].rsplit(".", 1)[-1]] = l["PrefixListId"]

    def role(self, name, actions):
        trust = '{"Version":"2012-10-17","Statement":[]}'
        arn = self.iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)["Role"]["Arn"]
        doc = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]}
        self.iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=json.dumps(doc))
        return arn

    def vpc(self, block, s3=OWN, dynamodb=OWN, firewall=(1, False)):
        v = self.ec2.create_vpc(CidrBlock=block)["Vpc"]["VpcId"]
        for service, policy in (("s3", s3), ("dynamodb", dynamodb)):
            if policy:
                self.ec2.create_vpc_endpoint(VpcId=v, ServiceName=f"com.amazonaws.{REGION}.{service}", VpcEndpointType="Gateway", PolicyDocument=policy)
        if firewall:
            firewalls[v] = firewall
        return v

    def subnets(self, vpc, block, routes=(), zones="ab", own=True):
        """Makes a subnet in each zone, with one table, and returns them and the table."""
        table = self.ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"] if own else None
        ids = []
        for i, zone in enumerate(zones):
            cidr = block.replace(".0/", f".{i * 64}/")
            ids.append(self.ec2.create_subnet(VpcId=vpc, CidrBlock=cidr, AvailabilityZone=REGION + zone)["Subnet"]["SubnetId"])
            if own:
                self.ec2.associate_route_table(RouteTableId=table, SubnetId=ids[-1])
        for to, target in routes:
            self.ec2.create_route(RouteTableId=table or self.main(vpc), DestinationCidrBlock=to, **target)
        return ids

    def main(self, vpc):
        f = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": "association.main", "Values": ["true"]}]
        return self.ec2.describe_route_tables(Filters=f)["RouteTables"][0]["RouteTableId"]

    def group(self, vpc, name, permissions):
        g = self.ec2.create_security_group(GroupName=name, Description=name, VpcId=vpc)["GroupId"]
        self.ec2.revoke_security_group_egress(GroupId=g, IpPermissions=[{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}])
        if permissions:
            self.ec2.authorize_security_group_egress(GroupId=g, IpPermissions=permissions)
        return g

    def function(self, name, role, subnets, groups, env=None):
        env = {"HTTPS_PROXY": "https://gate.internal:3129", "TABLE": "t"} if env is None else env
        network = {"VpcConfig": {"SubnetIds": subnets, "SecurityGroupIds": groups}} if subnets else {}
        self.functions.create_function(FunctionName=name, Runtime="python3.12", Role=role, Handler="index.handler",
                                       Code={"ZipFile": self.code}, Environment={"Variables": env}, **network)


def tcp(port, **what):
    return [{"IpProtocol": "tcp", "FromPort": port, "ToPort": port, **what}]


def plant(endpoint, total):
    """Makes the account: total functions, of which those with a fault are named after it."""
    a = Account(endpoint)
    plain = a.role("plain", ["ec2:CreateNetworkInterface", "ec2:DescribeNetworkInterfaces", "ec2:DeleteNetworkInterface", "logs:PutLogEvents"])
    v = a.vpc("10.0.0.0/16")
    gate = a.group(v, "gate", [])
    good = a.group(v, "good", tcp(3129, UserIdGroupPairs=[{"GroupId": gate}]) + tcp(443, PrefixListIds=[{"PrefixListId": a.lists["s3"]}]))
    isolated = a.subnets(v, "10.0.1.0/26")
    public = a.ec2.create_subnet(VpcId=v, CidrBlock="10.0.250.0/24")["Subnet"]["SubnetId"]
    nat = {"NatGatewayId": a.ec2.create_nat_gateway(SubnetId=public, AllocationId=a.ec2.allocate_address(Domain="vpc")["AllocationId"])["NatGateway"]["NatGatewayId"]}
    igw = {"GatewayId": a.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]}
    a.ec2.attach_internet_gateway(VpcId=v, InternetGatewayId=igw["GatewayId"])
    peer = a.vpc("10.9.0.0/16", None, None, None)  # nobody is in it: no finding
    pcx = {"VpcPeeringConnectionId": a.ec2.create_vpc_peering_connection(VpcId=v, PeerVpcId=peer)["VpcPeeringConnection"]["VpcPeeringConnectionId"]}

    a.function("p01", plain, None, None)
    a.function("p02", plain, a.subnets(v, "10.0.2.0/26", [("0.0.0.0/0", nat)]), [good])
    a.function("p03", plain, a.subnets(v, "10.0.3.0/26", [("0.0.0.0/0", igw)]), [good])
    a.function("p04", plain, a.subnets(v, "10.0.4.0/26", [("10.9.0.0/16", pcx)]), [good])
    a.function("p05", plain, isolated, [a.group(v, "wide", tcp(443, IpRanges=[{"CidrIp": "0.0.0.0/0"}]))])
    a.function("p06", plain, isolated, [good], {"TABLE": "t"})
    a.function("p07", plain, isolated, [good], {"HTTPS_PROXY": "https://gate.internal:3129", "DB_PASSWORD": "n33dle-n33dle"})
    shared = a.group(v, "shared", tcp(3129, UserIdGroupPairs=[{"GroupId": gate}]))
    for name in ("p08", "p08-other"):
        a.function(name, plain, isolated, [shared])
    for name, auth in (("p09", "NONE"), ("near-url", "AWS_IAM")):
        a.function(name, plain, isolated, [good])
        urls[name] = auth
    for name, more in (("p10", {"Principal": "*"}), ("near-service", {"Principal": "s3.amazonaws.com", "SourceAccount": "123456789012"})):
        a.function(name, plain, isolated, [good])
        a.functions.add_permission(FunctionName=name, StatementId="s", Action="lambda:InvokeFunction", **more)
    a.function("p11", plain, isolated, [good])
    queue = a.sqs.create_queue(QueueName="q")["QueueUrl"]
    arn = a.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    a.functions.create_event_source_mapping(EventSourceArn=arn, FunctionName="p11")
    a.function("p12", plain, a.subnets(v, "10.0.12.0/26", zones="a"), [good])
    a.function("p13", plain, a.subnets(v, "10.0.13.0/28"), [good])  # 11 addresses are free in each
    for name, block, more in (("p14", "10.14.0.0/16", {"s3": OPEN}), ("p16", "10.16.0.0/16", {"firewall": None}),
                              ("p16-opens", "10.17.0.0/16", {"firewall": (1, True)}), ("p17", "10.18.0.0/16", {"dynamodb": None}), ("p15", "10.15.0.0/16", {})):
        other = a.vpc(block, **more)
        subnets = a.subnets(other, block.replace("0.0/16", "1.0/26"), own=False)  # by the main table
        g = a.group(other, name, tcp(3129, IpRanges=[{"CidrIp": block.replace("0.0/16", "8.0/24")}]))
        a.function(name, plain, subnets, [g])
        if name == "p15":
            e = a.group(other, "endpoint", [])
            a.ec2.authorize_security_group_ingress(GroupId=e, IpPermissions=tcp(443, IpRanges=[{"CidrIp": block}]))
            a.ec2.create_vpc_endpoint(VpcId=other, ServiceName=f"com.amazonaws.{REGION}.sts", VpcEndpointType="Interface",
                                      SubnetIds=subnets, SecurityGroupIds=[e], PolicyDocument=OWN)
    for bucket, deny in (("p18", False), ("near-bucket", True)):
        a.s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        if deny:
            a.s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Statement": [{"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "*",
                                   "Condition": {"StringNotEquals": {"aws:SourceVpce": "vpce-1"}}}]}))
    a.function("p19", plain, isolated, [good])
    a.function("p20", plain, None, None)
    a.functions.publish_version(FunctionName="p20")
    a.functions.update_function_configuration(FunctionName="p20", VpcConfig={"SubnetIds": isolated, "SecurityGroupIds": [good]})
    a.function("p21", a.role("p21", ["ec2:Describe*", "lambda:UpdateFunctionConfiguration"]), isolated, [good])
    a.function("near-version", plain, isolated, [good])
    a.functions.publish_version(FunctionName="near-version")
    a.function("near-reference", plain, isolated, [good], {"HTTPS_PROXY": "https://gate.internal:3129", "DB_PASSWORD": "arn:aws:secretsmanager:eu-west-1:1:secret:x"})
    made = sum(len(p["Functions"]) for p in a.functions.get_paginator("list_functions").paginate())
    for i in range(total - made):
        a.function(f"plain-{i}", plain, isolated, [good])


class Rest:
    """Answers what moto does not have, and hands on all else."""

    def __init__(self, app):
        self.app = app

    def __call__(self, env, start):
        target = env.get("HTTP_X_AMZ_TARGET", "")
        listed = re.fullmatch(r"/2021-10-31/functions/(.+)/urls", urllib.parse.unquote(env["PATH_INFO"]))
        if listed:
            arn = listed.group(1)
            auth = urls.get(arn.rsplit(":", 1)[-1])
            out = {"FunctionUrlConfigs": [{"FunctionArn": arn, "AuthType": auth, "FunctionUrl": "https://x", "CreationTime": "", "LastModifiedTime": ""}] if auth else []}
        elif target.endswith(".ListFirewallRuleGroupAssociations"):
            out = {"FirewallRuleGroupAssociations": [{"VpcId": v, "FirewallRuleGroupId": "rslvr-frg-" + v, "Status": "COMPLETE"} for v in firewalls]}
        elif target.endswith(".ListFirewallRules"):
            body = env["wsgi.input"].read(int(env["CONTENT_LENGTH"]))
            blocks = firewalls[json.loads(body)["FirewallRuleGroupId"].removeprefix("rslvr-frg-")][0]
            out = {"FirewallRules": [{"Action": "ALLOW"}] + [{"Action": "BLOCK"}] * blocks}
        elif target.endswith(".ListFirewallConfigs"):
            out = {"FirewallConfigs": [{"ResourceId": v, "FirewallFailOpen": "ENABLED" if f[1] else "DISABLED"} for v, f in firewalls.items()]}
        else:
            return self.app(env, start)
        body = json.dumps(out).encode()
        start("200 OK", [("Content-Type", "application/x-amz-json-1.1"), ("Content-Length", str(len(body)))])
        return [body]


if __name__ == "__main__":
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, Rest(DomainDispatcherApplication(create_backend_app)), threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    requests.post(endpoint + "/moto-api/config", json={"lambda": {"use_docker": False}})
    plant(endpoint, int(sys.argv[1]))
    print(server.server_port, flush=True)
    sys.stdin.read()
