"""Which launching instances may go into service, and when every launch is certainly held."""

from __future__ import annotations

from collections.abc import Iterable

from smtp_fleet.actions import ABANDON
from smtp_fleet.fleet import Fleet, Group, Member


def waiting(members: Iterable[Member]) -> tuple[Member, ...]:
    """Those of the members that wait at a launch hook of ours."""
    return tuple(m for m in members if m.waits)


def left_in_pool(members: Iterable[Member]) -> tuple[str, ...]:
    """What to say of those that rest in a warm pool, where they cannot be asked: our hook stays for them."""
    return tuple(
        f"{m.machine.instance_id} rests in the warm pool of {m.group} and may expect the header: "
        "it is let go of when it leaves the pool"
        for m in members
        if m.pooled
    )


def admitted_by_all(ports: list[tuple[Member, ...]]) -> tuple[Member, ...]:
    """The members that every instance port of the fleet admits; one that any port holds back stays waiting."""
    first, rest = (ports[0], ports[1:]) if ports else ((), [])
    return tuple(m for m in first if all(m in port for port in rest))


def all_held_in(fleet: Fleet, settle: int) -> int:
    """Seconds until every launch of every group is certainly held: the settle time after our hook was read back."""
    return max((_held_in(group, fleet.now, settle) for group in fleet.groups), default=0)


def _held_in(group: Group, now: int, settle: int) -> int:
    if group.hook is None or group.hook.default_result != ABANDON or not group.hooked_since:
        return settle
    return max(0, group.hooked_since + settle - now)
