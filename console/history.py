"""The command history of our document, joined with what caused each command and what it ended in.

Pure: what Systems Manager tells and who is behind which balancer go in, entries, gaps and timelines come out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from smtp_fleet.evidence import Ask, Invocation, Verb, believe
from smtp_fleet.outcome import Outcome

KEPT_BY_AWS = 30 * 86_400
"""Seconds for which Systems Manager keeps the command history (Run Command user guide)."""

UNDER_WAY = "under way"
NO_EVIDENCE = frozenset({UNDER_WAY, Outcome.LOST.value, Outcome.BUG.value})
"""Endings that prove nothing about a machine."""


@dataclass(frozen=True)
class Told:
    """One instance's part of a command as Systems Manager tells it; times in seconds since 1970, 0: not yet."""

    command: str
    instance: str
    comment: str
    requested: float
    finished: float
    status: str
    details: str
    output: str


@dataclass(frozen=True)
class Entry:
    """One line of the audit: who was asked what, when, why, and what came of it; `seconds` from request to end."""

    at: float
    instance: str
    balancers: tuple[str, ...]
    verb: str
    ports: str
    epoch: int
    cause: str
    outcome: str
    reason: str
    speaks: str
    changed: bool
    seconds: float
    status: str
    command: str

    @property
    def is_failed(self) -> bool:
        """Whether it ended, and not as it was asked."""
        return self.outcome not in (Outcome.OK.value, UNDER_WAY)

    @property
    def is_evidence(self) -> bool:
        """Whether it proves what the machine is."""
        return self.outcome not in NO_EVIDENCE


@dataclass(frozen=True)
class Gap:
    """A span without evidence about an instance that was to be looked at; seconds since 1970."""

    instance: str
    begin: float
    end: float


@dataclass(frozen=True)
class Choice:
    """Which entries are wanted; empty and 0 mean all; times in seconds since 1970."""

    since: float = 0
    until: float = 0
    balancer: str = ""
    instance: str = ""
    failed: bool = False

    def takes(self, entry: Entry) -> bool:
        """Whether an entry is wanted."""
        in_time = self.since <= entry.at and (not self.until or entry.at <= self.until)
        return in_time and self.concerns(entry.instance, entry.balancers) and (entry.is_failed or not self.failed)

    def concerns(self, instance: str, balancers: Collection[str]) -> bool:
        """Whether an instance behind these balancers is wanted."""
        return self.instance in ("", instance) and (not self.balancer or self.balancer in balancers)


def join(told: Iterable[Told], behind: Mapping[str, Collection[str]]) -> tuple[Entry, ...]:
    """Every command of ours, oldest first; `behind` names the balancers of each instance that is still there."""
    entries = (_entry(one, tuple(sorted(behind.get(one.instance, ())))) for one in told)
    return tuple(sorted((e for e in entries if e), key=lambda e: (e.at, e.instance, e.command)))


def gaps(entries: Iterable[Entry], now: float, interval: float, watched: Mapping[str, float]) -> tuple[Gap, ...]:
    """Where an instance went without evidence for two check intervals (seconds) though it was to be looked at.

    That is while it was known to expect; and until now for those `watched`, each since when: those that are behind a
    balancer that sends. One that was let go, or that is gone, is looked at no more.
    """
    evidence: dict[str, list[Entry]] = {}
    for entry in sorted(entries, key=lambda e: e.at):
        if entry.is_evidence:
            evidence.setdefault(entry.instance, []).append(entry)
    found = []
    for instance in sorted(evidence.keys() | watched.keys()):
        seen = evidence.get(instance, [])
        spans = [(one.at, other.at) for one, other in pairwise(seen) if "proxy" in one.speaks]
        if instance in watched:
            spans.append((seen[-1].at if seen else watched[instance], now))
        found += [Gap(instance, begin, end) for begin, end in spans if end - begin > 2 * interval]
    return tuple(found)


_COMMENT = re.compile(r"smtp-fleet (look|expect) ports=(\S+) epoch=(\d{1,15})(?: cause=(.*))?", re.DOTALL)


def _entry(told: Told, balancers: tuple[str, ...]) -> Entry | None:
    """An entry; None for a command that somebody else sent, which its comment tells."""
    found = _COMMENT.match(told.comment)
    if not found:
        return None
    verb, ports, epoch, cause = found.groups()
    numbers = frozenset(int(port) for port in ports.split(",") if port.isascii() and port.isdigit())
    ask = Ask(Verb(verb), numbers, int(epoch))
    answer = believe(ask, Invocation(told.instance, told.status, told.details, told.output))
    proxy = dict.fromkeys(answer.proxy if answer else (), "proxy")
    plain = dict.fromkeys(answer.plain if answer else (), "plain")
    return Entry(
        at=told.requested,
        instance=told.instance,
        balancers=balancers,
        verb=verb,
        ports=ports,
        epoch=ask.epoch,
        cause=cause or "",
        outcome=answer.outcome.value if answer else UNDER_WAY,
        reason=answer.reason if answer else "",
        speaks=" ".join(f"{port}={what}" for port, what in sorted((proxy | plain).items())),
        changed=bool(answer and answer.outcome is not Outcome.LOST and _changed(told.output)),
        seconds=round(max(0.0, told.finished - told.requested), 1) if told.finished else 0.0,
        status=told.details or told.status,
        command=told.command,
    )


def _changed(output: str) -> bool:
    """Whether the verdict, the first line that the document prints, says that it changed anything."""
    try:
        verdict: Any = json.loads(output.partition("\n")[0])
    except (ValueError, RecursionError):
        return False
    return isinstance(verdict, dict) and verdict.get("changed") is True
