"""What is around a fleet that an operator should mend himself, each with the commands that mend it; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from smtp_fleet.reach import Surroundings, Way, ways

DATA_END = 600
"""Seconds for which a client waits for the answer to its final dot (RFC 5321 §4.5.3.2.6): a balancer that hangs up
earlier makes it send again what was taken already."""


@dataclass(frozen=True)
class Knobs:
    """The attributes of a balancer that decide about duplicates and broken sessions; `idle` in seconds."""

    idle: int
    draining: bool


@dataclass(frozen=True)
class Mend:
    """What is wrong, and the commands that mend it; `detail` is what changes as instances come and go."""

    what: str
    commands: tuple[str, ...]
    detail: str = ""


def mends(ports: tuple[int, ...], around: Surroundings, knobs: Mapping[str, Knobs]) -> tuple[Mend, ...]:
    """Every way past the balancers to these instance ports, and every attribute that makes duplicates."""
    past = [_past(way) for port in ports for way in ways(around, port)]
    return (*past, *(mend for name, told in sorted(knobs.items()) for mend in _knobs(name, told)))


def _past(way: Way) -> Mend:
    what = f"{way.who} can reach port {way.port} past the balancer, by rule {way.rule} of {way.group}"
    return Mend(what, way.commands, way.detail)


def _knobs(name: str, told: Knobs) -> tuple[Mend, ...]:
    found = []
    if told.idle < DATA_END:
        what = f"load balancer {name} hangs up after {told.idle} s of silence: below {DATA_END} s mail is doubled"
        found.append(Mend(what, (_modify(name, f'{{"ConnectionSettings":{{"IdleTimeout":{DATA_END}}}}}'),)))
    if not told.draining:
        what = f"load balancer {name} does not drain: sessions break when an instance leaves"
        found.append(Mend(what, (_modify(name, '{"ConnectionDraining":{"Enabled":true,"Timeout":300}}'),)))
    return tuple(found)


def _modify(name: str, attributes: str) -> str:
    return (
        f"aws elb modify-load-balancer-attributes --load-balancer-name {name} --load-balancer-attributes '{attributes}'"
    )
