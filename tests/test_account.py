"""The account in memory answers as strict moto does, call by call: it is no kinder, so a storm on it proves as much."""

import json
import re
from contextlib import contextmanager
from datetime import datetime

from botocore.exceptions import ClientError, ParamValidationError
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from moto import mock_aws

from local.strict import autoscaling as held
from local.strict import listen, observe, strict
from local.strict import ssm as agents
from tests.account.account import Account
from tests.account.ssm import Answer, Course
from tests.conftest import client
from tests.smtp_fleet.conftest import DOCUMENT, PARAMETERS

LAUNCHING = "autoscaling:EC2_INSTANCE_LAUNCHING"
IDS = re.compile(r"\b(?:i|vol|lt)-[0-9a-f]{17}\b|\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
APART = ("SecurityGroups", "NetworkInterfaces", "Origin", "Destination")
"""Told differently: the network around is always the same in the account, and it says more of the ways of a pool."""

OPAQUE = ("NextMarker", "NextToken", "PaginationToken", "requested-date-time")
VERDICT = '{"contract": 1}\n'


class Side:
    """One of the two accounts: its clients, what was heard of it, and the ids in the order in which it told them."""

    def __init__(self, client):
        self.client = client
        self.ids = []
        self.events = []

    def sees(self, call):
        self.events.append({"source": call.service, "call": call.operation, "asked": call.params, "error": call.error})

    def hears(self, happening):
        if happening.source != "aws.ec2":  # moto tells of an instance before its group has it
            self.events.append({"source": happening.source, "type": happening.detail_type, **happening.detail})

    def alike(self, value):
        """The value with each id as the number of its first appearance, moments and tokens as none in particular."""
        match value:
            case dict():
                return {key: self._member(key, each) for key, each in value.items() if key not in APART}
            case list() | tuple():
                return [self.alike(each) for each in value]
            case str():
                return IDS.sub(self._number, value)
            case datetime():
                return "a moment"
        return value

    def _member(self, key, value):
        return bool(value) if key in OPAQUE else sorted(value) if key == "SS" else self.alike(value)

    def _number(self, found):
        if found[0] not in self.ids:
            self.ids.append(found[0])
        return f"id {self.ids.index(found[0])}"

    def real(self, value):
        """The value with each `instance N` as the N-th that is there."""
        match value:
            case dict():
                return {key: self.real(each) for key, each in value.items()}
            case list():
                return [self.real(each) for each in value]
            case str() if value.startswith("instance "):
                known = [i for i in self.ids if i.startswith("i-")]
                number = int(value.split()[1])
                return known[number] if number < len(known) else "i-00000000"
        return value

    def call(self, service, method, params):
        client = self.client(service)
        try:
            told = getattr(client, method)(**self.real(params))
        except ClientError as error:
            return type(error).__name__, error.response["Error"]["Code"]
        except ParamValidationError:
            return ("ParamValidationError",)
        except NotImplementedError:
            return ("NotImplementedError",)
        told.pop("ResponseMetadata", None)
        return told

    def told(self):
        """The events since last; those of commands come from threads, and are put in the order of their instances."""
        events, self.events = self.events, []
        return sorted(events, key=lambda e: self.ids.index(e["instance-id"]) if e["source"] == "aws.ssm" else -1)


class Pair:
    """Strict moto beside the account in memory."""

    def __init__(self):
        self.account = Account(1_000_000, checked=True)
        self.strict, self.ours = Side(client), Side(self.account.client)
        self.played = []
        self.account.happens, self.account.seen = self.ours.hears, self.ours.sees
        self.account.ssm.agent = lambda instance, _: Course(0, 0, lambda: Answer("Success", "Success", VERDICT))
        agents.executor = lambda *_: agents.Answer("Success", "Success", 0, VERDICT)

    def play(self, service, method, **params):
        """One call on both: the same answer, the same events."""
        strict, ours = (side.call(service, method, params) for side in (self.strict, self.ours))
        self.compare(strict, ours, (service, method, params))
        assert agents.drain(10)
        self.account.clock.advance(self.account.clock.now)
        self.compare(self.strict.told(), self.ours.told(), (service, method, params))
        return ours

    def compare(self, strict, ours, what):
        self.played.append(what)
        found = difference(self.strict.alike(within(strict, ours)), self.ours.alike(ours))
        assert not found, "\n".join([*map(str, self.played), found])

    def expire(self):
        """Every hook that holds somebody expires."""
        ends = [action.deadline for group in self.account.autoscaling.groups.values() for action in group.actions()]
        held.expire(float("inf"))
        self.account.clock.advance(max(ends, default=self.account.clock.now))
        self.compare(self.strict.told(), self.ours.told(), "expiry")

    def agent(self, number, ping):
        for side, register in ((self.strict, agents.register_agent), (self.ours, self.account.ssm.register)):
            register(side.real(f"instance {number}"), ping)


def within(strict, ours):
    """Of what strict moto told that which the account tells, too: it need not tell what nobody reads."""
    match ours:
        case dict() if isinstance(strict, dict):
            return {key: within(strict[key], each) for key, each in ours.items() if key in strict}
        case list() if isinstance(strict, list) and len(strict) == len(ours):
            return [within(*pair) for pair in zip(strict, ours, strict=True)]
    return strict


def difference(strict, ours, where="answer"):
    """Where two values differ first, and how; empty where they do not."""
    match strict, ours:
        case dict(), dict() if strict.keys() == ours.keys():
            found = (difference(strict[key], ours[key], f"{where}.{key}") for key in ours)
        case list(), list() if len(strict) == len(ours):
            found = (difference(*pair, f"{where}[{n}]") for n, pair in enumerate(zip(strict, ours, strict=True)))
        case _:
            return "" if strict == ours else f"{where}: strict moto says {strict!r}, the account {ours!r}"
    return next(filter(None, found), "")


BALANCER, POLICY = st.sampled_from(["a", "b", "c"]), st.sampled_from(["p", "q", "r"])
GROUP, HOOK = st.sampled_from(["g", "h"]), st.sampled_from(["smtp-fleet", "other"])
PORT, INSTANCE = st.sampled_from([25, 587]), st.integers(0, 4).map("instance {}".format)
KINDS = st.sampled_from(["ProxyProtocolPolicyType", "PublicKeyPolicyType", "NoPolicyType"])
RESULT = st.sampled_from(["CONTINUE", "ABANDON", "RETRY"])


def call(service, method, **params):
    """A strategy for one call."""
    return st.tuples(st.just(service), st.just(method), st.fixed_dictionaries(params))


def listeners():
    """One listener; moto takes the inner protocol for the front one."""
    ports = st.fixed_dictionaries({"LoadBalancerPort": PORT, "InstancePort": PORT})
    spoken = st.sampled_from(["tcp", "TCP", "HTTP"]).map(lambda p: {"Protocol": p, "InstanceProtocol": p})
    return st.tuples(ports, spoken).map(lambda both: [both[0] | both[1]])


def lists(what, least=1, most=2):
    return st.lists(what, min_size=least, max_size=most, unique=True)


TAG = st.fixed_dictionaries({"Key": st.sampled_from(["k", "l"]), "Value": st.sampled_from(["v", ""])})
TAGS = st.lists(TAG, min_size=1, max_size=1)
ATTRIBUTES = st.fixed_dictionaries(
    {"AttributeName": st.just("ProxyProtocol"), "AttributeValue": st.sampled_from(["true", "false"])}
)
OF_BALANCERS = st.one_of(
    call("elb", "create_load_balancer", LoadBalancerName=BALANCER, AvailabilityZones=st.just(["us-east-1a"]),
         Listeners=listeners(), Tags=TAGS),
    call("elb", "delete_load_balancer", LoadBalancerName=BALANCER),
    call("elb", "create_load_balancer_listeners", LoadBalancerName=BALANCER, Listeners=listeners()),
    call("elb", "delete_load_balancer_listeners", LoadBalancerName=BALANCER, LoadBalancerPorts=lists(PORT)),
    call("elb", "add_tags", LoadBalancerNames=lists(BALANCER), Tags=TAGS),
    call("elb", "remove_tags", LoadBalancerNames=lists(BALANCER, most=1),
         Tags=TAGS.map(lambda tags: [{"Key": tags[0]["Key"]}])),
    call("elb", "describe_tags", LoadBalancerNames=lists(BALANCER, most=3)),
    call("elb", "create_load_balancer_policy", LoadBalancerName=BALANCER, PolicyName=POLICY, PolicyTypeName=KINDS,
         PolicyAttributes=st.lists(ATTRIBUTES, max_size=1)),
    call("elb", "delete_load_balancer_policy", LoadBalancerName=BALANCER, PolicyName=POLICY),
    call("elb", "describe_load_balancer_policies", LoadBalancerName=BALANCER),
    call("elb", "set_load_balancer_policies_for_backend_server", LoadBalancerName=BALANCER, InstancePort=PORT,
         PolicyNames=lists(POLICY, least=0)),
    call("elb", "describe_load_balancers", LoadBalancerNames=lists(BALANCER, least=0)),
    call("elb", "describe_load_balancers", PageSize=st.sampled_from([1, 400, 401])),
    call("elb", "register_instances_with_load_balancer", LoadBalancerName=BALANCER,
         Instances=INSTANCE.map(lambda i: [{"InstanceId": i}])),
    call("resourcegroupstaggingapi", "get_resources", TagFilters=st.just([{"Key": "k"}]),
         ResourceTypeFilters=st.just(["elasticloadbalancing:loadbalancer"])),
)  # fmt: skip


# moto shuffles a group that is scaled in, so it is scaled to all or nothing.
OF_GROUPS = st.one_of(
    call("autoscaling", "set_desired_capacity", AutoScalingGroupName=st.just("g"), DesiredCapacity=st.just(0)),
    call("autoscaling", "set_desired_capacity", AutoScalingGroupName=st.just("g"), DesiredCapacity=st.just(3)),
    call("autoscaling", "put_lifecycle_hook", AutoScalingGroupName=GROUP, LifecycleHookName=HOOK,
         LifecycleTransition=st.just(LAUNCHING), HeartbeatTimeout=st.sampled_from([900, 900, 20]),
         DefaultResult=RESULT),
    call("autoscaling", "delete_lifecycle_hook", AutoScalingGroupName=st.just("g"), LifecycleHookName=HOOK),
    call("autoscaling", "describe_lifecycle_hooks", AutoScalingGroupName=st.just("g"), LifecycleHookNames=lists(HOOK)),
    call("autoscaling", "complete_lifecycle_action", AutoScalingGroupName=GROUP, LifecycleHookName=HOOK,
         LifecycleActionResult=RESULT, InstanceId=INSTANCE),
    call("autoscaling", "complete_lifecycle_action", AutoScalingGroupName=st.just("g"),
         LifecycleHookName=st.just("smtp-fleet"), LifecycleActionResult=st.just("CONTINUE"), InstanceId=INSTANCE),
    call("autoscaling", "record_lifecycle_action_heartbeat", AutoScalingGroupName=GROUP, LifecycleHookName=HOOK,
         InstanceId=INSTANCE),
    call("autoscaling", "describe_auto_scaling_instances", InstanceIds=lists(INSTANCE, most=3)),
    call("autoscaling", "describe_auto_scaling_instances", InstanceIds=st.just([f"i-{n:08x}" for n in range(51)])),
    call("autoscaling", "put_warm_pool", AutoScalingGroupName=GROUP, MinSize=st.integers(0, 2),
         MaxGroupPreparedCapacity=st.just(0), PoolState=st.sampled_from(["Stopped", "Running"])),
    call("autoscaling", "describe_warm_pool", AutoScalingGroupName=GROUP),
    call("autoscaling", "detach_load_balancers", AutoScalingGroupName=st.just("g"), LoadBalancerNames=st.just(["a"])),
    call("autoscaling", "attach_load_balancers", AutoScalingGroupName=st.just("g"), LoadBalancerNames=st.just(["a"])),
    call("ec2", "terminate_instances", InstanceIds=INSTANCE.map(lambda i: [i])),
    call("ec2", "describe_instances", Filters=INSTANCE.map(lambda i: [{"Name": "instance-id", "Values": [i]}])),
    call("ssm", "describe_instance_information", MaxResults=st.sampled_from([4, 50]),
         Filters=lists(INSTANCE).map(lambda ids: [{"Key": "InstanceIds", "Values": ids}])),
    call("ssm", "send_command", InstanceIds=lists(INSTANCE, most=3), DocumentName=st.sampled_from(["document", "none"]),
         DocumentVersion=st.sampled_from(["1", "1", "7"]), TimeoutSeconds=st.sampled_from([60, 60, 5]),
         Parameters=st.sampled_from([{name: ["x"] for name in PARAMETERS}] * 3 + [{}])),
    call("ssm", "list_commands", Filters=st.just([{"key": "DocumentName", "value": "document"}])),
    call("ssm", "list_command_invocations", Details=st.booleans(), InstanceId=INSTANCE),
    st.tuples(st.just("agent"), st.integers(0, 3), st.sampled_from(["Online", "ConnectionLost"])),
    st.tuples(st.just("expire")),
)  # fmt: skip


@contextmanager
def pairs(*wanted):
    """Both accounts, raised by these calls."""
    strict()
    with mock_aws():
        pair = Pair()
        try:
            with listen(pair.strict.hears), observe(pair.strict.sees):
                for service, method, params in wanted:
                    assert isinstance(pair.play(service, method, **params), dict)
                yield pair
        finally:
            assert agents.drain(10)
            agents.executor = None


STEPS = settings(max_examples=8, deadline=None, derandomize=True, phases=[Phase.generate])
LISTENER = {"Protocol": "tcp", "LoadBalancerPort": 25, "InstanceProtocol": "tcp", "InstancePort": 25}
BALANCER_A = {"LoadBalancerName": "a", "AvailabilityZones": ["us-east-1a"], "Listeners": [LISTENER]}
TEMPLATE = {
    "LaunchTemplateName": "template",
    "LaunchTemplateData": {"ImageId": "ami-12c6146b", "InstanceType": "t3.micro"},
}
GROUP_G = {
    "AutoScalingGroupName": "g",
    "MinSize": 0,
    "MaxSize": 9,
    "DesiredCapacity": 1,
    "LoadBalancerNames": ["a"],
    "AvailabilityZones": ["us-east-1a"],
    "LaunchTemplate": {"LaunchTemplateName": "template"},
}
DOCUMENTS = {"Name": "document", "Content": json.dumps(DOCUMENT), "DocumentType": "Command"}
TABLE = {
    "TableName": "ledger",
    "BillingMode": "PAY_PER_REQUEST",
    "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
    "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
}


@STEPS
@given(st.lists(OF_BALANCERS, min_size=10, max_size=30))
def test_balancers_answer_alike(steps):
    with pairs(("elb", "create_load_balancer", BALANCER_A)) as pair:
        for service, method, params in steps:
            pair.play(service, method, **params)
        pair.play("elb", "describe_load_balancers")


@STEPS
@given(st.lists(OF_GROUPS, min_size=10, max_size=30))
def test_groups_instances_and_commands_answer_alike(steps):
    with pairs(
        ("elb", "create_load_balancer", BALANCER_A),
        ("ssm", "create_document", DOCUMENTS),
        ("ec2", "create_launch_template", TEMPLATE),
        ("autoscaling", "create_auto_scaling_group", GROUP_G),
    ) as pair:
        for step in steps:
            match step:
                case ("agent", number, ping):
                    pair.agent(number, ping)
                case ("expire",):
                    pair.expire()
                case (service, method, params):
                    pair.play(service, method, **params)
            pair.play("autoscaling", "describe_auto_scaling_groups")
        pair.play("elb", "describe_load_balancers")


ROWS = st.sampled_from(["lease", "machine/i-0/vol-0", "hooks"])
VALUE = st.one_of(
    st.integers(0, 3).map(lambda n: {"N": str(n)}), st.sampled_from([{"S": "a"}, {"S": "b"}, {"SS": ["a", "b"]}])
)
CONDITIONS = st.sampled_from(
    [
        "attribute_not_exists(id) OR #until < :now OR holder = :holder",
        "holder = :holder",
        "attribute_not_exists(id)",
        "attribute_not_exists(id) OR holder = :holder AND #until = :now",
        "holder = :holder AND #until = :now",
    ]
)
VALUES = {":now": {"N": "2"}, ":holder": {"S": "a"}}


def conditional(condition):
    """A condition, with the values and names that it uses and no others, for these are refused."""
    values = {name: value for name, value in VALUES.items() if name in condition}
    told = {"ConditionExpression": condition}
    told |= {"ExpressionAttributeValues": values} if values else {}
    return told | ({"ExpressionAttributeNames": {"#until": "until"}} if "#until" in condition else {})


ITEM = st.fixed_dictionaries({"id": ROWS.map(lambda row: {"S": row})}, optional={"until": VALUE, "holder": VALUE})
LATER = st.sampled_from([{}, *map(conditional, CONDITIONS.elements)])
OF_ROWS = st.one_of(
    st.tuples(st.just("put_item"), ITEM.map(lambda item: {"Item": item}), LATER),
    st.tuples(st.just("delete_item"), ROWS.map(lambda row: {"Key": {"id": {"S": row}}}), LATER),
    st.tuples(st.just("update_item"), st.sampled_from(["ADD", "DELETE"]).map(lambda verb: {
        "Key": {"id": {"S": "hooks"}}, "UpdateExpression": f"{verb} #names :names",
        "ExpressionAttributeNames": {"#names": "names"}}),
        lists(st.sampled_from(["g", "h"])).map(lambda names: {"ExpressionAttributeValues": {":names": {"SS": names}}})),
)  # fmt: skip
ALL_ROWS = [{"id": {"S": row}} for row in ("lease", "machine/i-0/vol-0", "hooks")]


@STEPS
@given(st.lists(OF_ROWS, min_size=10, max_size=40))
def test_rows_are_written_alike(steps):
    with pairs(("dynamodb", "create_table", TABLE)) as pair:
        for method, params, more in steps:
            pair.play("dynamodb", method, TableName="ledger", **params, **more)
            pair.play("dynamodb", "batch_get_item", RequestItems={"ledger": {"Keys": ALL_ROWS, "ConsistentRead": True}})


def test_what_is_too_much_is_refused_alike():
    with pairs(("dynamodb", "create_table", TABLE)) as pair:
        many = [{"id": {"S": str(number)}} for number in range(101)]
        for keys in (many, many[:1] * 2, many[:100]):
            pair.play("dynamodb", "batch_get_item", RequestItems={"ledger": {"Keys": keys}})
        pair.play("dynamodb", "put_item", TableName="ledger", Item={"id": {"S": "x"}}, ConditionExpression="names = :x",
                  ExpressionAttributeValues={":x": {"S": "x"}})  # fmt: skip
        pair.play("elb", "describe_tags", LoadBalancerNames=[f"b-{number}" for number in range(21)])
