"""The hand: waits for agents, sends asks as commands and lets admitted launches go; it decides nothing.

It re-reads the ledger first and drops an ask or an admission that is no longer current.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from smtp_fleet import messages
from smtp_fleet.autoscaling import Groups
from smtp_fleet.evidence import ASK_WAIT, Ask, Machine, Record
from smtp_fleet.faults import Throttled
from smtp_fleet.ledger import Ledger, Superseded
from smtp_fleet.messages import ADMIT, ASK, REJECT, Entry
from smtp_fleet.outcome import HOPELESS
from smtp_fleet.patience import next_look, phase
from smtp_fleet.sqs import Queue
from smtp_fleet.ssm import BATCH, Commands, NotSendable, comment

MARGIN = 10
"""Seconds that have to be left of an invocation to begin another step."""


ADMITTED_FOR = 300
"""Seconds for which an admission counts; the mind sends it again to an instance that still waits."""


class Hand:
    """One invocation's worth of sending.

    `say` takes a constant phrase and keys, `count` a metric's name, `clock` gives seconds since 1970, and `left` the
    seconds that are left of the invocation.
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
        left: Callable[[], float],
    ) -> None:
        self._commands = commands
        self._groups = groups
        self._ledger = ledger
        self._asks = asks
        self._clock = clock
        self._say = say
        self._count = count
        self._left = left
        self._throttled = False

    def work(self, bodies: Mapping[str, Any], again: frozenset[str] = frozenset()) -> set[str]:
        """Handle the messages of one batch, each body under its id; returns the ids that must be tried again.

        Those in `again` were received before, and that invocation may have died after it sent a command.
        """
        read = {i: messages.entries(body) for i, body in bodies.items()}
        failed = {i for i, entries in read.items() if entries is None}
        for i in failed:
            self._say("message not understood: left to the dead-letter queue", message_id=i)
        known = [(entry, i) for i, entries in read.items() for entry in entries or ()]
        records = self._ledger.records({entry.machine for entry, _ in known})
        asks: dict[Machine, set[str]] = {}
        ends: dict[Entry, set[str]] = {}
        for entry, i in known:
            record = records[entry.machine]
            if entry.kind == ASK and _is_current(entry, record):
                asks.setdefault(entry.machine, set()).add(i)
            elif _may_end(entry, record, self._clock()):
                ends.setdefault(entry, set()).add(i)
            else:
                self._say("dropped: no longer current", instance_id=entry.machine.instance_id)
        try:
            failed |= self._send_all({records[machine]: ids for machine, ids in asks.items()}, again)
        except Exception as error:  # nor does one that breaks all commands hold up what needs none
            self._say("broken: left to the queue's retry", error=error)
            failed |= set().union(*asks.values())
        # Last: a command serves fifty, this call one, and a thousand of them take an invocation's whole time.
        for entry, ids in ends.items():
            if not self._trying(self._end, entry):
                failed |= ids
        return failed

    def _send_all(self, asks: Mapping[Record, set[str]], again: frozenset[str]) -> set[str]:
        """Send each record's ask, which came by the messages of these ids; returns those to be tried again."""
        failed: set[str] = set()
        sent_before = self._sent_before([record for record, ids in asks.items() if ids & again])
        for batch in self._sendable([record for record in asks if record.machine not in sent_before]):
            if not self._trying(self._send, batch):
                failed |= set().union(*(asks[record] for record in batch))
        return failed

    def _trying(self, step: Callable[[Any], None], argument: Any) -> bool:
        """One broken step does not hold up the others."""
        try:
            step(argument)
        except Exception as error:
            self._say("broken: left to the queue's retry", error=error)
            return False
        return True

    def _end(self, entry: Entry) -> None:
        """Complete a launch, one way or the other; one for which there is no time or no rate left has another turn."""
        instance = entry.machine.instance_id
        if self._left() < MARGIN:
            return self._pass_on([entry], delay=1)
        try:
            waited = self._groups.complete(entry.group, instance, _RESULTS[entry.kind])
        except Throttled:
            self._say("waiting for Auto Scaling: it throttles", instance_id=instance)
            return self._pass_on([entry], delay=self._next_look(0))
        phrase = _SAID[entry.kind] if waited else "no longer waits"
        self._say(phrase, instance_id=instance, auto_scaling_group=entry.group)
        if waited:
            self._count(_METRIC_OF[entry.kind])
        if waited and entry.launched_at:
            self._count("LaunchToAdmission", max(0, self._clock() - entry.launched_at), "Seconds")

    def _sendable(self, records: list[Record]) -> Iterator[list[Record]]:
        """Those whose agents are online, in batches of equal asks; the others wait."""
        try:
            online = self._commands.online(record.machine.instance_id for record in records)
        except Throttled:
            return self._wait(records, "waiting for Systems Manager: it throttles")
        self._wait([record for record in records if record.machine.instance_id not in online])
        yield from _batches([record for record in records if record.machine.instance_id in online])

    def _wait(self, records: list[Record], why: str = "waiting for the agent") -> None:
        """Look again later, bounded by the deadline of the ask; past it the mind asks anew.

        All that are to be looked at again at one moment share a message, and so the calls that look for them.
        """
        now = self._clock()
        for in_time in (True, False):
            same = [record for record in records if (now - record.asked_at < ASK_WAIT) is in_time]
            if same:
                reason = why if in_time else "the agent did not come online in time"
                ids, waited = [r.machine.instance_id for r in same], now - min(r.asked_at for r in same)
                self._say(reason, instance_ids=ids, waited_seconds=waited)
            if same and in_time:
                self._look_again(same)

    def _look_again(self, records: list[Record]) -> None:
        moments: dict[int, list[Entry]] = {}
        for record in records:
            # The mind has asked anew since it first waited: that makes its agent no likelier to come soon.
            delay = self._next_look(self._clock() - record.asked_at + record.unheard * ASK_WAIT)
            moments.setdefault(delay, []).append(Entry(ASK, record.machine, record.asked_at))
        for delay, entries in moments.items():
            self._pass_on(entries, delay)

    def _next_look(self, waited: int) -> int:
        return next_look(self._clock(), waited, phase(self._asks.url))

    def _pass_on(self, entries: list[Entry], delay: int) -> None:
        self._asks.send(messages.bodies(entries[0].kind, entries), delay=delay)

    def _sent_before(self, records: list[Record]) -> frozenset[Machine]:
        """Those whose command is in the history although the ledger does not know it: an invocation died in between."""
        found = set()
        for ask, cause, same in _equal(records):
            commands = self._commands.sent(ask, cause, since=min(record.asked_at for record in same))
            for record in same:
                command = commands.get(record.machine.instance_id)
                if command:
                    told = {"command_id": command, "instance_ids": [record.machine.instance_id]}
                    self._say("command found in the history", **told, asked=comment(ask, cause))
                    self._record(record, command)
                    found.add(record.machine)
        return frozenset(found)

    def _send(self, batch: list[Record]) -> None:
        """One command for all; those that cannot be sent to do not hold up the others: told by name, or halved."""
        ask, cause = batch[0].ask, batch[0].cause
        if ask is None:
            return
        if self._left() < MARGIN:
            self._say("out of time: going on in another round", instances=len(batch))
            return self._pass_on([Entry(ASK, record.machine, record.asked_at) for record in batch], delay=1)
        if self._throttled:
            return self._wait(batch, "waiting for Systems Manager: it throttles")
        ids = [record.machine.instance_id for record in batch]
        try:
            command = self._commands.send(ask, ids, cause)
        except Throttled:
            self._throttled = True  # so would it be for the other batches
            return self._wait(batch, "waiting for Systems Manager: it throttles")
        except NotSendable as refused:
            return self._send_apart(batch, refused.instance_ids)
        self._say("command sent", command_id=command, instance_ids=ids, asked=comment(ask, cause))
        for record in batch:
            self._record(record, command)

    def _send_apart(self, batch: list[Record], named: frozenset[str]) -> None:
        """Send to those of a refused batch that can be sent to; Systems Manager does not always name the others."""
        if len(batch) == 1:
            return self._wait(batch)
        lost = [record for record in batch if record.machine.instance_id in named]
        if lost and len(lost) < len(batch):
            self._wait(lost)
            return self._send([record for record in batch if record not in lost])
        half = len(batch) // 2
        self._send(batch[:half])
        self._send(batch[half:])

    def _record(self, record: Record, command: str) -> None:
        try:
            self._ledger.write(record, replace(record, command_id=command, sent_at=self._clock()))
        except Superseded:
            self._say("asked anew meanwhile", instance_id=record.machine.instance_id)


_RESULTS = {ADMIT: "CONTINUE", REJECT: "ABANDON"}
_SAID = {ADMIT: "admitted", REJECT: "rejected"}
_METRIC_OF = {ADMIT: "Admitted", REJECT: "Rejected"}


def _is_current(entry: Entry, record: Record) -> bool:
    return (
        record.ask is not None and record.asked_at == entry.asked_at and not record.command_id and not record.answered
    )


def _may_end(entry: Entry, record: Record, now: int) -> bool:
    """Admitted as the ledger says, and lately; rejected only on the answer that the rejection was made of; never both.

    An action is completed by instance id, so an old admission could let in the same instance on another root volume.
    """
    if entry.kind == ADMIT:
        return record.admitted and now < record.admitted_at + ADMITTED_FOR
    hopeless = record.outcome in HOPELESS and record.asked_at == entry.asked_at
    return entry.kind == REJECT and hopeless and not record.admitted


def _equal(records: Iterable[Record]) -> Iterator[tuple[Ask, str, list[Record]]]:
    """Records of equal asks together."""
    equal: dict[tuple[Ask, str], list[Record]] = {}
    for record in records:
        if record.ask:
            equal.setdefault((record.ask, record.cause), []).append(record)
    return ((ask, cause, same) for (ask, cause), same in equal.items())


def _batches(records: list[Record]) -> Iterator[list[Record]]:
    """Equal asks together, at most 50 instances a command."""
    for _, _, same in _equal(records):
        yield from (same[start : start + BATCH] for start in range(0, len(same), BATCH))
