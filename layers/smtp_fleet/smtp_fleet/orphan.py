"""What follows for a group that has our hook, but no balancer of a fleet any more: its instances are let go of.

Its balancer was deleted, detached, or lost its tag before it ever sent. Until the hook is gone its launches would wait
for an admission that nobody gives.
"""

from __future__ import annotations

from smtp_fleet import breaker, launch
from smtp_fleet.actions import Action, Admit, DeleteHook, Forget, ForgetOff, Plan, RecordOff, Send
from smtp_fleet.evidence import Ask, Record, Standing, Verb, next_epoch
from smtp_fleet.fleet import Fleet, Member
from smtp_fleet.outcome import Outcome
from smtp_fleet.settings import MindSettings

NOTHING: frozenset[int] = frozenset()


def plan(fleet: Fleet, settings: MindSettings) -> Plan:
    """The next step of a fleet of one group and no balancer, once whoever fed it has certainly stopped."""
    [group], now = fleet.groups, fleet.now
    since = fleet.off_since.get(group.off_key)
    if since is None:
        action = RecordOff(*group.off_key)
        return Plan("a group left its fleet", (action,), not_yet=True, again_in=settings.settle)
    if now < since + settings.settle:
        wait = since + settings.settle - now
        return Plan("a group left its fleet: waiting to settle", not_yet=True, again_in=wait)
    concerned = [m for m in fleet.members if _concerns(m)]
    free = [m for m in launch.waiting(fleet.members) if m not in concerned]
    admit = tuple(Admit(m.machine, m.group, m.launched_at) for m in launch.to_be_admitted(free, now))
    if concerned:
        records = [m.record for m in fleet.members]
        ask = Ask(Verb.EXPECT, NOTHING, next_epoch(Verb.EXPECT, NOTHING, records, now))
        due = tuple(m.machine for m in concerned if m.machine.volume and not m.pooled and _is_due(m, now, settings))
        sent = (Send(ask, due),) if due else ()
        reason, said = "a group left its fleet: letting its instances go", launch.left_in_pool(concerned)
        return Plan(reason, (*sent, *admit), not_yet=len(said) < len(concerned), findings=said)
    forget = tuple(Forget(m.machine) for m in fleet.members if m.record != Record(m.machine) and not m.waits)
    if free:
        return Plan("a group left its fleet: admitting its launches", (*admit, *forget), not_yet=True)
    rows: tuple[Action, ...] = (*forget, *breaker.forgetting(fleet), DeleteHook(group.name), ForgetOff(*group.off_key))
    return Plan("a group left its fleet: nothing of ours is left", rows)


def _concerns(m: Member) -> bool:
    """Whether a machine was ever asked to expect, and is not known to have let go (or to be edited by others)."""
    record = m.record
    let_go = record.is_met and not m.expected_ports and not record.proxy
    return record.ask is not None and not let_go and record.outcome is not Outcome.EDITED


def _is_due(m: Member, now: int, settings: MindSettings) -> bool:
    """Whether to ask a machine to let go now: what it could not do is asked again each check interval."""
    asked_so = m.record.ask is not None and m.record.ask.verb is Verb.EXPECT and not m.expected_ports
    standing = m.record.standing(now)
    again = standing is Standing.CANNOT and m.record.asked_at <= now - settings.check_interval
    return not asked_so or standing is Standing.FREE or again
