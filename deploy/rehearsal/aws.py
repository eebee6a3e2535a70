"""Moto's simulation of AWS, completed with what the templates need of CloudFormation and moto
does not play: functions and resource types, updates that follow references, deletion in the
reverse order with what AWS refuses to delete. Nothing here is asked of an account."""

import ipaddress
import itertools
import json
import logging
import re
import threading

import moto.cloudformation.parsing as parsing
import moto.ec2.models.subnets as subnets
import moto.elbv2.models as elb
from moto.applicationautoscaling.models import applicationautoscaling_backends
from moto.awslambda.models import LambdaFunction
from moto.cloudformation.models import CloudFormationBackend, Stack
from moto.cloudwatch.models import cloudwatch_backends
from moto.core.common_models import CloudFormationModel
from moto.ec2.models import ec2_backends
from moto.ecs.models import TaskDefinition, ecs_backends
from moto.elbv2.models import elbv2_backends
from moto.iam.access_control import PermissionResult
from moto.iam.models import iam_backends
from moto.logs.models import logs_backends
from moto.s3.models import FakeBucket, s3_backends
from moto.server import ThreadedMotoServer

ACCOUNT, REGION = "123456789012", "eu-west-1"
LINGER = 3.0  # seconds that a function's interfaces outlive it here; half an hour at AWS


class Refused(Exception):
    """What AWS would not do."""


def ec2():
    return ec2_backends[ACCOUNT][REGION]


# What of CloudFormation's functions moto lacks.


def complete_functions():
    clean = parsing.clean_json

    def complete(value, resources):
        if isinstance(value, dict) and "Fn::Cidr" in value:
            block, count, bits = complete(value["Fn::Cidr"], resources)
            cut = ipaddress.ip_network(block).subnets(new_prefix=32 - int(bits))
            return [str(n) for n in itertools.islice(cut, int(count))]
        cleaned = clean(value, resources)
        # AWS::NoValue takes an item out of a list.
        return [v for v in cleaned if v is not None] if isinstance(value, list) else cleaned

    parsing.clean_json = complete
    named = parsing.generate_resource_name

    def lower(kind, *rest):
        name = named(kind, *rest)
        return name.lower() if kind == "AWS::ECR::Repository" else name

    parsing.generate_resource_name = lower
    subnets.Subnet.get_cfn_attribute = lambda self, name: {"CidrBlock": self.cidr_block}[name]
    subnets.Subnet.has_cfn_attr = classmethod(lambda cls, name: name == "CidrBlock")
    short = {"TargetGroupFullName": lambda arn: arn.rpartition(":")[2], "LoadBalancerFullName": lambda arn: arn.partition("loadbalancer/")[2]}
    of_balancer = elb.FakeLoadBalancer.get_cfn_attribute
    elb.FakeTargetGroup.get_cfn_attribute = lambda self, name: short[name](self.arn)
    elb.FakeLoadBalancer.get_cfn_attribute = lambda self, name: short[name](self.arn) if name in short else of_balancer(self, name)
    create = elb.ELBv2Backend.create_load_balancer

    def network(self, *args, **kwargs):
        return create(self, *args, **{**kwargs, "loadbalancer_type": "network"})

    elb.ELBv2Backend.create_load_balancer = network


# Types that moto does not make.


def model(kind, apply, remove=lambda made: None, identify=lambda name, p: name):
    """Defines a type: apply is called when it is made and when it changes."""

    def init(self, identifier, properties):
        self.physical_resource_id, self.properties = identifier, properties

    def create(cls, resource_name, cloudformation_json, account_id, region_name, **kwargs):
        properties = cloudformation_json.get("Properties", {})
        made = cls(identify(resource_name, properties), properties)
        apply(made)
        return made

    def update(cls, original_resource, new_resource_name, cloudformation_json, account_id, region_name):
        original_resource.properties = cloudformation_json.get("Properties", {})
        apply(original_resource)
        return original_resource

    body = {
        "cloudformation_name_type": staticmethod(lambda: ""),
        "cloudformation_type": staticmethod(lambda: kind),
        "has_cfn_attr": classmethod(lambda cls, attr: False),
        "get_cfn_attribute": lambda self, name: f"arn:aws:{kind}:{self.physical_resource_id}",
        "create_from_cloudformation_json": classmethod(create),
        "update_from_cloudformation_json": classmethod(update),
        "__init__": init,
        "is_created": lambda self: True,
        "remove": remove,
    }
    return type(kind.replace("::", ""), (CloudFormationModel,), body)


def egress_rule(do):
    def apply(made):
        p = made.properties
        do()(group_name_or_id=p["GroupId"], ip_protocol=p["IpProtocol"], from_port=p["FromPort"], to_port=p["ToPort"],
             ip_ranges=[], source_groups=[{"GroupId": p["DestinationSecurityGroupId"]}])

    return apply


def bucket_policy(made):
    """Kept to be read. Moto would hold requests against it, and knows no conditions."""
    p = made.properties
    s3_backends[ACCOUNT]["aws"].put_bucket_policy(p["Bucket"], json.dumps(p["PolicyDocument"]).encode())


def alarm(made):
    p = made.properties
    made.physical_resource_id = made.properties.get("AlarmName") or made.physical_resource_id
    cloudwatch_backends[ACCOUNT][REGION].alarms[made.physical_resource_id] = made


def dashboard(made):
    """CloudWatch refuses a body that is no JSON."""
    json.loads(made.properties["DashboardBody"])


def scale(made):
    """Application Auto Scaling brings a service to its least number of tasks."""
    p = made.properties
    _, cluster, name = p["ResourceId"].split("/")
    service = ecs_backends[ACCOUNT][REGION].describe_services(cluster, [name])[0][0]
    least, most = int(p["MinCapacity"]), int(p["MaxCapacity"])
    if least > most:
        raise Refused(f"MinCapacity {least} is above MaxCapacity {most}")
    service.desired_count = min(max(service.desired_count or 0, least), most)
    applicationautoscaling_backends[ACCOUNT][REGION].register_scalable_target(
        p["ServiceNamespace"], p["ResourceId"], p["ScalableDimension"], least, most, None, None)


def unscale(made):
    p = made.properties
    applicationautoscaling_backends[ACCOUNT][REGION].deregister_scalable_target(p["ServiceNamespace"], p["ResourceId"], p["ScalableDimension"])


def complete_types():
    FakeBucket.get_permission = lambda self, action, resource: PermissionResult.NEUTRAL
    return [
        model("AWS::EC2::SecurityGroupEgress", egress_rule(lambda: ec2().authorize_security_group_egress),
              egress_rule(lambda: ec2().revoke_security_group_egress)),
        model("AWS::S3::BucketPolicy", bucket_policy, lambda m: s3_backends[ACCOUNT]["aws"].delete_bucket_policy(m.properties["Bucket"])),
        model("AWS::CloudWatch::Alarm", alarm, lambda m: cloudwatch_backends[ACCOUNT][REGION].alarms.pop(m.physical_resource_id)),
        model("AWS::CloudWatch::Dashboard", dashboard),
        model("AWS::ApplicationAutoScaling::ScalableTarget", scale, unscale, lambda name, p: p["ResourceId"]),
        model("AWS::ApplicationAutoScaling::ScalingPolicy", lambda m: None),
    ]


# A function in a VPC has network interfaces, which outlive it.


def complete_functions_interfaces():
    create = LambdaFunction.create_from_cloudformation_json.__func__

    def with_interfaces(cls, resource_name, cloudformation_json, account_id, region_name, **kwargs):
        made = create(cls, resource_name, cloudformation_json, account_id, region_name, **kwargs)
        where = cloudformation_json["Properties"].get("VpcConfig", {})
        made.interfaces = [
            ec2().create_network_interface(ec2().get_subnet(subnet), None, group_ids=where["SecurityGroupIds"], description=f"AWS Lambda VPC ENI-{resource_name}").id
            for subnet in where.get("SubnetIds", [])
        ]
        return made

    LambdaFunction.create_from_cloudformation_json = classmethod(with_interfaces)


def delete_function(made):
    made.delete(ACCOUNT, REGION)
    threading.Timer(LINGER, lambda: [ec2().delete_network_interface(i) for i in made.interfaces]).start()


# Deletion, with what AWS refuses.


def delete_subnet(made):
    if any(i.subnet.id == made.id for i in ec2().enis.values()):
        raise Refused(f"DependencyViolation: the subnet '{made.id}' has dependencies and cannot be deleted")
    ec2().delete_subnet(made.id)


def delete_group(made):
    used = any(made.id in [g.id for g in i.group_set] for i in ec2().enis.values())
    named = any(r.source_group.get("GroupId") == made.id for g in [g for of in ec2().groups.values() for g in of.values()] if g.id != made.id
                for r in itertools.chain(g.ingress_rules, g.egress_rules))
    if used or named:
        raise Refused(f"DependencyViolation: resource {made.id} has a dependent object")
    ec2().delete_security_group(group_id=made.id)


def delete_ingress(made):
    p = made.properties
    ec2().revoke_security_group_ingress(group_name_or_id=p["GroupId"], ip_protocol=p["IpProtocol"], from_port=p["FromPort"], to_port=p["ToPort"],
                                        ip_ranges=[], source_groups=[{"GroupId": p["SourceSecurityGroupId"]}])


def delete_nat(made):
    ec2().delete_nat_gateway(made.id)
    ec2().enis.pop(made._eni.id, None)


def delete_balancer(made):
    if made.attrs.get("deletion_protection.enabled") == "true":
        raise Refused(f"OperationNotPermitted: load balancer '{made.arn}' cannot be deleted because deletion protection is enabled")
    elbv2_backends[ACCOUNT][REGION].delete_load_balancer(made.arn)


def delete_cluster(made):
    ecs = ecs_backends[ACCOUNT][REGION]
    if any(s.cluster_arn == made.arn and s.status == "ACTIVE" for s in ecs.services.values()):
        raise Refused("ClusterContainsServicesException")
    ecs.delete_cluster(made.arn)
    ecs.clusters.pop(made.name, None)  # AWS lets the name be taken again


def delete_service(made):
    ecs = ecs_backends[ACCOUNT][REGION]
    ecs.delete_service(made.cluster_name, made.name, force=True)


def delete_role(made):
    iam = iam_backends[ACCOUNT]["aws"]
    for name in list(made.policies):
        iam.delete_role_policy(made.name, name)
    iam.delete_role(made.name)


DELETE = {
    "AWS::EC2::VPC": lambda m: ec2().delete_vpc(m.id),
    "AWS::EC2::Subnet": delete_subnet,
    "AWS::EC2::SecurityGroup": delete_group,
    "AWS::EC2::SecurityGroupIngress": delete_ingress,
    "AWS::EC2::InternetGateway": lambda m: ec2().delete_internet_gateway(m.id),
    "AWS::EC2::VPCGatewayAttachment": lambda m: ec2().detach_internet_gateway(m.gateway_id, m.vpc_id),
    "AWS::EC2::RouteTable": lambda m: ec2().delete_route_table(m.id),
    "AWS::EC2::NatGateway": delete_nat,
    "AWS::EC2::EIP": lambda m: ec2().release_address(allocation_id=m.allocation_id),
    "AWS::EC2::VPCEndpoint": lambda m: ec2().delete_vpc_endpoints([m.id]),
    "AWS::EC2::FlowLog": lambda m: ec2().delete_flow_logs([m.id]),
    "AWS::IAM::Role": delete_role,
    "AWS::ElasticLoadBalancingV2::LoadBalancer": delete_balancer,
    "AWS::ElasticLoadBalancingV2::TargetGroup": lambda m: elbv2_backends[ACCOUNT][REGION].delete_target_group(m.arn),
    "AWS::ElasticLoadBalancingV2::Listener": lambda m: elbv2_backends[ACCOUNT][REGION].delete_listener(m.arn),
    "AWS::ECS::Cluster": delete_cluster,
    "AWS::ECS::Service": delete_service,
    "AWS::ECS::TaskDefinition": lambda m: ecs_backends[ACCOUNT][REGION].deregister_task_definition(m.arn),
    "AWS::Logs::LogGroup": lambda m: logs_backends[ACCOUNT][REGION].delete_log_group(m.name),
    "AWS::Lambda::Function": delete_function,
}


def attributes(stack):
    """A load balancer has the attributes of its template, a bucket has versions."""
    bucket = stack._parsed_resources.get("PolicyBucket")
    if hasattr(bucket, "versioning_status"):
        bucket.versioning_status = "Enabled"
    balancer, declared = stack._parsed_resources.get("LoadBalancer"), stack._resource_json_map.get("LoadBalancer")
    if balancer is None or declared is None:
        return
    for a in parsing.clean_json(declared["Properties"].get("LoadBalancerAttributes", []), stack):
        balancer.attrs[a["Key"]] = a["Value"]


def complete_stacks(made_here):
    references = parsing.get_references_from_template

    def with_texts(template):
        """What a text of Fn::Sub names is referred to as well."""
        return [*references(template), *re.findall(r"\$\{(\w+)\}", str(template))]

    parsing.get_references_from_template = with_texts
    one = parsing.parse_and_update_resource

    def updated_or_kept(logical_id, resource_json, resources_map, **kwargs):
        """Types that moto cannot change stay what they are."""
        return one(logical_id, resource_json, resources_map, **kwargs) or resources_map._parsed_resources.get(logical_id)

    parsing.parse_and_update_resource = updated_or_kept

    def revised(cls, original_resource, new_resource_name, cloudformation_json, account_id, region_name):
        return cls.create_from_cloudformation_json(new_resource_name, cloudformation_json, account_id, region_name)

    TaskDefinition.update_from_cloudformation_json = classmethod(revised)  # moto's leaves names as a template has them
    create, update = parsing.ResourceMap.create, parsing.ResourceMap.update

    def created(self, template):
        done = create(self, template)
        attributes(self)
        return done

    def updated(self, template, parameters=None):
        # What has its default, or the value of before, has not changed.
        before = {k: ",".join(v) if isinstance(v, list) else str(v) for k, v in self.resolved_parameters.items()}
        self.input_parameters = before
        update(self, template, parameters)
        attributes(self)
        service, task = self._parsed_resources.get("Service"), self._parsed_resources.get("Task")
        if service is not None and task is not None:  # moto does not follow references
            ecs_backends[ACCOUNT][REGION].update_service({"cluster": service.cluster_name, "service": service.name, "task_definition": task.arn, "desired_count": service.desired_count})
        target = self._parsed_resources.get("ScalableTarget")
        if target is not None:
            target.properties = parsing.clean_json(self._resource_json_map["ScalableTarget"], self)["Properties"]
            scale(target)

    def deleted(self):
        """In the reverse order, but for what is kept."""
        made = [n for n in self._parsed_resources if n in self._resource_json_map and self._parsed_resources[n] is not None]
        for name in reversed(made):
            declared, resource = self._resource_json_map[name], self._parsed_resources[name]
            if str(declared.get("DeletionPolicy", "")).startswith("Retain"):
                continue
            if isinstance(resource, tuple(made_here)):
                resource.remove()
            elif declared["Type"] in DELETE:
                DELETE[declared["Type"]](resource)
            self._parsed_resources.pop(name)

    def delete_stack(self, name_or_stack_id):
        """A stack that cannot be deleted stays."""
        for stack in [s for s in self.stacks.values() if name_or_stack_id in (s.name, s.stack_id)]:
            try:
                stack.delete()
            except Refused as why:
                stack.status, stack.stack_status_reason = "DELETE_FAILED", str(why)
                stack._add_stack_event("DELETE_FAILED", resource_status_reason=str(why))
            else:
                self.deleted_stacks[stack.stack_id] = self.stacks.pop(stack.stack_id)

    CloudFormationBackend.delete_stack = delete_stack
    # What is gone is not made again by looking at the stack.
    Stack.stack_resources = property(lambda self: [r for r in self.resource_map._parsed_resources.values() if hasattr(r, "logical_resource_id")])
    parsing.ResourceMap.create, parsing.ResourceMap.update, parsing.ResourceMap.delete = created, updated, deleted


def serve():
    """Starts the simulation; returns the server and where it is."""
    complete_functions()
    complete_functions_interfaces()
    complete_stacks(complete_types())
    for name in ("werkzeug", "moto"):
        logging.getLogger(name).setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    return server, f"http://{host}:{port}"
