"""The Region that everybody is measured in: the template's, asleep, so that only the measured one acts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from local.region import Region
from local.strict import Call, observe
from local.template import Template

TEMPLATE = Path("template.yaml")
KEY, POLICY = "smtp-proxy-protocol", "EnableProxyProtocol"
LISTENER = {"Protocol": "TCP", "LoadBalancerPort": 25, "InstanceProtocol": "TCP", "InstancePort": 25}
TAGGED, DRIFTED = 10, 20
"""Of a sweep's balancers, every 10th is tagged; of these, every 20th lacks the policy."""


def deploy(**parameters: str) -> Region:
    """The template's Region, asleep: events reach queues that nobody reads."""
    functions = Template(TEMPLATE, parameters).resources("AWS::Serverless::Function")
    return Region(TEMPLATE, parameters, {name: each | {"Events": {}} for name, each in functions.items()})


def create(region: Region, name: str, tagged: bool = True, sends: bool = False) -> None:
    """A balancer for mail, as an operator makes it; `sends`: with our policy on its port."""
    elb = region.client("elb")
    tags: dict[str, Any] = {"Tags": [{"Key": KEY, "Value": "enabled"}]} if tagged else {}
    elb.create_load_balancer(LoadBalancerName=name, Listeners=[LISTENER], AvailabilityZones=["us-east-1a"], **tags)
    if sends:
        elb.create_load_balancer_policy(
            LoadBalancerName=name,
            PolicyName=POLICY,
            PolicyTypeName="ProxyProtocolPolicyType",
            PolicyAttributes=[{"AttributeName": "ProxyProtocol", "AttributeValue": "true"}],
        )
        elb.set_load_balancer_policies_for_backend_server(LoadBalancerName=name, InstancePort=25, PolicyNames=[POLICY])


def populate(region: Region, count: int, tell: Any) -> set[str]:
    """So many balancers; returns the names of those that are tagged and lack the policy."""
    lacking = set()
    for number in range(count):
        if number % 500 == 0:
            tell(f"{number} of {count} balancers")
            region.log.clear()
        tagged = number % TAGGED == 0
        lacks = number % (TAGGED * DRIFTED) == 0
        create(region, f"mx-{number}", tagged, sends=tagged and not lacks)
        if lacks:
            lacking.add(f"mx-{number}")
    return lacking


@contextmanager
def counting() -> Iterator[list[Call]]:
    """The calls that the server answers meanwhile, without their results."""
    seen: list[Call] = []
    with observe(lambda call: seen.append(replace(call, result=None))):
        yield seen
