"""The mind: looks where a wake points, plans each fleet, says why, and acts on balancers and hooks.

Level-triggered: it acts on what it reads under the lease, never on what a wake says. It tells the hand what to do with
instances through the asks queue, always after the ledger holds it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from smtp_fleet import events
from smtp_fleet.actions import (
    Admit,
    DeleteHook,
    DeletePolicy,
    Forget,
    ForgetOff,
    Plan,
    PutHook,
    RecordOff,
    Reject,
    Send,
    SetPolicies,
)
from smtp_fleet.autoscaling import Groups
from smtp_fleet.ec2 import Instances
from smtp_fleet.elb import LoadBalancers
from smtp_fleet.events import UnknownEvent, Where
from smtp_fleet.evidence import Machine, Outcome, Record, answered, asked, believe
from smtp_fleet.fleet import Fleet, Group, LoadBalancer, member, neighbours, ours, parts
from smtp_fleet.ledger import Ledger
from smtp_fleet.plan import plan
from smtp_fleet.settings import MindSettings
from smtp_fleet.sqs import Queue
from smtp_fleet.ssm import Answers
from smtp_fleet.tag import wish

LEASE = 180
"""Seconds of the lease: the function's limit and a minute more."""

LEASE_RETRY = 5
"""Seconds after which a wake that met a busy lease looks again."""

NOT_YET_VISIBLE = (5, 20, 60)
"""Seconds after which a new balancer that cannot be read yet is looked for again."""


@dataclass(frozen=True)
class Gateways:
    """Everything that the mind reads and writes."""

    balancers: LoadBalancers
    groups: Groups
    instances: Instances
    answers: Answers
    ledger: Ledger
    wakes: Queue
    asks: Queue


class Mind:
    """One invocation's worth of deciding.

    `say` takes a constant phrase and keys, `count` a metric's name, `clock` gives seconds since 1970.
    """

    def __init__(
        self,
        settings: MindSettings,
        aws: Gateways,
        clock: Callable[[], int],
        say: Callable[..., None],
        count: Callable[..., None],
    ) -> None:
        self._settings = settings
        self._aws = aws
        self._clock = clock
        self._say = say
        self._count = count

    def wake(self, bodies: Mapping[str, Any], holder: str) -> set[str]:
        """Handle the wakes of one batch, each body under its message id; returns the ids that must be tried again."""
        wheres, failed = self._read(bodies)
        if not wheres:
            return failed
        groups = self._aws.groups.all() if any(w.groups or w.instances for w in wheres.values()) else None
        names = {i: self._names(where, groups) for i, where in wheres.items()}
        merged = _merge(wheres.values(), frozenset().union(*names.values()))
        tags = self._tags(merged)
        for where in wheres.values():
            self._look_again(where, where.balancers - tags.keys())
        if not merged.everything and not self._any_ours(merged, tags):
            return failed
        if not self._aws.ledger.take_lease(holder, self._clock(), LEASE):
            self._aws.wakes.send([events.wake(merged)], delay=LEASE_RETRY)
            self._say("lease is busy: looking again later", load_balancers=sorted(merged.balancers))
            return failed
        try:
            broken = self._reconcile(merged, tags, self._aws.groups.all() if groups is None else groups)
        finally:
            self._aws.ledger.give_back_lease(holder)
        return failed | {i for i, where in wheres.items() if broken & names[i] or (broken and where.everything)}

    def _read(self, bodies: Mapping[str, Any]) -> tuple[dict[str, Where], set[str]]:
        wheres, failed = {}, set()
        for message, body in bodies.items():
            try:
                wheres[message] = events.where(body)
            except UnknownEvent as error:
                self._say("event not understood: left to the dead-letter queue", error=str(error))
                failed.add(message)
        return wheres, failed

    def _names(self, where: Where, groups: list[Group] | None) -> frozenset[str]:
        """The balancers that a wake points at, through groups and instances too."""
        touched = where.groups | (self._aws.groups.groups_of(where.instances) if where.instances else frozenset())
        return where.balancers.union(*(g.balancers for g in groups or () if g.name in touched))

    def _look_again(self, where: Where, missing: frozenset[str]) -> None:
        """A balancer may be told of before it can be read: look a few times more, then leave it to the sweep."""
        if missing and where.cause == "CreateLoadBalancer" and where.tries < len(NOT_YET_VISIBLE):
            again = replace(where, balancers=missing, tries=where.tries + 1)
            self._aws.wakes.send([events.wake(again)], delay=NOT_YET_VISIBLE[where.tries])

    def _tags(self, where: Where) -> dict[str, str | None]:
        key = self._settings.tag_key
        if where.everything:
            return dict(self._aws.balancers.tagged(key))
        return self._aws.balancers.tags(where.balancers, key) if where.balancers else {}

    def _any_ours(self, where: Where, tags: Mapping[str, str | None]) -> bool:
        """Whether to go on: a tag is set, or one of them sends; two reads for a balancer that is none of ours."""
        if any(value is not None for value in tags.values()):
            return True
        if any(b.marked_ports(self._settings.policy_name) for b in self._aws.balancers.read(tags)):
            return True
        for name in sorted(where.balancers):
            self._say("not in the fleet" if name in tags else "load balancer is gone", load_balancer=name)
        return False

    def _reconcile(self, where: Where, tags: Mapping[str, str | None], groups: list[Group]) -> frozenset[str]:
        """Every fleet that the wake touches, on its own; returns the balancers of those that broke."""
        seen, tags = self._gather(where, tags, groups)
        broken: set[str] = set()
        for part in parts(seen, groups):
            wishes = {b.name: wish(tags.get(b.name), self._settings.mail_ports) for b in part}
            names = frozenset(wishes)
            if not any(ours(b, wishes[b.name], self._settings.policy_name) for b in part):
                self._say("not in the fleet", load_balancers=sorted(names))
                continue
            try:
                fleet = self._observe(part, wishes, [g for g in groups if g.balancers & names])
                self._act(fleet, self._decide(fleet, where), where)
            except Exception as error:  # one broken fleet does not hold up another
                self._say("broken: left to the queue's retry", error=error, load_balancers=sorted(names))
                broken |= names
        return frozenset(broken)

    def _gather(
        self, where: Where, tags: Mapping[str, str | None], groups: list[Group]
    ) -> tuple[list[LoadBalancer], Mapping[str, str | None]]:
        """The balancers to look at, those that share groups with them included, and their tags."""
        balancers = self._aws.balancers
        if not where.everything:
            names = neighbours(where.balancers, groups)
            return balancers.read(names), {**tags, **balancers.tags(names - tags.keys(), self._settings.tag_key)}
        seen = balancers.read_all(tags)
        names = frozenset(b.name for b in seen)
        return seen + balancers.read(neighbours(names, groups) - names), tags

    def _observe(self, part: tuple[LoadBalancer, ...], wishes: Mapping[str, Any], groups: list[Group]) -> Fleet:
        """All that the plan of one fleet depends on, the answers that came in meanwhile included."""
        aws = self._aws
        since = aws.ledger.hooked_since(g.name for g in groups)
        hooked = tuple(aws.groups.with_targets(aws.groups.with_hook(g, since.get(g.name, 0))) for g in groups)
        states = {i: (state, group) for group in hooked for i, state in group.states.items()}
        registered = frozenset().union(*(b.instances for b in part))
        ids = registered | {i for i, (state, _) in states.items() if not state.startswith("Terminat")}
        roots = aws.instances.roots(ids)
        records = self._answers(aws.ledger.records(Machine(i, root.volume) for i, root in roots.items()))
        fleet = Fleet(self._clock(), part, wishes, hooked)
        return replace(
            fleet,
            members=tuple(
                member(*states.get(i, _ALONE), i in registered, roots[i], records[Machine(i, roots[i].volume)])
                for i in sorted(roots)
            ),
            off_since=aws.ledger.off_since((b.name, port) for b in part for port in fleet.ports(self._settings)),
        )

    def _answers(self, records: dict[Machine, Record]) -> dict[Machine, Record]:
        """The records with what the commands that are out have ended in."""
        out = {m: r for m, r in records.items() if r.ask and r.command_id and r.answered != r.ask.epoch}
        told = {command: self._aws.answers.invocations(command) for command in {r.command_id for r in out.values()}}
        for machine, record in out.items():
            invocation = told[record.command_id].get(machine.instance_id)
            answer = believe(record.ask, invocation) if record.ask and invocation else None
            if answer:
                records[machine] = answered(record, answer)
                self._aws.ledger.write(record, records[machine])
                self._count(_METRIC_OF.get(answer.outcome, "Failed"))
                self._say(
                    "an instance answered",
                    instance_id=machine.instance_id,
                    command_id=record.command_id,
                    outcome=answer.outcome.value,
                    answer=answer.reason,
                )
        return records

    def _decide(self, fleet: Fleet, where: Where) -> Plan:
        """Plan, and say it before anything is done; what is wrong is said once, and once more when it is over."""
        decision = plan(fleet, self._settings)
        names = [b.name for b in fleet.balancers]
        known = self._aws.ledger.findings(fleet.name)
        for finding in decision.findings:
            if finding not in known:
                self._say("finding", load_balancers=names, finding=finding)
        for finding in sorted(known.difference(decision.findings)):
            self._say("finding is over", load_balancers=names, finding=finding)
        if known != set(decision.findings):
            self._aws.ledger.record_findings(fleet.name, decision.findings)
        self._say(
            decision.reason,
            load_balancers=names,
            instances=len(fleet.members),
            actions=[str(action) for action in decision.actions],
            findings=len(decision.findings),
            cause=where.cause,
        )
        return decision

    def _act(self, fleet: Fleet, decision: Plan, where: Where) -> None:
        records = {m.machine: m.record for m in fleet.members}
        for action in decision.actions:
            match action:
                case Send(ask, machines):
                    for machine in machines:
                        new = asked(records[machine], ask, self._clock(), where.cause)
                        self._write(records, new)
                        self._aws.asks.send([_message("ask", new)])
                case Admit(machine, group, launched_at):
                    self._write(records, replace(records[machine], admitted=True))
                    admission = {"group": group, "launched_at": launched_at}
                    self._aws.asks.send([_message("admit", records[machine]) | admission])
                case Reject(machine, group):
                    self._aws.asks.send([_message("reject", records[machine]) | {"group": group}])
                case Forget(machine):
                    self._aws.ledger.forget(machine)
                case _:
                    self._act_on_balancers(action)
        if decision.again_in:
            again = Where(where.cause, balancers=frozenset(b.name for b in fleet.balancers))
            self._aws.wakes.send([events.wake(again)], delay=decision.again_in)

    def _act_on_balancers(
        self, action: PutHook | DeleteHook | RecordOff | ForgetOff | SetPolicies | DeletePolicy
    ) -> None:
        aws = self._aws
        match action:
            case PutHook(group):
                aws.groups.put_hook(action)
                if action.anew:
                    aws.ledger.record_hook(group, self._clock())
            case DeleteHook(group):
                aws.ledger.forget_hook(group)  # before: nothing is held from the moment that it is gone
                aws.groups.delete_hook(group)
            case DeletePolicy(balancer, policy):
                aws.balancers.delete_policy(balancer, policy)
            case RecordOff(balancer, port):
                aws.ledger.record_off(balancer, port, self._clock())
            case ForgetOff(balancer, port):
                aws.ledger.forget_off(balancer, port)
            case SetPolicies(balancer, port, sends=True):
                aws.ledger.forget_off(balancer, port)  # before: a crash in between must leave it not settled
                aws.balancers.apply(action)
                self._count("Attached")
            case SetPolicies(balancer, port):
                aws.balancers.apply(action)
                self._count("Detached")
                aws.ledger.record_off(balancer, port, self._clock())  # after: off counts from when it was read back

    def _write(self, records: dict[Machine, Record], new: Record) -> None:
        """The ledger holds a thing before anybody is told of it."""
        if new != records[new.machine]:
            self._aws.ledger.write(records[new.machine], new)
            records[new.machine] = new


_METRIC_OF = {Outcome.OK: "Configured", Outcome.REFUSED: "Refused", Outcome.NOT_READY: "NotReady"}
_ALONE: tuple[str, Group | None] = ("", None)


def _merge(wheres: Iterable[Where], names: frozenset[str]) -> Where:
    """All wakes of a batch as one; the command history is told the first few of their causes."""
    found = list(wheres)
    causes = list(dict.fromkeys(where.cause for where in found))
    return Where("".join(causes[:1]), balancers=names, everything=any(where.everything for where in found))


def _message(kind: str, record: Record) -> dict[str, Any]:
    machine = record.machine
    return {"kind": kind, "instance": machine.instance_id, "volume": machine.volume, "asked_at": record.asked_at}
