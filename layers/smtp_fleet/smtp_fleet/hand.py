"""The hand: waits for agents, sends asks as commands and lets admitted launches go; it decides nothing.

It re-reads the ledger first and drops an ask or an admission that is no longer current.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from smtp_fleet.autoscaling import Groups
from smtp_fleet.evidence import ASK_WAIT, HOPELESS, Ask, Machine, Record
from smtp_fleet.ledger import Ledger, Superseded
from smtp_fleet.sqs import Queue
from smtp_fleet.ssm import BATCH, Commands, NotSendable, Throttled


@dataclass(frozen=True)
class Message:
    """One ask or admission: which machine, and the time of the ask that it stands for."""

    kind: str
    machine: Machine
    asked_at: int
    group: str = ""
    launched_at: int = 0


class Hand:
    """One invocation's worth of sending.

    `say` takes a constant phrase and keys, `count` a metric's name, `clock` gives seconds since 1970.
    """

    def __init__(
        self,
        commands: Commands,
        groups: Groups,
        ledger: Ledger,
        asks: Queue,
        clock: Callable[[], int],
        say: Callable[..., None],
        count: Callable[..., None],
    ) -> None:
        self._commands = commands
        self._groups = groups
        self._ledger = ledger
        self._asks = asks
        self._clock = clock
        self._say = say
        self._count = count

    def work(self, bodies: Mapping[str, Any]) -> set[str]:
        """Handle the messages of one batch, each body under its id; returns the ids that must be tried again."""
        messages = {i: _message(body) for i, body in bodies.items()}
        failed = {i for i, message in messages.items() if message is None}
        for i in failed:
            self._say("message not understood: left to the dead-letter queue", message_id=i)
        known = {i: message for i, message in messages.items() if message}
        records = self._ledger.records({message.machine for message in known.values()})
        asks, ended = {}, {}
        for i, message in known.items():
            record = records[message.machine]
            if message.kind == "ask" and _is_current(message, record):
                asks[message.machine] = i
            elif _may_end(message, record):
                ended[i] = message
            else:
                self._say("dropped: no longer current", instance_id=message.machine.instance_id)
        for i, message in ended.items():
            if not self._trying(self._end, message):
                failed.add(i)
        online = self._commands.online(machine.instance_id for machine in asks)
        self._wait([records[machine] for machine in asks if machine.instance_id not in online])
        for batch in _batches([records[machine] for machine in asks if machine.instance_id in online]):
            if not self._trying(self._send, batch):
                failed |= {asks[record.machine] for record in batch}
        return failed

    def _trying(self, step: Callable[[Any], None], argument: Any) -> bool:
        """One broken step does not hold up the others."""
        try:
            step(argument)
        except Exception as error:
            self._say("broken: left to the queue's retry", error=error)
            return False
        return True

    def _end(self, message: Message) -> None:
        """Complete a launch, one way or the other."""
        instance, result = message.machine.instance_id, _RESULTS[message.kind]
        waited = self._groups.complete(message.group, instance, result)
        phrase = _SAID[message.kind] if waited else "no longer waits"
        self._say(phrase, instance_id=instance, auto_scaling_group=message.group)
        if waited:
            self._count(phrase.capitalize())
        if waited and message.launched_at:
            self._count("LaunchToAdmission", max(0, self._clock() - message.launched_at), "Seconds")

    def _wait(self, records: list[Record], why: str = "waiting for the agent") -> None:
        """Try again later, bounded by the deadline of the ask; past it the mind asks anew."""
        for record in records:
            waited = self._clock() - record.asked_at
            if waited < ASK_WAIT:
                self._asks.send([_body(record)], delay=_next_look(waited))
            reason = why if waited < ASK_WAIT else "the agent did not come online in time"
            self._say(reason, instance_id=record.machine.instance_id, waited_seconds=waited)

    def _send(self, batch: list[Record]) -> None:
        """One command for all; one that cannot be sent to does not hold up the others: it is found by halving."""
        first = batch[0]
        if first.ask is None:
            return
        ids = [record.machine.instance_id for record in batch]
        try:
            command = self._commands.send(first.ask, ids, first.cause)
        except Throttled:
            return self._wait(batch, "waiting for Systems Manager: it throttles")
        except NotSendable:
            if len(batch) == 1:
                return self._wait(batch)
            half = len(batch) // 2
            self._send(batch[:half])
            return self._send(batch[half:])
        self._say("command sent", command_id=command, instance_ids=ids, ask=str(first.ask), cause=first.cause)
        for record in batch:
            try:
                self._ledger.write(record, replace(record, command_id=command, sent_at=self._clock()))
            except Superseded:
                self._say("asked anew meanwhile", instance_id=record.machine.instance_id)


_RESULTS = {"admit": "CONTINUE", "reject": "ABANDON"}
_SAID = {"admit": "admitted", "reject": "rejected"}


def _message(body: Any) -> Message | None:
    match body:
        case {"kind": "ask", "instance": str(instance), "volume": str(volume), "asked_at": int(asked_at)}:
            return Message("ask", Machine(instance, volume), asked_at)
        case {
            "kind": "admit" | "reject" as kind,
            "instance": str(instance),
            "volume": str(volume),
            "asked_at": int(asked_at),
            "group": str(group),
        }:
            launched_at = body.get("launched_at")
            seconds = launched_at if isinstance(launched_at, int) else 0
            return Message(kind, Machine(instance, volume), asked_at, group, seconds)
    return None


def _body(record: Record) -> dict[str, Any]:
    machine = record.machine
    return {"kind": "ask", "instance": machine.instance_id, "volume": machine.volume, "asked_at": record.asked_at}


def _is_current(message: Message, record: Record) -> bool:
    return record.ask is not None and record.asked_at == message.asked_at and not record.command_id


def _may_end(message: Message, record: Record) -> bool:
    """Admitted as the ledger says; rejected only on the answer that the rejection was made of, and never both."""
    if message.kind == "admit":
        return record.admitted
    hopeless = record.outcome in HOPELESS and record.asked_at == message.asked_at
    return message.kind == "reject" and hopeless and not record.admitted


def _next_look(waited: int) -> int:
    """Seconds until the agents are looked for again: soon at first, then ever more seldom."""
    return 5 if waited < 60 else 15 if waited < 180 else 30


def _batches(records: list[Record]) -> Iterator[list[Record]]:
    """Equal asks together, at most 50 instances a command."""
    equal: dict[tuple[Ask | None, str], list[Record]] = {}
    for record in records:
        equal.setdefault((record.ask, record.cause), []).append(record)
    for same in equal.values():
        yield from (same[start : start + BATCH] for start in range(0, len(same), BATCH))
