"""Which launching instances may go into service, and when every launch is certainly held."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from smtp_fleet.actions import ABANDON
from smtp_fleet.evidence import ASK_WAIT, Answer, answered
from smtp_fleet.fleet import Fleet, Group, Member
from smtp_fleet.outcome import Outcome


def waiting(members: Iterable[Member]) -> tuple[Member, ...]:
    """Those of the members that wait at a launch hook of ours."""
    return tuple(m for m in members if m.waits)


def given_up_on(members: Iterable[Member], now: int, agent_wait: int) -> tuple[Member, ...]:
    """The waiting launches whose agents did not come online in time, each with the record that says so.

    Registration takes seconds to 6 minutes, but 25 to 30 minutes where the agent's first call was refused because its
    role had not spread yet (amazon-ssm-agent, credential refresher): whether to wait for that is a setting.
    """
    late = [m for m in waiting(members) if _is_absent(m, now, agent_wait)]
    return tuple(replace(m, record=answered(m.record, _absent(m, agent_wait))) for m in late)


def _is_absent(m: Member, now: int, agent_wait: int) -> bool:
    """Asked in vain once at least, and never sent to; of an instance that EC2 does not show yet nothing is known."""
    record = m.record
    asked_in_vain = record.unheard > 0 or now >= record.asked_at + ASK_WAIT
    never_sent = record.ask is not None and not record.command_id and not record.is_answered
    return never_sent and asked_in_vain and 0 < m.launched_at <= now - agent_wait


def _absent(m: Member, agent_wait: int) -> Answer:
    epoch = m.record.ask.epoch if m.record.ask else 0
    return Answer(epoch, Outcome.ABSENT, reason=f"its agent did not come online within {agent_wait} s")


def left_in_pool(members: Iterable[Member]) -> tuple[str, ...]:
    """What to say of those that rest in a warm pool, where they cannot be asked: our hook stays for them."""
    return tuple(
        f"{m.machine.instance_id} rests in the warm pool of {m.group} and may expect the header: "
        "it is let go of when it leaves the pool"
        for m in members
        if m.pooled
    )


ADMIT_WAIT = 240
"""Seconds after which an admission is sent again to an instance that waits all the same.

Less than an admission counts for, but not much: where thousands queue up, those sent again make the queue longer.
"""


def to_be_admitted(members: Iterable[Member], now: int) -> tuple[Member, ...]:
    """Those of the members to whom an admission is not just on its way."""
    return tuple(m for m in members if not m.record.admitted or now >= m.record.admitted_at + ADMIT_WAIT)


def to_be_held(members: Iterable[Member], now: int, timeout: int) -> tuple[Member, ...]:
    """Those of the members whose lifecycle action has to begin anew, long before its timeout (seconds) is over."""
    return tuple(m for m in members if now >= m.record.held_at + timeout // 3)


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
