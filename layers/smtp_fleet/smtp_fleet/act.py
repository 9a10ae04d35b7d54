"""Carries a plan out, action by action, each in an order in which a crash in between leaves the safe state.

What instances are to do goes through the asks queue, always after the ledger holds it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import groupby
from typing import Any

from smtp_fleet import events
from smtp_fleet.actions import (
    Action,
    Admit,
    DeleteHook,
    DeletePolicy,
    Forget,
    ForgetAttachment,
    ForgetOff,
    OnBalancers,
    OnInstances,
    OnLedger,
    Plan,
    PutHook,
    Recall,
    RecordAttachment,
    RecordOff,
    Refuse,
    Reject,
    Relent,
    Send,
    SetPolicies,
)
from smtp_fleet.events import Where
from smtp_fleet.evidence import Machine, Record, asked
from smtp_fleet.fleet import Attachment, Fleet, Refusal
from smtp_fleet.observe import Gateways


class Actor:
    """Does what a plan says, and nothing else; `cause` goes into the command history."""

    def __init__(self, aws: Gateways, clock: Callable[[], int], count: Callable[..., None]) -> None:
        self._aws = aws
        self._clock = clock
        self._count = count

    def act(self, fleet: Fleet, decision: Plan, cause: str) -> None:
        """Carry out the actions in their order, and wake again where the plan waits for nothing but time."""
        records = {m.machine: m.record for m in fleet.members}
        for (balancer, sends), same in groupby(decision.actions, _which_balancer):
            if balancer:
                self._set_policies(balancer, [action for action in same if isinstance(action, SetPolicies)], sends)
                continue
            for action in same:
                match action:
                    case Send() | Admit() | Recall() | Reject() | Forget():
                        self._on_instances(action, records, cause)
                    case _:
                        self._on_balancers(action, fleet.name)
        if decision.again_in:
            names = frozenset(b.name for b in fleet.balancers)
            again = Where(cause, balancers=names, groups=frozenset(g.name for g in fleet.groups))
            self._aws.wakes.send([events.wake(again)], delay=decision.again_in)

    def _on_instances(self, action: OnInstances, records: dict[Machine, Record], cause: str) -> None:
        match action:
            case Send(ask, machines):
                for machine in machines:
                    self._write(records, asked(records[machine], ask, self._clock(), cause))
                    self._aws.asks.send([_message("ask", records[machine])])
            case Admit(machine, group, launched_at):
                self._write(records, replace(records[machine], admitted=True))
                admission = {"group": group, "launched_at": launched_at}
                self._aws.asks.send([_message("admit", records[machine]) | admission])
            case Recall(machine):
                self._write(records, replace(records[machine], admitted=False))
            case Reject(machine, group):
                self._aws.asks.send([_message("reject", records[machine]) | {"group": group}])
            case Forget(machine):
                self._aws.ledger.forget(machine)

    def _on_balancers(self, action: OnBalancers, fleet: str) -> None:
        aws = self._aws
        match action:
            case PutHook(group):
                aws.ledger.expect_hook(group)  # before: a hook that nobody knows of would hold launches for ever
                aws.groups.put_hook(action)
                if action.anew:
                    aws.ledger.record_hook(group, self._clock())
            case DeleteHook(group):
                aws.ledger.void_hook(group)  # before: nothing is held from the moment that it is gone
                aws.groups.delete_hook(group)
                aws.ledger.forget_hook(group)
            case DeletePolicy(balancer, policy):
                aws.balancers.delete_policy(balancer, policy)
            case SetPolicies():
                raise TypeError("policies are set together, a balancer at a time")
            case _:
                self._on_ledger(action, fleet)

    def _on_ledger(self, action: OnLedger, fleet: str) -> None:
        ledger = self._aws.ledger
        match action:
            case Refuse(port, why, times, until):
                ledger.record_refusal(fleet, port, Refusal(why, times, until))
                self._count("CutoverRefused")
            case Relent(port):
                ledger.forget_refusals(fleet, [port])
            case RecordAttachment(port, times, at):
                ledger.record_attachment(fleet, port, Attachment(times, at))
            case ForgetAttachment(port):
                ledger.forget_attachment(fleet, port)
            case RecordOff(balancer, port):
                ledger.record_off(balancer, port, self._clock())
            case ForgetOff(balancer, port):
                ledger.forget_off(balancer, port)

    def _set_policies(self, balancer: str, actions: list[SetPolicies], sends: bool) -> None:
        """All ports of one balancer that are to go one way: set one by one, read back together."""
        if sends:
            for action in actions:  # before: a crash in between must leave it not settled
                self._aws.ledger.forget_off(balancer, action.port)
        self._aws.balancers.apply(balancer, actions)
        self._count("Attached" if sends else "Detached", len(actions))
        if not sends:
            for action in actions:  # after: off counts from when it was read back
                self._aws.ledger.record_off(balancer, action.port, self._clock())

    def _write(self, records: dict[Machine, Record], new: Record) -> None:
        if new != records[new.machine]:
            self._aws.ledger.write(records[new.machine], new)
            records[new.machine] = new


def _which_balancer(action: Action) -> tuple[str, bool]:
    """Policies to be set on one balancer, one way, belong together; every other action stands alone."""
    return (action.balancer, action.sends) if isinstance(action, SetPolicies) else ("", False)


def _message(kind: str, record: Record) -> dict[str, Any]:
    machine = record.machine
    return {"kind": kind, "instance": machine.instance_id, "volume": machine.volume, "asked_at": record.asked_at}
