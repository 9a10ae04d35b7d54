"""What stands against deleting the stack, and the answer to CloudFormation that says so."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.request import Request, urlopen

from smtp_fleet.autoscaling import Groups
from smtp_fleet.elb import LoadBalancers
from smtp_fleet.fleet import Group, LoadBalancer, our_ports
from smtp_fleet.settings import Marks
from smtp_fleet.tag import Tags, wish

ADVICE = "run `make retire`, or tag each load balancer `disabled` and wait until its log says off"


def obstacles(
    balancers: Sequence[LoadBalancer],
    tags: Mapping[str, Tags],
    groups: Iterable[Group],
    recorded: frozenset[str],
    settings: Marks,
) -> tuple[str, ...]:
    """Every balancer that sends by our doing, has our policy or is `recorded`, every group with our hook.

    None: the stack may go.
    """
    sending = [
        f"load balancer {b.name} sends the header on instance port {port}"
        for b in balancers
        for port in sorted(our_ports(b, wish(tags.get(b.name, Tags()), settings.mail_ports), settings))
    ]
    kept = [
        f"load balancer {b.name} still has the policy {settings.policy_name}: instances may not have been let go yet"
        for b in balancers
        if settings.policy_name in b.proxy_policies and not b.marked_ports(settings.policy_name)
    ]
    behind = [
        f"load balancer {b.name} may have instances behind it that expect the header"
        for b in balancers
        if b.name in recorded and settings.policy_name not in b.proxy_policies
    ]
    hooked = [f"group {group.name} has the stack's lifecycle hook" for group in groups if group.hook]
    return (*sending, *kept, *behind, *hooked)


def observe(balancers: LoadBalancers, groups: Groups, recorded: frozenset[str], settings: Marks) -> tuple[str, ...]:
    """The obstacles in the Region as it is now, `recorded` in the ledger the balancers whose instances may expect."""
    tags = balancers.tagged(settings.tag_key)
    hooked = [groups.with_hook(group, 0) for group in groups.all()]
    seen = balancers.read_all(tags.keys() | recorded, settings.policy_name)
    return obstacles(seen, tags, hooked, recorded, settings)


def answer(request: Mapping[str, Any], against: Iterable[str]) -> None:
    """Tell CloudFormation, which waits at the request's own address, that the resource may go, or why it may not."""
    reasons = tuple(against)
    told = {
        "Status": "FAILED" if reasons else "SUCCESS",
        "Reason": f"{'; '.join(reasons)[:3000]}: {ADVICE}" if reasons else "nothing of the stack is left",
        "PhysicalResourceId": "retirement-guard",
        **{key: request[key] for key in ("StackId", "RequestId", "LogicalResourceId")},
    }
    # CloudFormation signs the address for a body without a content type.
    urlopen(Request(request["ResponseURL"], json.dumps(told).encode(), {"Content-Type": ""}, method="PUT")).close()  # noqa: S310
