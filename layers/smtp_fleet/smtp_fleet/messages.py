"""The messages by which the mind tells the hand what to do: one shape, written and read here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from smtp_fleet.evidence import Machine

MOST = 500
"""Machines in one message: at a hundred bytes each a fifth of what SQS takes (256 KiB)."""

ASK, ADMIT, REJECT = "ask", "admit", "reject"


@dataclass(frozen=True)
class Entry:
    """What is to be done to one machine, and the time of the ask that it stands for (seconds since 1970).

    An admission also names the group, and when the instance was launched (seconds since 1970; 0: not known).
    """

    kind: str
    machine: Machine
    asked_at: int
    group: str = ""
    launched_at: int = 0


def bodies(kind: str, entries: Iterable[Entry]) -> Iterator[dict[str, Any]]:
    """The messages that carry these entries, all of one kind."""
    rest = iter(entries)
    while page := list(islice(rest, MOST)):
        yield {"kind": kind, "machines": [_written(entry) for entry in page]}


def entries(body: Any) -> tuple[Entry, ...] | None:
    """The entries of a message; None where it is none that the mind or the hand writes."""
    match body:
        case {"kind": "ask" | "admit" | "reject" as kind, "machines": [_, *_] as machines}:
            read = tuple(_read(kind, machine) for machine in machines)
            return tuple(entry for entry in read if entry) if all(read) else None
    return None


def _written(entry: Entry) -> dict[str, Any]:
    machine = entry.machine
    told = {"instance": machine.instance_id, "volume": machine.volume, "asked_at": entry.asked_at}
    return told | ({"group": entry.group, "launched_at": entry.launched_at} if entry.group else {})


def _read(kind: str, told: Any) -> Entry | None:
    match told:
        case {"instance": str(instance), "volume": str(volume), "asked_at": int(asked_at), "group": str(group)}:
            launched_at = told.get("launched_at")
            return Entry(
                kind, Machine(instance, volume), asked_at, group, launched_at if type(launched_at) is int else 0
            )
        case {"instance": str(instance), "volume": str(volume), "asked_at": int(asked_at)} if kind == ASK:
            return Entry(kind, Machine(instance, volume), asked_at)
    return None
