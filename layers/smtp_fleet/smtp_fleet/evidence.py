"""What was asked of a machine, what it answered, and which answers are believed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from smtp_fleet.outcome import CANNOT, Outcome, retry_wait

CONTRACT = 1
"""The number of the agreement between `believe` and the document's verdict."""

ASK_WAIT = 300
"""Seconds for which an ask may wait for its agent before it is sent again."""

COMMAND_WAIT = 600
"""Seconds after which a sent command counts as lost: delivery 60, document 300 plus its bounded wait, and a margin."""

FAR_AHEAD = 86_400
"""Seconds by which a host's own epoch may lie ahead of our clock before it is taken for nonsense."""


REMEMBERED = 7 * 86_400
"""Seconds for which it counts that others undid what we had set."""


class Speaks(Enum):
    """What a Postfix does with the bytes that a balancer sends first."""

    PLAIN = "plain"
    PROXY = "proxy"
    UNKNOWN = "unknown"


class Verb(Enum):
    """The two things that the document can be asked."""

    LOOK = "look"
    EXPECT = "expect"


class Standing(Enum):
    """Where a machine stands with what it was last asked."""

    FREE = "free"
    OUT = "out"
    CANNOT = "cannot"


@dataclass(frozen=True, order=True)
class Machine:
    """One instance on one root volume; another root volume is another, unknown, machine."""

    instance_id: str
    volume: str


@dataclass(frozen=True)
class Ask:
    """A verb, the whole set of instance ports that it is about, and the epoch that fences it (seconds, only grows)."""

    verb: Verb
    ports: frozenset[int]
    epoch: int


@dataclass(frozen=True)
class Invocation:
    """One instance's part of a command, as Systems Manager tells it; `seconds` from request to end, 0: not told."""

    instance_id: str
    status: str
    details: str
    output: str
    seconds: float = 0.0


@dataclass(frozen=True)
class Answer:
    """What an invocation proves about a machine, for the ask of this epoch only, and whether it `changed` anything."""

    epoch: int
    outcome: Outcome
    proxy: frozenset[int] = frozenset()
    plain: frozenset[int] = frozenset()
    reason: str = ""
    stored: int = 0
    owner: str = ""
    detail: str = ""
    changed: bool = False

    @property
    def speaks(self) -> str:
        """What each port speaks, in words: `25=proxy 587=plain`."""
        spoken = dict.fromkeys(self.proxy, Speaks.PROXY) | dict.fromkeys(self.plain, Speaks.PLAIN)
        return " ".join(f"{port}={spoken[port].value}" for port in sorted(spoken))


@dataclass(frozen=True)
class Record:
    """All that the ledger holds of one machine; times in seconds since 1970.

    `overwritten` counts how often it was found to have stopped expecting by somebody else's doing, last as of
    `overwritten_at`; `owner` is the configuration management whose marks it bears, if any; `tries` counts how often it
    was asked the same before in vain, and `unheard` how often because nothing was heard of it. `admitted_at` is when an
    admission was sent last, and `held_at` when a launch that may neither go in nor be given up was last held on.
    `first_asked_at` is when the ask of this epoch went to it first, `asked_at` when last.
    `told` are the ports on which it was told to expect the header and is not known to have let go.
    """

    machine: Machine
    ask: Ask | None = None
    asked_at: int = 0
    cause: str = ""
    command_id: str = ""
    sent_at: int = 0
    answered: int = 0
    outcome: Outcome | None = None
    reason: str = ""
    stored: int = 0
    proxy: frozenset[int] = frozenset()
    plain: frozenset[int] = frozenset()
    admitted: bool = False
    owner: str = ""
    overwritten: int = 0
    overwritten_at: int = 0
    unheard: int = 0
    tries: int = 0
    admitted_at: int = 0
    held_at: int = 0
    told: frozenset[int] = frozenset()
    first_asked_at: int = 0

    def speaks(self, port: int) -> Speaks:
        """What this machine is known to speak on a port; what no answer proves is unknown.

        A host that carried out `expect PORTS` has let go of every other port, and names only those that it had to.
        """
        if port in self.proxy:
            return Speaks.PROXY
        let_go = self.is_met and self.ask is not None and self.ask.verb is Verb.EXPECT and port not in self.ask.ports
        return Speaks.PLAIN if let_go or port in self.plain else Speaks.UNKNOWN

    @property
    def is_answered(self) -> bool:
        """Whether the last ask was answered, one way or another."""
        return self.ask is not None and self.answered == self.ask.epoch and self.outcome is not None

    @property
    def is_met(self) -> bool:
        """Whether the last ask was answered, and carried out."""
        return self.is_answered and self.outcome is Outcome.OK

    def standing(self, now: int) -> Standing:
        """Whether the last ask is still out, cannot be met, or leaves the machine free to be asked."""
        if self.ask is None:
            return Standing.FREE
        if self.answered == self.ask.epoch and self.outcome is not None:
            if self.outcome in CANNOT:
                return Standing.CANNOT
            waits = self.outcome is not Outcome.OK and now < self.asked_at + retry_wait(self.tries)
        elif self.command_id:
            waits = now < self.sent_at + COMMAND_WAIT
        else:
            waits = now < self.asked_at + ASK_WAIT
        return Standing.OUT if waits else Standing.FREE


def asked(record: Record, ask: Ask, now: int, cause: str) -> Record:
    """The record once `ask` is written into it: only what the ask can change becomes unknown."""
    proxy, plain = record.proxy, record.plain
    if ask.verb is Verb.EXPECT:
        proxy, plain = proxy & ask.ports, plain - ask.ports
    last = record.ask
    again = last is not None and (last.verb, last.ports) == (ask.verb, ask.ports)
    return replace(
        record,
        ask=ask,
        asked_at=now,
        cause=cause,
        command_id="",
        sent_at=0,
        answered=0,
        outcome=None,
        reason="",
        proxy=proxy,
        plain=plain,
        unheard=record.unheard + 1 if again and record.outcome in (None, Outcome.LOST) else 0,
        tries=record.tries + 1 if again and record.outcome is not Outcome.OK else 0,
        told=record.told | (ask.ports if ask.verb is Verb.EXPECT else frozenset()),
        first_asked_at=record.first_asked_at if last and last.epoch == ask.epoch else now,
    )


def answered(record: Record, answer: Answer) -> Record:
    """The record once `answer` is written into it; an answer to another ask than the current one changes nothing."""
    if record.ask is None or answer.epoch != record.ask.epoch:
        return record
    spoken = answer.proxy | answer.plain
    times, at = record.overwritten, record.overwritten_at
    if record.proxy & answer.plain:  # nobody asked it to stop: such an ask had struck the port out
        times, at = (times + 1 if record.asked_at < at + REMEMBERED else 1), record.asked_at
    return replace(
        record,
        answered=answer.epoch,
        outcome=answer.outcome,
        reason=answer.reason,
        stored=max(record.stored, answer.stored),
        proxy=(record.proxy - spoken) | answer.proxy,
        plain=(record.plain - spoken) | answer.plain,
        owner=answer.owner if spoken else record.owner,
        overwritten=times,
        overwritten_at=at,
        told=record.ask.ports if _carried_out(record.ask, answer) else record.told - answer.plain,
    )


def _carried_out(ask: Ask, answer: Answer) -> bool:
    return ask.verb is Verb.EXPECT and answer.outcome is Outcome.OK


def believe(asked: Ask, invocation: Invocation) -> Answer | None:
    """What a command's invocation proves about the machine that was asked; None while it is not final.

    Total over every text that an instance can print. A verdict of another epoch, verb or contract proves nothing.
    """
    if invocation.status not in ("Success", "Failed", "TimedOut", "Cancelled"):
        return None
    verdict = _verdict(invocation.output)
    if not verdict:
        lost = invocation.status in ("TimedOut", "Cancelled") or invocation.details in _UNDELIVERED
        return Answer(asked.epoch, Outcome.LOST if lost else Outcome.BUG, reason=f"no verdict: {invocation.details}")
    if (verdict.get("contract"), verdict.get("verb"), verdict.get("epoch")) != (
        CONTRACT,
        asked.verb.value,
        asked.epoch,
    ):
        return Answer(asked.epoch, Outcome.LOST, reason="the verdict answers another ask")
    try:
        outcome = Outcome(verdict.get("class"))
    except ValueError:
        outcome = Outcome.BUG
    reason, stored, ports = verdict.get("reason"), verdict.get("stored"), verdict.get("ports")
    owner, detail = verdict.get("owner"), verdict.get("detail")
    return Answer(
        epoch=asked.epoch,
        outcome=outcome,
        proxy=_speaking(ports, Speaks.PROXY),
        plain=_speaking(ports, Speaks.PLAIN),
        reason=reason[:200] if isinstance(reason, str) else "",
        stored=stored if type(stored) is int and stored > 0 else 0,
        owner=owner[:40] if isinstance(owner, str) else "",
        detail=detail[:500] if isinstance(detail, str) else "",
        changed=verdict.get("changed") is True,
    )


def next_epoch(verb: Verb, ports: frozenset[int], records: Iterable[Record], now: int, after: int = -1) -> int:
    """The epoch of a new ask: that of the same ask where it is the fleet's newest, else a later one than any seen.

    Evidence has to be newer than `after`: an epoch that was first asked at that time or before is not used again, lest
    a late answer to the old ask pass for one to the new.
    """
    newest: Ask | None = None
    floor = 0
    for record in records:
        if record.ask and (newest is None or record.ask.epoch > newest.epoch):
            newest, newest_at = record.ask, record.asked_at
        if record.stored <= now + FAR_AHEAD:
            floor = max(floor, record.stored)
    if newest and (newest.verb, newest.ports) == (verb, ports) and newest.epoch > floor and newest_at > after:
        return newest.epoch
    return max(now, floor + 1, newest.epoch + 1 if newest else 0)


_UNDELIVERED = frozenset({"DeliveryTimedOut", "ExecutionTimedOut", "Undeliverable", "Terminated", "AccessDenied"})


def _verdict(output: str) -> dict[str, Any]:
    """The verdict is the first line that the document prints; anything else is none."""
    try:
        verdict = json.loads(output.partition("\n")[0])
    except (ValueError, RecursionError):
        return {}
    return verdict if isinstance(verdict, dict) else {}


def _speaking(ports: Any, speaks: Speaks) -> frozenset[int]:
    if not isinstance(ports, dict):
        return frozenset()
    return frozenset(
        int(p) for p, s in ports.items() if s == speaks.value and p.isascii() and p.isdigit() and len(p) < 6
    )
