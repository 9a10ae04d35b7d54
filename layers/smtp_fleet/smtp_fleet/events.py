"""What an event points at: where to look, never what to do. The only module that knows the shapes of events."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

WAKE_SOURCE = "smtp-fleet"
"""The source of the wakes that reconcile_fleet sends to itself."""


class UnknownEvent(ValueError):
    """No rule of ours sends such an event."""


@dataclass(frozen=True)
class Where:
    """Names to look at; `everything` is the sweep.

    `cause` is one short word of ours for the command history; `tries` counts how often a balancer that an event names
    was looked for in vain; `retagged` are those that were just tagged; `by` tells for the log which calls were made,
    by whom and when; `begin` is the name with which a sweep goes on that did not come to its end, `seen` what it has
    counted until there.
    """

    cause: str
    balancers: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    instances: frozenset[str] = frozenset()
    everything: bool = False
    tries: int = 0
    retagged: frozenset[str] = frozenset()
    by: frozenset[str] = frozenset()
    begin: str = ""
    seen: tuple[int, ...] = ()


def where(event: Any) -> Where:
    """Read one event; raises UnknownEvent, which names what was expected, for a shape that no rule of ours sends."""
    match event:
        case {"source": "smtp-fleet", "detail-type": "Scheduled Event", "detail": {"begin": str(begin), **more}}:
            return Where("sweep", everything=True, begin=begin, seen=_numbers(more.get("seen")))
        case {"detail-type": "Scheduled Event"}:
            return Where("sweep", everything=True)
        case {"source": "smtp-fleet", "detail": {"balancers": [*names], "cause": str(cause), **more}}:
            return _own(_balancers(names), _word(cause), more)
        case {
            "source": "aws.elasticloadbalancing",
            "detail": {"eventName": str(call), "requestParameters": {**request}},
        }:
            named = _balancers(_named(request))
            retagged = named if call == "AddTags" else frozenset()
            return Where(_word(call), balancers=named, retagged=retagged, by=_by(event["detail"]))
        case {"source": "aws.autoscaling", "detail": {"eventName": str(call), "requestParameters": {**request}}}:
            return _group_call(_word(call), request, _by(event["detail"]))
        case {"source": "aws.autoscaling", "detail": {"AutoScalingGroupName": str(group), "EC2InstanceId": str()}}:
            return Where("launch", groups=frozenset({group}))
        case {"source": "aws.ssm", "detail": {"command-id": str(), "instance-id": str(instance)}}:
            return Where("answer", instances=_instances([instance]))
    raise UnknownEvent(f"an event of no known shape: {_describe(event)}")


def wake(where: Where) -> dict[str, Any]:
    """The event by which reconcile_fleet wakes itself to look at the same load balancers again."""
    return {
        "source": WAKE_SOURCE,
        "detail-type": "Scheduled Event" if where.everything else "Wake",
        "detail": {
            "balancers": sorted(where.balancers),
            "groups": sorted(where.groups),
            "cause": where.cause,
            "tries": where.tries,
            "by": sorted(where.by),
            "retagged": sorted(where.retagged),
            "begin": where.begin,
            "seen": list(where.seen),
        },
    }


def _own(balancers: frozenset[str], cause: str, more: Mapping[Any, Any]) -> Where:
    """A wake of our own: it may carry groups, and how often it was sent."""
    tries = more.get("tries")
    return Where(
        cause,
        balancers=balancers,
        groups=_texts(more.get("groups")),
        tries=tries if isinstance(tries, int) else 0,
        retagged=_texts(more.get("retagged")) & balancers,
        by=frozenset(filter(_is_call, _texts(more.get("by")))),
    )


def _texts(found: Any) -> frozenset[str]:
    return frozenset(text for text in found if isinstance(text, str)) if isinstance(found, list) else frozenset()


def _numbers(found: Any) -> tuple[int, ...]:
    return tuple(found) if isinstance(found, list) and all(isinstance(n, int) for n in found) else ()


def _by(detail: Mapping[Any, Any]) -> frozenset[str]:
    """The call, its principal and its time (CloudTrail record contents: a service has `invokedBy` and no `arn`)."""
    match detail:
        case {"userIdentity": {"arn": str(who)} | {"invokedBy": str(who)}, "eventName": call, "eventTime": at}:
            told = f"{call} by {who} at {at}"
            return frozenset({told}) if _is_call(told) else frozenset()
    return frozenset()


def _is_call(text: Any) -> bool:
    """What goes into the log of a call is plain words, whatever an event says."""
    return isinstance(text, str) and _CALL.fullmatch(text) is not None


def _named(request: Mapping[Any, Any]) -> list[Any]:
    """Classic requests name one balancer or a list of them; v2 requests use `name`, `resourceArns` and such."""
    match request:
        case {"loadBalancerName": name}:
            return [name]
        case {"loadBalancerNames": [*names]}:
            return names
    raise UnknownEvent("an Elastic Load Balancing call that names no classic load balancer")


def _group_call(cause: str, request: Mapping[Any, Any], by: frozenset[str]) -> Where:
    """Group calls name the group; those that change balancers name these too, and a detached one only there."""
    sources = [s.get("identifier") for s in request.get("trafficSources") or () if isinstance(s, dict)]
    names = [n for n in (*(request.get("loadBalancerNames") or ()), *sources) if isinstance(n, str)]
    group = request.get("autoScalingGroupName")
    return Where(
        cause,
        balancers=frozenset(n for n in names if _BALANCER.fullmatch(n)),
        groups=frozenset({group}) if isinstance(group, str) else frozenset(),
        by=by,
    )


_BALANCER = re.compile(r"[A-Za-z0-9-]{1,32}")
_CALL = re.compile(r"[A-Za-z]{1,64} by [\w:/+=,.@-]{1,300} at [0-9TZ:.-]{1,30}", re.ASCII)
_INSTANCE = re.compile(r"i-[0-9a-f]{8,17}")


def _balancers(names: list[Any]) -> frozenset[str]:
    bad = [name for name in names if not (isinstance(name, str) and _BALANCER.fullmatch(name))]
    if bad:
        raise UnknownEvent(f"load balancer name {str(bad[0])[:64]!r}: expected 1 to 32 letters, digits or hyphens")
    return frozenset(names)


def _instances(ids: list[str]) -> frozenset[str]:
    """Managed instances outside EC2 (mi-…) are none of ours: they point nowhere."""
    return frozenset(i for i in ids if _INSTANCE.fullmatch(i))


def _word(text: str) -> str:
    """A cause goes into a command's comment: letters only, and not many."""
    return re.sub("[^A-Za-z]", "", text)[:40]


def _describe(event: Any) -> str:
    if not isinstance(event, dict):
        return f"{type(event).__name__}, expected an object"
    seen = f"source {str(event.get('source'))[:40]!r}, detail-type {str(event.get('detail-type'))[:60]!r}"
    return f"{seen}, expected a classic load balancer call, a group call, a launch, an invocation or the sweep"
