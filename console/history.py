"""The command history of our document as an operator reads it: entries, which of them are wanted, and gaps; pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from smtp_fleet.outcome import Outcome

UNDER_WAY = "under way"
UNHEARD = "unheard"
"""Endings that only this history knows: not ended yet; and sent, but the log has no answer to it."""

NO_EVIDENCE = frozenset({UNDER_WAY, UNHEARD, Outcome.LOST.value, Outcome.BUG.value})
"""Endings that prove nothing about a machine."""


@dataclass(frozen=True)
class Entry:
    """One line of the audit: who was asked what, when, why, and what came of it; `seconds` from request to end.

    `call` is the API call that caused it, with its principal and time, where a call did.
    """

    at: float
    instance: str
    balancers: tuple[str, ...]
    verb: str
    ports: str
    epoch: int
    cause: str
    call: str
    outcome: str
    reason: str
    speaks: str
    changed: bool
    seconds: float
    status: str
    command: str

    @property
    def principal(self) -> str:
        """The short name of who made the call that caused it; empty where no call did."""
        found = re.fullmatch(r"\w+ by \S*?([^/:\s]+) at \S+", self.call)
        return found[1] if found else ""

    @property
    def who(self) -> str:
        """The call that caused it and who made it, or the cause where no call did."""
        return f"{self.call.partition(' ')[0]} by {self.principal}" if self.principal else self.cause

    @property
    def is_failed(self) -> bool:
        """Whether it ended, and not as it was asked."""
        return self.outcome not in (Outcome.OK.value, UNDER_WAY, UNHEARD)

    @property
    def is_evidence(self) -> bool:
        """Whether it proves what the machine is."""
        return self.outcome not in NO_EVIDENCE


@dataclass(frozen=True)
class Gap:
    """A span without evidence about an instance that was to be looked at, and its balancers; seconds since 1970."""

    instance: str
    begin: float
    end: float
    balancers: tuple[str, ...] = ()


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


def gaps(
    entries: Iterable[Entry],
    now: float,
    interval: float,
    watched: Mapping[str, float],
    behind: Mapping[str, Collection[str]] = {},
) -> tuple[Gap, ...]:
    """Where an instance went without evidence for two check intervals (seconds) though it was to be looked at.

    That is while it was known to expect; and until now for those `watched`, each since when: those that are behind a
    balancer that sends. One that was let go, or that is gone, is looked at no more. `behind` names the balancers of
    those that are there, for one of which there is no entry.
    """
    evidence: dict[str, list[Entry]] = {}
    places = {instance: tuple(sorted(names)) for instance, names in behind.items()}
    for entry in sorted(entries, key=lambda e: e.at):
        places[entry.instance] = entry.balancers
        if entry.is_evidence:
            evidence.setdefault(entry.instance, []).append(entry)
    found = []
    for instance in sorted(evidence.keys() | watched.keys()):
        seen = evidence.get(instance, [])
        spans = [(one.at, other.at) for one, other in pairwise(seen) if "proxy" in one.speaks]
        if instance in watched:
            spans.append((seen[-1].at if seen else watched[instance], now))
        where = places.get(instance, ())
        found += [Gap(instance, begin, end, where) for begin, end in spans if end - begin > 2 * interval]
    return tuple(found)
