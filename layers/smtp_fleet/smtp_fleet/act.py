"""Carries a plan out, action by action, each in an order in which a crash in between leaves the safe state.

What instances are to do goes through the asks queue, always after the ledger holds it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import groupby

from smtp_fleet import events, messages
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
    Hold,
    OnBalancers,
    OnInstances,
    OnLedger,
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
from smtp_fleet.events import Where
from smtp_fleet.evidence import Answer, Ask, Machine, Record, answered, asked
from smtp_fleet.fleet import Attachment, Fleet, Refusal
from smtp_fleet.messages import ADMIT, ASK, REJECT, Entry
from smtp_fleet.observe import Gateways

TOGETHER = 100
"""Machines whose asks go into the ledger before the message that carries them is sent."""

MARGIN = 15
"""Seconds that have to be left of an invocation to begin another action."""


class OutOfTime(Exception):
    """The invocation is about to end: what is left to do, another one finds in the state."""


class Actor:
    """Does what a plan says, and nothing else; `cause` goes into the command history.

    `left` gives the seconds that are left of the invocation.
    """

    def __init__(
        self, aws: Gateways, clock: Callable[[], int], count: Callable[..., None], left: Callable[[], float]
    ) -> None:
        self._aws = aws
        self._clock = clock
        self._count = count
        self._left = left

    def has_time(self) -> None:
        """Raises OutOfTime where too little is left of the invocation to begin anything."""
        if self._left() < MARGIN:
            raise OutOfTime

    def act(self, fleet: Fleet, decision: Plan, cause: str) -> None:
        """Carry out the actions in their order, and wake again where the plan waits for nothing but time.

        Raises OutOfTime between two actions.
        """
        records = {m.machine: m.record for m in fleet.members}
        for (balancer, sends), same in groupby(decision.actions, _which_balancer):
            self.has_time()
            if balancer:
                self._set_policies(balancer, [action for action in same if isinstance(action, SetPolicies)], sends)
                continue
            for action in same:
                self.has_time()
                match action:
                    case Send() | Admit() | Recall() | Reject() | Hold() | Forget():
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
                for start in range(0, len(machines), TOGETHER):
                    self.has_time()
                    self._ask(records, ask, machines[start : start + TOGETHER], cause)
            case Admit(machine, group, launched_at):
                self._write(records, replace(records[machine], admitted=True, admitted_at=self._clock()))
                self._send(Entry(ADMIT, machine, records[machine].asked_at, group, launched_at))
            case Recall(machine):
                self._write(records, replace(records[machine], admitted=False))
            case Reject(machine, group, reason, outcome):
                record = records[machine]
                if record.ask and record.outcome is not outcome:  # nobody but us saw that nothing came
                    self._write(records, answered(record, Answer(record.ask.epoch, outcome, reason=reason)))
                self._send(Entry(REJECT, machine, record.asked_at, group))
            case Hold(machine, group):
                self._aws.groups.hold(group, machine.instance_id)
                self._write(records, replace(records[machine], held_at=self._clock()))
            case Forget(machine):
                self._aws.ledger.forget(machine)

    def _ask(self, records: dict[Machine, Record], ask: Ask, machines: tuple[Machine, ...], cause: str) -> None:
        """All into the ledger, then all into one message; a crash in between leaves asks that are sent again later."""
        for machine in machines:
            self._write(records, asked(records[machine], ask, self._clock(), cause))
        entries = [Entry(ASK, machine, records[machine].asked_at) for machine in machines]
        self._aws.asks.send(messages.bodies(ASK, entries))

    def _send(self, entry: Entry) -> None:
        self._aws.asks.send(messages.bodies(entry.kind, [entry]))

    def _on_balancers(self, action: OnBalancers, fleet: str) -> None:
        aws = self._aws
        match action:
            case PutHook(group):
                aws.ledger.expect_hook(group)  # before: a hook that nobody knows of would hold launches for ever
                if action.anew:
                    aws.ledger.void_hook(group)  # before: a group of this name that is gone held none of these launches
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
            case RecordBalancer(balancer):
                ledger.record_balancer(balancer)
            case ForgetBalancer(balancer):
                ledger.forget_balancer(balancer)
            case Refuse(port, why, times, until):
                ledger.record_refusal(fleet, port, Refusal(why, times, until))
                self._count("CutoverRefused")
            case Relent(port):
                ledger.forget_refusals(fleet, [port])
            case RecordAttachment(port, times, at):
                ledger.record_attachment(fleet, port, Attachment(times, at))
            case ForgetAttachment(port):
                ledger.forget_attachment(fleet, port)
            case RecordBreaker(group, breaker):
                ledger.record_breaker(group, breaker)
            case CloseBreaker(group):
                ledger.close_breaker(group)
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
