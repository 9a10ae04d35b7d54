"""docs/cases.md is true: each case of its table is built on strict moto, and says, changes and calls what its row says.

An operator's calls become CloudTrail events, the template's rules choose among them, and the mind is woken with these.
"""

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from math import ceil
from pathlib import Path

import boto3
import pytest

from local import cloudtrail
from local.strict import observe
from tests.smtp_fleet import conftest
from tests.test_template import woken

stack = conftest.stack
SERVICES = {
    "elb": "ELB and tagging",
    "elbv2": "ELB and tagging",
    "resourcegroupstaggingapi": "ELB and tagging",
    "autoscaling": "Auto Scaling and EC2",
    "ec2": "Auto Scaling and EC2",
    "dynamodb": "ledger",
    "sqs": "SQS",
}
OURS, THEIRS = "EnableProxyProtocol", "theirs"
SWEEP = json.loads(Path("events/sweep.json").read_text())


@dataclass
class Row:
    """One row of the table: what the mind says, findings in brackets, and the calls that it makes, by service."""

    said: str = ""
    calls: dict[str, Counter] = field(default_factory=lambda: {name: Counter() for name in SERVICES.values()})

    def __str__(self):
        return " | ".join([self.said or "-", *(written(calls) for calls in self.calls.values())])


def written(calls):
    """Calls as the table has them: their names, and how often if more than once."""
    return ", ".join(f"{name} {times}" if times > 1 else name for name, times in sorted(calls.items())) or "-"


def table():
    """The rows of docs/cases.md by their case: what is said, and the calls by service, all as written."""
    lines = [line.strip("| \n").split(" | ") for line in Path("docs/cases.md").read_text().splitlines()]
    rows = [[cell.strip().replace("`", "") for cell in cells] for cells in lines if len(cells) == 7]
    header, *rest = rows
    assert header[3:] == list(dict.fromkeys(SERVICES.values()))
    return {cells[0]: " | ".join([cells[1], *cells[3:]]) for cells in rest if cells[0].strip("-")}


class Waking:
    """Wakes the mind once, and keeps what it said and called."""

    def __init__(self, stack):
        self.stack, self.row, self.failed = stack, Row(), set()

    def by(self, *acts, **more):
        """Wake it by what the rules make of an operator's acts, all in one batch."""
        self.with_events([event for act in acts for event in events_of(act)], **more)

    def with_events(self, events, meanwhile=None, **settings):
        """Wake it with events, if there are any; `meanwhile`: what somebody does right after the call of a name."""
        said, seen, meanwhile = len(self.stack.said), [], dict(meanwhile or {})

        def look(call):
            if call.caller == OURSELVES:
                seen.append(call)
                meanwhile.pop(call.operation, lambda: None)()

        if events:
            with observe(look):
                bodies = {str(number): event for number, event in enumerate(events)}
                self.failed = self.stack.mind(**settings).wake(bodies, "me")
        for call in seen:
            self.row.calls[SERVICES[call.service]][call.operation] += 1
        phrases = [f"[{keys['finding']}]" if phrase == "finding" else phrase for phrase, keys in self.stack.said[said:]]
        self.row.said = ", ".join(dict.fromkeys(phrases))


OURSELVES = "A" * 20


@cache
def somebody(service):
    """A client of somebody else."""
    keys = {"aws_access_key_id": "B" * 20, "aws_secret_access_key": "B"}
    return boto3.client(service, region_name="us-east-1", **keys)


def events_of(act):
    """The events by which an operator's act wakes the mind."""
    seen = []
    with observe(seen.append):
        act()
    made = [cloudtrail.event(c.service, c.operation, c.params, c.error, "2026-01-01T00:00:00Z", "id") for c in seen]
    return [event for event in made if event and woken(event)]


def sample(name):
    """A sample event, if a rule takes it."""
    event = json.loads(Path("events", f"{name}.json").read_text())
    return [event] if woken(event) else []


# ---- what an operator, or somebody else, does


def listener(port=25, inner=25, protocol="TCP"):
    return {"Protocol": protocol, "LoadBalancerPort": port, "InstanceProtocol": protocol, "InstancePort": inner}


def balancer(stack, *listeners, name="mx-1", tag="enabled"):
    tags = {"Tags": [{"Key": stack.settings.tag_key, "Value": tag}]} if tag else {}
    stack.client("elb").create_load_balancer(
        LoadBalancerName=name, Listeners=listeners or [listener()], AvailabilityZones=["us-east-1a"], **tags
    )


def untag(stack):
    stack.client("elb").remove_tags(LoadBalancerNames=["mx-1"], Tags=[{"Key": stack.settings.tag_key}])


def create_policy(name, kind="ProxyProtocolPolicyType", value="true", balancer="mx-1"):
    attribute = {"AttributeName": "ProxyProtocol" if kind.startswith("Proxy") else "PublicKey", "AttributeValue": value}
    somebody("elb").create_load_balancer_policy(
        LoadBalancerName=balancer, PolicyName=name, PolicyTypeName=kind, PolicyAttributes=[attribute]
    )


def set_policies(*names, port=25, balancer="mx-1"):
    somebody("elb").set_load_balancer_policies_for_backend_server(
        LoadBalancerName=balancer, InstancePort=port, PolicyNames=list(names)
    )


def delete(name="mx-1"):
    somebody("elb").delete_load_balancer(LoadBalancerName=name)


def on(stack, **more):
    """A balancer that sends already."""
    balancer(stack, **more)
    stack.wake("mx-1")
    assert stack.policies() == {25: [OURS]}


def has_hook(stack, group="mx"):
    return bool(stack.client("autoscaling").describe_lifecycle_hooks(AutoScalingGroupName=group)["LifecycleHooks"])


# ---- the cases

CASES = {}


def case(name):
    """Registers what builds the case of this name, wakes the mind in it, and looks at what is true afterwards."""
    return lambda build: CASES.setdefault(name, build)


@case("a call on a v2 load balancer")
def _(stack, wake):
    wake.with_events(sample("ignored/create-load-balancer-v2") + sample("ignored/add-tags-v2"))


@case("a call that failed")
def _(stack, wake):
    def refused():
        with pytest.raises(somebody("elb").exceptions.AccessPointNotFoundException):
            set_policies()

    wake.by(refused)
    wake.with_events(sample("ignored/create-load-balancer-denied"))


@case("untagged")
def _(stack, wake):
    wake.by(lambda: balancer(stack, tag=None))
    assert stack.policies() == {}


@case("untagged, while our hook is on some group")
def _(stack, wake):
    on(stack)
    stack.group()
    stack.wake("mx-1")
    wake.by(lambda: balancer(stack, name="web", tag=None))
    assert stack.policies("web") == {}


@case("new, tagged in the create call")
def _(stack, wake):
    wake.by(lambda: balancer(stack))
    assert stack.policies() == {25: [OURS]}


@case("tagged later")
def _(stack, wake):
    balancer(stack, tag=None)
    stack.wake("mx-1")
    wake.by(lambda: stack.tag("enabled"))
    assert stack.policies() == {25: [OURS]}


@case("several names in one AddTags")
def _(stack, wake):
    balancer(stack)
    balancer(stack, name="mx-2")
    balancer(stack, name="web", tag=None)
    [event] = events_of(lambda: stack.tag("enabled"))
    event["detail"]["requestParameters"]["loadBalancerNames"] = ["mx-1", "mx-2", "web"]
    wake.with_events([event])
    assert (stack.policies(), stack.policies("mx-2"), stack.policies("web")) == ({25: [OURS]}, {25: [OURS]}, {})


@case("the listener comes later")
def _(stack, wake):
    balancer(stack, listener(80, 8080, "HTTP"))
    stack.wake("mx-1")
    assert stack.phrases() == ["no mail listener"]
    wake.by(lambda: stack.client("elb").create_load_balancer_listeners(LoadBalancerName="mx-1", Listeners=[listener()]))
    assert stack.policies() == {25: [OURS]}


@case("a port of its own, 25 to 2525")
def _(stack, wake):
    wake.by(lambda: balancer(stack, listener(25, 2525), listener(80, 25, "HTTP")))
    assert stack.policies() == {2525: [OURS]}


@case("two mail ports")
def _(stack, wake):
    wake.by(lambda: balancer(stack, listener(), listener(587, 587), tag="25 587"))
    assert stack.policies() == {25: [OURS], 587: [OURS]}


@case("a group without instances behind it")
def _(stack, wake):
    balancer(stack)
    wake.by(stack.group)
    assert (stack.policies(), has_hook(stack), stack.delayed("wakes")) == ({}, True, 1)


@case("that group, every launch held")
def _(stack, wake):
    balancer(stack)
    stack.group()
    stack.wake("mx-1")
    stack.now += stack.settings.settle
    wake.by(lambda: stack.tag("enabled"))
    assert stack.policies() == {25: [OURS]}


@case("already right")
def _(stack, wake):
    on(stack)
    wake.by(lambda: stack.tag("enabled"))
    assert stack.policies() == {25: [OURS]}


@case("our own calls come back")
def _(stack, wake):
    balancer(stack)
    events = events_of(lambda: stack.wake("mx-1"))
    assert [event["detail"]["eventName"] for event in events] == ["SetLoadBalancerPoliciesForBackendServer"]
    wake.with_events(events)
    assert stack.policies() == {25: [OURS]}


@case("our own hook comes back")
def _(stack, wake):
    on(stack)
    stack.group()
    events = events_of(lambda: stack.wake("mx-1"))
    assert [event["detail"]["eventName"] for event in events] == ["PutLifecycleHook"]
    wake.with_events(events)
    assert has_hook(stack)


@case("policy removed by hand")
def _(stack, wake):
    on(stack)
    wake.by(set_policies)
    assert stack.policies() == {25: [OURS]}


@case("the same policy created meanwhile")
def _(stack, wake):
    wake.by(lambda: balancer(stack), meanwhile={"DescribeLoadBalancers": lambda: create_policy(OURS)})
    assert stack.policies() == {25: [OURS]}


@case("a policy that differs in writing created meanwhile")
def _(stack, wake):
    wake.by(lambda: balancer(stack), meanwhile={"DescribeLoadBalancers": lambda: create_policy(OURS, value="True")})
    assert (stack.policies(), wake.failed) == ({25: [OURS]}, set())


@case("a policy of another type created meanwhile")
def _(stack, wake):
    another = {"DescribeLoadBalancers": lambda: create_policy(OURS, "PublicKeyPolicyType")}
    wake.by(lambda: balancer(stack), meanwhile=another)
    assert (stack.policies(), wake.failed) == ({}, {"0"})
    stack.wake("mx-1")
    assert stack.phrases()[-1] == "refused"


@case("a PROXY policy under a foreign name")
def _(stack, wake):
    balancer(stack)
    create_policy(THEIRS)
    wake.by(lambda: stack.tag("enabled"))
    assert stack.policies() == {25: [THEIRS]}


@case("it sends already, under a foreign name")
def _(stack, wake):
    balancer(stack)
    create_policy(THEIRS)
    set_policies(THEIRS)
    wake.by(lambda: stack.tag("enabled"))
    assert stack.policies() == {25: [THEIRS]}


@case("other policies on the port")
def _(stack, wake):
    balancer(stack)
    create_policy(THEIRS, "PublicKeyPolicyType")
    wake.by(lambda: set_policies(THEIRS))
    assert stack.policies() == {25: [THEIRS, OURS]}


@case("deleted before we look")
def _(stack, wake):
    balancer(stack)
    wake.by(delete)


@case("deleted after its tags were read")
def _(stack, wake):
    wake.by(lambda: balancer(stack), meanwhile={"DescribeTags": delete})
    assert wake.failed == set()


@case("deleted after it was read")
def _(stack, wake):
    wake.by(lambda: balancer(stack), meanwhile={"DescribeLoadBalancers": delete})
    assert wake.failed == {"0"}
    assert stack.wake("mx-1") == set()
    assert stack.phrases()[-1] == "load balancer is not there"


@case("re-created under its name")
def _(stack, wake):
    on(stack)
    wake.by(delete, lambda: balancer(stack))
    assert stack.policies() == {25: [OURS]}


@case("not yet visible")
def _(stack, wake):
    events = events_of(lambda: balancer(stack))
    delete()
    wake.with_events(events)
    assert (stack.delayed("wakes"), wake.failed) == (1, set())


@case("two wakes in one batch")
def _(stack, wake):
    wake.by(lambda: balancer(stack, tag=None), lambda: stack.tag("enabled"))
    assert stack.policies() == {25: [OURS]}


@case("two wakes at once")
def _(stack, wake):
    stack.ledger.take_lease("the other", stack.now, 180)
    wake.by(lambda: balancer(stack))
    assert (stack.policies(), stack.delayed("wakes")) == ({}, 1)


@case("refused: a listener is HTTP")
def _(stack, wake):
    wake.by(lambda: balancer(stack, listener(protocol="HTTP")))
    assert stack.policies() == {}


@case("refused: another listener shares the instance port")
def _(stack, wake):
    wake.by(lambda: balancer(stack, listener(), listener(2525, 25)))
    assert stack.policies() == {}


@case("refused: an untagged balancer feeds the port")
def _(stack, wake):
    balancer(stack)
    balancer(stack, name="web", tag=None)
    wake.by(lambda: stack.group(balancers=("mx-1", "web")))
    assert (stack.policies(), stack.policies("web"), has_hook(stack)) == ({}, {}, False)


@case("refused: a target group feeds the port")
def _(stack, wake):
    balancer(stack)
    stack.group()
    vpc = stack.client("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]
    made = somebody("elbv2").create_target_group(Name="nlb", Protocol="TCP", Port=25, VpcId=vpc)["TargetGroups"]
    arns = [target["TargetGroupArn"] for target in made]
    wake.by(
        lambda: somebody("autoscaling").attach_load_balancer_target_groups(
            AutoScalingGroupName="mx", TargetGroupARNs=arns
        )
    )
    assert (stack.policies(), has_hook(stack)) == ({}, False)


@case("refused: a group outside GroupNamePattern")
def _(stack, wake):
    balancer(stack)
    wake.by(stack.group, group_name_pattern="mail-*")
    assert (stack.policies(), has_hook(stack)) == ({}, False)


@case("refused: the policy's name is taken by another type")
def _(stack, wake):
    balancer(stack)
    create_policy(OURS, "PublicKeyPolicyType")
    wake.by(lambda: stack.tag("enabled"))
    assert stack.policies() == {}


@case("the tag vanished while it sends")
def _(stack, wake):
    on(stack)
    wake.by(lambda: untag(stack))
    assert stack.policies() == {25: [OURS]}


@case("contradicting tags")
def _(stack, wake):
    on(stack)
    balancer(stack, name="mx-2", tag="disabled")
    wake.by(lambda: stack.group(balancers=("mx-1", "mx-2")))
    assert (stack.policies(), stack.policies("mx-2"), has_hook(stack)) == ({25: [OURS]}, {}, True)


@case("a tag value that means nothing")
def _(stack, wake):
    wake.by(lambda: balancer(stack, tag="yes"))
    assert stack.policies() == {}


@case("audit")
def _(stack, wake):
    wake.by(lambda: balancer(stack, tag="audit"))
    assert stack.policies() == {}


@case("paused")
def _(stack, wake):
    wake.by(lambda: balancer(stack), paused=True)
    assert stack.policies() == {}


@case("disabled while it sends")
def _(stack, wake):
    on(stack)
    wake.by(lambda: stack.tag("disabled"))
    assert (stack.policies(), stack.delayed("wakes")) == ({}, 1)


@case("disabled, settled")
def _(stack, wake):
    on(stack)
    stack.tag("disabled")
    stack.wake("mx-1")
    stack.now += stack.settings.settle
    wake.by(lambda: stack.tag("disabled"))
    described = stack.client("elb").describe_load_balancers(LoadBalancerNames=["mx-1"])
    assert described["LoadBalancerDescriptions"][0]["Policies"]["OtherPolicies"] == []


@case("sweep of 5, of which 3 tagged and right, 1 with policies of others")
def _(stack, wake):
    for number in range(3):
        balancer(stack, name=f"mx-{number}")
    balancer(stack, name="web-1", tag=None)
    create_policy(THEIRS, balancer="web-1")
    set_policies(THEIRS, balancer="web-1")
    balancer(stack, name="web-2", tag=None)
    stack.wake()
    wake.with_events([SWEEP])
    assert [stack.policies(f"mx-{number}") for number in range(3)] == [{25: [OURS]}] * 3
    assert wake.row.calls["ELB and tagging"] == Counter(
        GetResources=1, DescribeLoadBalancers=1, DescribeLoadBalancerPolicies=1
    )


@case("sweep of 450, of which 120 tagged, none with policies")
def _(stack, wake):
    for number in range(450):
        balancer(stack, name=f"mx-{number}", tag="audit" if number < 120 else None)
    stack.wake()
    stack.now += stack.settings.settle
    wake.with_events([SWEEP])
    assert wake.row.calls["ELB and tagging"].total() == ceil(450 / 400) + ceil(120 / 100)


@case("sweep of 1 that sends, an instance behind it, around which nobody has looked for a check interval")
def _(stack, wake):
    on(stack)
    stack.group()
    stack.wake("mx-1")
    stack.scale(1)
    stack.wake("mx-1")
    wake.with_events([SWEEP])


@pytest.mark.parametrize("name", sorted(CASES.keys() | table().keys()))
def test_the_case_is_as_its_row_says(stack, name):
    wake = Waking(stack)
    CASES[name](stack, wake)
    assert f"{name} | {wake.row}" == f"{name} | {table().get(name)}"


def test_the_bars():
    """What a wake may cost at most on the APIs of Elastic Load Balancing and tagging."""
    cost = {name: sum(map(times, row.split(" | ")[1].split(", "))) for name, row in table().items()}
    assert cost["untagged"] <= 2
    assert cost["already right"] <= 4
    assert cost["new, tagged in the create call"] <= 5
    assert cost["other policies on the port"] <= 6
    assert cost["two mail ports"] - cost["new, tagged in the create call"] <= 1


def times(call):
    """How often a call is made, as the table has it."""
    if call == "-":
        return 0
    return int(found[1]) if (found := re.search(r" (\d+)$", call)) else 1
