"""The history joined: what Systems Manager tells of each command, what the functions logged, and what caused it.

Pure. Systems Manager forgets a command after 30 days (Run Command user guide); the log has it for as long as the
stack's retention says, and knows behind which balancers an instance was, and who made the call that caused it.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from console.history import UNDER_WAY, UNHEARD, Entry
from smtp_fleet.evidence import Ask, Invocation, Verb, believe


@dataclass(frozen=True)
class Told:
    """One instance's part of a command as Systems Manager tells it; `at` in seconds since 1970."""

    command: str
    comment: str
    at: float
    invocation: Invocation


@dataclass(frozen=True)
class Line:
    """A line that a function logged, by its keys; `at` in seconds since 1970."""

    at: float
    said: Mapping[str, Any]


def join(
    told: Iterable[Told], lines: Iterable[Line], behind: Mapping[str, Collection[str]], ours: Collection[str] = ()
) -> tuple[Entry, ...]:
    """Every command of ours, oldest first, each instance's part of it once: as Systems Manager tells it, or as logged.

    `behind` names the balancers of each instance that is still there, for whatever the log does not know of, and `ours`
    the functions: a call of theirs is no cause, but what came of one.
    """
    logged = sorted(lines, key=lambda line: line.at)
    found: dict[tuple[str, str], Entry] = {}
    for line in logged:
        for entry in _of_line(line):
            known = found.get((entry.command, entry.instance))
            if not known or known.outcome == UNHEARD:
                found[entry.command, entry.instance] = entry
    for one in told:
        if entry := _of_told(one):
            known = found.get((entry.command, entry.instance), entry)
            found[entry.command, entry.instance] = replace(entry, balancers=known.balancers)
    caller = _callers(logged)
    placed = (replace(e, balancers=e.balancers or tuple(sorted(behind.get(e.instance, ())))) for e in found.values())
    return _called(sorted(placed, key=lambda e: (e.at, e.instance, e.command)), caller, ours)


def _called(entries: Iterable[Entry], caller: Callable[[Entry], str], ours: Collection[str]) -> tuple[Entry, ...]:
    """The entries, oldest first, each with the call that caused it; what only follows goes back to what went before."""
    last: dict[str, str] = {}
    found = []
    for entry in entries:
        one = replace(entry, call=caller(entry))
        if one.cause == FOLLOWS or one.principal in ours:
            one = replace(one, call=last.get(one.instance, one.call))
        last[one.instance] = one.call
        found.append(one)
    return tuple(found)


FOLLOWS = "answer"
"""The cause of what is asked because an instance answered (`smtp_fleet.events`)."""

_COMMENT = re.compile(r"smtp-fleet (look|expect) ports=(\S+) epoch=(\d{1,15})(?: cause=(.*))?", re.DOTALL)


def _asked(comment: str, **facts: Any) -> Entry | None:
    """An entry of what a comment says was asked, not ended as far as it knows; None for a comment of somebody else."""
    found = _COMMENT.match(comment)
    if not found:
        return None
    verb, ports, epoch, cause = found.groups()
    blank: dict[str, Any] = {"balancers": (), "call": "", "reason": "", "speaks": "", "changed": False, "seconds": 0.0}
    return Entry(**blank | {"verb": verb, "ports": ports, "epoch": int(epoch), "cause": cause or ""} | facts)


def _of_told(told: Told) -> Entry | None:
    part = told.invocation
    entry = _asked(
        told.comment,
        at=told.at,
        instance=part.instance_id,
        command=told.command,
        outcome=UNDER_WAY,
        status=part.details or part.status,
        seconds=part.seconds,
    )
    if not entry:
        return None
    numbers = frozenset(int(port) for port in entry.ports.split(",") if port.isascii() and port.isdigit())
    answer = believe(Ask(Verb(entry.verb), numbers, entry.epoch), part)
    if not answer:
        return entry
    told_by_it = {"reason": answer.reason, "speaks": answer.speaks, "changed": answer.changed}
    return replace(entry, outcome=answer.outcome.value, **told_by_it)


def _of_line(line: Line) -> Iterable[Entry]:
    """What a line adds to the history: a command to each of its instances, or an answer."""
    match line.said:
        case {
            "message": "command sent" | "command found in the history",
            "command_id": str(command),
            "instance_ids": [*ids],
            "asked": str(asked),
        }:
            facts = {"at": line.at, "command": command, "outcome": UNHEARD, "status": ""}
            return [e for i in ids if isinstance(i, str) and (e := _asked(asked, instance=i, **facts))]
        case {
            "message": "an instance answered",
            "command_id": str(command),
            "instance_id": str(instance),
            "asked": str(asked),
            "load_balancers": [*balancers],
            "sent_at": int(at),
            "seconds": int() | float() as seconds,
            "changed": bool(changed),
            **more,
        }:
            words = {ours: str(more.get(key, "")) for ours, key in _WORDS.items()}
            facts = {"balancers": tuple(map(str, balancers)), "seconds": float(seconds), "changed": changed}
            entry = _asked(asked, at=float(at), instance=instance, command=command, **words, **facts)
            return [entry] if entry else []
    return []


_WORDS = {"outcome": "outcome", "reason": "answer", "speaks": "speaks", "status": "status"}
"""The keys of the line about an answer that go as they are into an entry."""


def _callers(lines: Iterable[Line]) -> Callable[[Entry], str]:
    """Tells of an entry the last call before it of the kind that caused it, on one of its balancers."""
    made: dict[tuple[str, str], list[tuple[float, str]]] = {}
    for line in lines:
        match line.said:
            case {"calls": [*calls], "load_balancers": [*balancers]}:
                for balancer, call in product(map(str, balancers), map(str, calls)):
                    made.setdefault((balancer, call.partition(" ")[0]), []).append((line.at, call))

    def caller(entry: Entry) -> str:
        before = [
            calls[n - 1]
            for balancer in entry.balancers
            if (calls := made.get((balancer, entry.cause))) and (n := bisect_right(calls, (entry.at + 1, "")))
        ]
        return max(before, default=(0.0, ""))[1]

    return caller
