"""Serves an account of moto with the stacks of deploy/ecs in it, until standard input ends.

Prints a line of JSON: the port, and what of the stacks the checker is told of. What moto
lacks of CloudFormation is that of deploy/rehearsal; what it lacks of the calls of the
checker is that of account.py. DNS Firewall is what dns-firewall.yaml says of it. Arguments
are triples: a template, a text of it, and what stands there in its place, to plant a fault.
"""
import json
import logging
import pathlib
import re
import sys
import threading

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "deploy"), str(pathlib.Path(__file__).resolve().parent)]

import boto3  # noqa: E402
from moto.ec2.models.security_groups import SecurityGroup  # noqa: E402
from moto.ec2.models.subnets import SubnetRouteTableAssociation  # noqa: E402
from moto.ec2.models.vpcs import VPCEndPoint  # noqa: E402
from moto.iam.models import Role  # noqa: E402
from moto.server import DomainDispatcherApplication, create_backend_app  # noqa: E402
from werkzeug.serving import make_server  # noqa: E402

import account  # noqa: E402
from rehearsal import aws  # noqa: E402

FAULTS = [sys.argv[i:i + 3] for i in range(1, len(sys.argv), 3)]
AUDIENCE = "https://egress.example.internal"
groups = {}  # of rules, by name: how many of them block


def rule_group(made):
    groups[made.physical_resource_id] = sum(r["Action"] == "BLOCK" for r in made.properties["FirewallRules"])


def association(made):
    """AWS keeps a firewall closed unless somebody says otherwise."""
    account.firewalls[made.properties["VpcId"]] = (groups[made.properties["FirewallRuleGroupId"]], False)


def with_egress(create):
    """CloudFormation makes a group with the egress that its template names, moto with all."""

    def made(cls, resource_name, cloudformation_json, *args, **kwargs):
        group = create(cls, resource_name, cloudformation_json, *args, **kwargs)
        rules = cloudformation_json["Properties"].get("SecurityGroupEgress", [])
        if rules:
            group.egress_rules.clear()
        for rule in rules:
            of = lambda key, name: [{name: rule[key]}] if key in rule else []
            aws.ec2().authorize_security_group_egress(
                group.id, rule["IpProtocol"], rule.get("FromPort"), rule.get("ToPort"), of("CidrIp", "CidrIp"),
                source_groups=of("DestinationSecurityGroupId", "GroupId"), prefix_list_ids=of("DestinationPrefixListId", "PrefixListId"))
        return group

    return classmethod(made)


def body(template):
    """Returns the text of a template, with its faults."""
    text = (ROOT / "deploy/ecs" / template).read_text()
    for name, old, new in FAULTS:
        if name == template and old not in text:
            sys.exit(f"{template} has no {old}")
        text = text.replace(old, new, 1) if name == template else text
    return text


def with_association(create):
    """Moto keeps what CloudFormation says of a subnet's table apart from the table."""

    def made(cls, resource_name, cloudformation_json, *args, **kwargs):
        p = cloudformation_json["Properties"]
        aws.ec2().associate_route_table(route_table_id=p["RouteTableId"], subnet_id=p["SubnetId"])
        return create(cls, resource_name, cloudformation_json, *args, **kwargs)

    return classmethod(made)


def with_texts(create):
    """Policies are JSON where they are read, and what a secret is resolved to is in a function."""

    def made(cls, resource_name, cloudformation_json, *args, **kwargs):
        resolved = json.loads(re.sub(r"\{\{resolve:[^}]*\}\}", "s3cret", json.dumps(cloudformation_json)))
        properties = resolved["Properties"]
        for of in [properties, *properties.get("Policies", [])]:
            for key in ("PolicyDocument", "AssumeRolePolicyDocument"):
                if key in of:
                    of[key] = json.dumps(of[key])
        return create(cls, resource_name, resolved, *args, **kwargs)

    return classmethod(made)


class Stacks:
    """Makes stacks of the templates, as their page does."""

    def __init__(self, endpoint):
        self.client = lambda name: boto3.client(name, aws.REGION, endpoint_url=endpoint, aws_access_key_id="x", aws_secret_access_key="x")
        self.cloudformation = self.client("cloudformation")

    def make(self, name, template, update=False, **parameters):
        do = self.cloudformation.update_stack if update else self.cloudformation.create_stack
        do(StackName=name, TemplateBody=body(template), Capabilities=["CAPABILITY_IAM"],
           Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in parameters.items()])
        stack = self.cloudformation.describe_stacks(StackName=name)["Stacks"][0]
        if stack["StackStatus"] not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
            sys.exit(f"{name}: {stack['StackStatus']}")
        return {o["OutputKey"]: o["OutputValue"] for o in stack.get("Outputs", [])}

    def all(self):
        lists = {p["PrefixListName"].rsplit(".", 1)[-1]: p["PrefixListId"] for p in self.client("ec2").describe_managed_prefix_lists()["PrefixLists"]}
        store = self.make("egress-store", "store.yaml")
        network = self.make("egress-network", "network.yaml", Sts="yes", TokenAudience=AUDIENCE, SecretsManager="yes", Ssm="yes", Logs="yes", DataPort="5432",
                            FurtherEndpoint1=f"com.amazonaws.{aws.REGION}.kms", S3PrefixListId=lists["s3"], DynamoDbPrefixListId=lists["dynamodb"])
        self.make("egress-store", "store.yaml", update=True, PolicyEndpointId=network["ProxyS3EndpointId"], PolicyWriterArn=f"arn:aws:iam::{aws.ACCOUNT}:role/pipeline")
        proxy = self.make("egress-proxy", "proxy.yaml", VpcId=network["VpcId"], ProxySubnets=network["ProxySubnets"], FunctionSecurityGroupId=network["FunctionSecurityGroupId"],
                          EndpointSecurityGroupId=network["EndpointSecurityGroupId"], PolicyBucket=store["PolicyBucket"], LogGroup=store["LogGroup"], Tls="yes", Image="registry.example/egress:v1")
        self.make("egress-dns", "dns-firewall.yaml", VpcId=network["VpcId"], ProxyHost=proxy["ProxyHost"], PolicyBucket=store["PolicyBucket"])
        secret = self.client("secretsmanager").create_secret(Name="egress/sample", SecretString="s")
        layer = self.client("lambda").publish_layer_version(LayerName="egress-layer", Content={"ZipFile": account.code()})
        of = {"FunctionSubnets": network["FunctionSubnets"], "FunctionSecurityGroupId": network["FunctionSecurityGroupId"], "ProxyHost": proxy["ProxyHost"]}
        sample = self.make("egress-sample", "function.yaml", TokenSecretArn=secret["ARN"], **of)
        attested = self.make("egress-attested", "function.yaml", LayerArn=layer["LayerVersionArn"], TokenAudience=AUDIENCE, **of)
        return {"bucket": store["PolicyBucket"], "host": proxy["ProxyHost"], "sample": sample["FunctionName"], "attested": attested["FunctionName"]}


if __name__ == "__main__":
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    aws.complete_functions()
    aws.complete_functions_interfaces()
    kinds = aws.complete_types()
    kinds += [aws.model("AWS::Route53Resolver::FirewallRuleGroup", rule_group), aws.model("AWS::Route53Resolver::FirewallRuleGroupAssociation", association)]
    aws.complete_stacks(kinds)
    SecurityGroup.create_from_cloudformation_json = with_egress(SecurityGroup.create_from_cloudformation_json.__func__)
    SubnetRouteTableAssociation.create_from_cloudformation_json = with_association(SubnetRouteTableAssociation.create_from_cloudformation_json.__func__)
    for kind in (VPCEndPoint, Role, account.LambdaFunction):
        kind.create_from_cloudformation_json = with_texts(kind.create_from_cloudformation_json.__func__)
    server = make_server("127.0.0.1", 0, account.Rest(DomainDispatcherApplication(create_backend_app)), threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    print(json.dumps({"port": server.server_port, **Stacks(endpoint).all()}), flush=True)
    sys.stdin.read()
