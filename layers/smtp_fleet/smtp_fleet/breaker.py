"""The breaker: launches that are given up one after the other end in a stop, not in a loop that drains a fleet.

A launch that cannot expect the header is given up, and Auto Scaling launches another, which most likely cannot either.
After some of them the group's breaker opens: further ones are held at the hook, where they can be looked at. It closes
by a good launch, by another launch configuration of the group, or when the balancer is tagged anew; and each hour one
is given up all the same, so that a mended image gets its chance.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from smtp_fleet.actions import CloseBreaker, RecordBreaker
from smtp_fleet.evidence import Machine, Speaks
from smtp_fleet.fleet import Breaker, Fleet, Group, Member
from smtp_fleet.row import Row

OPENS_AT = 3
"""Launches of one group given up in a row, after which its breaker opens."""

ONE_EACH = 3600
"""Seconds after which one is given up although the breaker is open."""


def is_open(fleet: Fleet, group: Group) -> bool:
    """Whether so many launches of a group were given up that no more are; a new launch configuration is a new start."""
    return len(_of(fleet, group.name).given_up) >= OPENS_AT


def sort_out(fleet: Fleet, rows: list[Row]) -> tuple[list[Row], tuple[RecordBreaker, ...]]:
    """The rows with those rejected only that may be given up now, the others held; and what the ledger is to know."""
    rejects = dict.fromkeys(m for row in rows for m in row.reject)
    breakers = {m.group: _of(fleet, m.group) for m in rejects}
    spared: dict[Machine, Member] = {}
    asked = {m.machine: m for m in fleet.members}
    for m in rejects:
        breaker, instance = breakers[m.group], m.machine.instance_id
        if instance in breaker.given_up:
            continue  # it is on its way out
        if len(breaker.given_up) >= OPENS_AT and fleet.now < breaker.at + ONE_EACH:
            spared[m.machine] = asked[m.machine]
        else:
            latest = (*breaker.given_up, instance)[-OPENS_AT:]
            breakers[m.group] = Breaker(latest, fleet.now, breaker.configuration, m.record.reason)
    held = [_holding(row, spared) for row in rows]
    changed = [name for name, breaker in breakers.items() if breaker != fleet.breakers.get(name) and breaker.given_up]
    return held, tuple(RecordBreaker(name, breakers[name]) for name in changed)


def closing(fleet: Fleet, good: Iterable[Member]) -> tuple[CloseBreaker, ...]:
    """The breakers that a good launch closes, or another launch configuration."""
    groups = {m.group for m in good}
    return tuple(
        CloseBreaker(g.name)
        for g in fleet.groups
        if g.name in fleet.breakers and (g.name in groups or fleet.breakers[g.name].configuration != g.configuration)
    )


def forgetting(fleet: Fleet) -> tuple[CloseBreaker, ...]:
    """The breakers of a fleet that is switched off, by request or as the last resort: a later try begins anew."""
    return tuple(CloseBreaker(g.name) for g in fleet.groups if g.name in fleet.breakers)


def findings(fleet: Fleet) -> tuple[str, ...]:
    """What to say of the breakers that are open."""
    return tuple(
        f"the breaker of group {g.name} is open: {OPENS_AT} launches in a row were given up, the last because "
        f"{_of(fleet, g.name).why}; the others are held"
        for g in fleet.groups
        if is_open(fleet, g)
    )


def nothing_left(fleet: Fleet, port: int) -> bool:
    """Whether launches fail, and nobody is known to expect the header: sending on would keep all mail out."""
    failing = {group.name for group in fleet.groups if is_open(fleet, group)}
    fails = any(m.waits and m.group in failing for m in fleet.members)
    return fails and not any(m.record.speaks(port) is Speaks.PROXY for m in fleet.members)


def _of(fleet: Fleet, name: str) -> Breaker:
    launches = next((g.configuration for g in fleet.groups if g.name == name), "")
    known = fleet.breakers.get(name)
    return known if known and known.configuration == launches else Breaker((), 0, launches)


def _holding(row: Row, spared: dict[Machine, Member]) -> Row:
    """The row with these members held, and asked again in time, rather than rejected."""
    reject = tuple(m for m in row.reject if m.machine not in spared)
    held = tuple(spared[m.machine] for m in row.reject if m.machine in spared)
    return replace(row, reject=reject, hold=(*row.hold, *held), expect=(*row.expect, *held))
