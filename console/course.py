"""Every step that would follow for a fleet, if each instance can expect the header and nothing fails.

Pure: it carries the plan out on values, again and again, by the very code that the functions run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from console import words
from smtp_fleet.actions import (
    Action,
    Admit,
    CloseBreaker,
    DeleteHook,
    DeletePolicy,
    Forget,
    ForgetAttachment,
    ForgetBalancer,
    ForgetOff,
    Plan,
    PutHook,
    Recall,
    RecordAttachment,
    RecordBalancer,
    RecordBreaker,
    RecordOff,
    Refuse,
    Reject,
    Relent,
    Send,
    SetPolicies,
)
from smtp_fleet.evidence import Answer, Machine, Record, Verb, answered, asked
from smtp_fleet.fleet import Attachment, Fleet, Group, Hook, LoadBalancer, Member, Refusal
from smtp_fleet.outcome import Outcome
from smtp_fleet.plan import plan
from smtp_fleet.settings import MindSettings

LIMIT = 30
"""Rounds after which a course that comes to no end is cut off; no fleet is known to need more than ten."""


@dataclass(frozen=True)
class Step:
    """Why, and what is done then."""

    why: str
    does: tuple[str, ...]


@dataclass(frozen=True)
class Course:
    """The steps in order, where they end, and what was found on the way; `blocked` where they end too early."""

    steps: tuple[Step, ...]
    end: str
    findings: tuple[str, ...]
    blocked: bool = False


def course(fleet: Fleet, settings: MindSettings, online: Collection[str]) -> Course:
    """The steps from a fleet as it is to its end; an instance whose agent is not online answers nothing."""
    steps: list[Step] = []
    findings: dict[str, None] = {}
    decided = Plan("")
    for _ in range(LIMIT):
        decided = plan(fleet, settings)
        findings |= dict.fromkeys(decided.findings)
        does = tuple(line for line in map(words.action, decided.actions) if line)
        if does:
            steps.append(Step(decided.reason, does))
        mute = sorted(
            m.instance_id
            for action in decided.actions
            if isinstance(action, Send)
            for m in action.machines
            if m.instance_id not in online
        )
        if mute:
            why = f"waits for {', '.join(mute)}: no Systems Manager agent online"
            return Course(tuple(steps), why, tuple(findings), blocked=True)
        if not decided.not_yet and not does:
            return Course(tuple(steps), decided.reason, tuple(findings))
        fleet = after(fleet, decided)
    return Course(tuple(steps), decided.reason, tuple(findings), blocked=decided.not_yet)


def after(fleet: Fleet, decided: Plan) -> Fleet:
    """The fleet once a plan was carried out, and its wait was waited out."""
    for action in decided.actions:
        fleet = _after(fleet, action)
    return replace(fleet, now=fleet.now + max(1, decided.again_in))


def _after(fleet: Fleet, action: Action) -> Fleet:
    match action:
        case RecordOff(balancer, port):
            return replace(fleet, off_since={(balancer, port): fleet.now, **fleet.off_since})
        case ForgetOff(balancer, port):
            return replace(fleet, off_since={k: v for k, v in fleet.off_since.items() if k != (balancer, port)})
        case RecordBalancer(balancer):
            return replace(fleet, recorded=fleet.recorded | {balancer})
        case ForgetBalancer(balancer):
            return replace(fleet, recorded=fleet.recorded - {balancer})
        case RecordAttachment(port, times, at):
            return replace(fleet, attachments={**fleet.attachments, port: Attachment(times, at)})
        case ForgetAttachment(port):
            return replace(fleet, attachments={k: v for k, v in fleet.attachments.items() if k != port})
        case RecordBreaker(group, breaker):
            return replace(fleet, breakers={**fleet.breakers, group: breaker})
        case CloseBreaker(group):
            return replace(fleet, breakers={k: v for k, v in fleet.breakers.items() if k != group})
        case Refuse(port, why, times, until):
            return replace(fleet, refusals={**fleet.refusals, port: Refusal(why, times, until)})
        case Relent(port):
            return replace(fleet, refusals={k: v for k, v in fleet.refusals.items() if k != port})
        case PutHook() | DeleteHook():
            return replace(fleet, groups=tuple(_hooked(g, action, fleet.now) for g in fleet.groups))
        case SetPolicies() | DeletePolicy():
            return replace(fleet, balancers=tuple(_set(b, action) for b in fleet.balancers))
    return _after_instances(fleet, action)


def _after_instances(fleet: Fleet, action: Action) -> Fleet:
    match action:
        case Send():
            return _each(fleet, action.machines, lambda m: replace(m, record=_obeyed(m.record, action, fleet.now)))
        case Admit(machine, _, _):
            return _each(fleet, (machine,), lambda m: replace(m, waits=False, serves=True))
        case Recall(machine):
            return _each(fleet, (machine,), lambda m: replace(m, record=replace(m.record, admitted=False)))
        case Forget(machine):
            return _each(fleet, (machine,), lambda m: replace(m, record=Record(machine)))
        case Reject(machine, _, _):
            return replace(fleet, members=tuple(m for m in fleet.members if m.machine != machine))
    return fleet


def _each(fleet: Fleet, machines: Collection[Machine], change: Callable[[Member], Member]) -> Fleet:
    return replace(fleet, members=tuple(change(m) if m.machine in machines else m for m in fleet.members))


def _obeyed(record: Record, send: Send, now: int) -> Record:
    """What an able host says: to a look what it speaks already, to an ask that it does so now."""
    ask, let_go = send.ask, record.proxy - send.ask.ports
    if ask.verb is Verb.EXPECT:
        answer = Answer(ask.epoch, Outcome.OK, proxy=ask.ports, plain=let_go, stored=ask.epoch)
    else:
        proxy = record.proxy & ask.ports
        answer = Answer(ask.epoch, Outcome.OK, proxy=proxy, plain=ask.ports - proxy, stored=ask.epoch)
    return answered(asked(record, ask, now, "plan"), answer)


def _hooked(group: Group, action: PutHook | DeleteHook, now: int) -> Group:
    if group.name != action.group:
        return group
    if isinstance(action, DeleteHook):
        return replace(group, hook=None, hooked_since=0)
    since = now if action.anew or not group.hooked_since else group.hooked_since
    return replace(group, hook=Hook(action.default_result, action.timeout), hooked_since=since)


def _set(balancer: LoadBalancer, action: SetPolicies | DeletePolicy) -> LoadBalancer:
    if balancer.name != action.balancer:
        return balancer
    if isinstance(action, DeletePolicy):
        gone = {action.policy}
        return replace(balancer, policies=balancer.policies - gone, proxy_policies=balancer.proxy_policies - gone)
    created = frozenset({action.create} - {""})
    return replace(
        balancer,
        policies=balancer.policies | created,
        proxy_policies=balancer.proxy_policies | created,
        backend={**balancer.backend, action.port: action.policies},
    )
