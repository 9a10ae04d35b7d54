"""What a load balancer's tag asks for: a wish, or a finding where its value means nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum

from smtp_fleet.owner import Owner, owner


class Mode(Enum):
    """What the tag's owner wants of a load balancer."""

    ABSENT = "absent"
    ENABLED = "enabled"
    AUDIT = "audit"
    DISABLED = "disabled"
    UNCLEAR = "unclear"


@dataclass(frozen=True)
class Wish:
    """One tag value, understood: the mode, and the front ports that it is about."""

    mode: Mode
    ports: frozenset[int] = frozenset()
    finding: str = ""
    go: str = ""
    owner: Owner = Owner.NOBODY


@dataclass(frozen=True)
class Tags:
    """What a balancer says to us: the value of the tag, and of its companion that says go to a plan; None: not set.

    `owner` is who else looks after it, as its other tags tell.
    """

    value: str | None = None
    go: str | None = None
    owner: Owner = Owner.NOBODY


GO_SUFFIX = "-go"
"""What is added to the tag's key for the companion tag."""


def tags(values: Mapping[str, str], key: str) -> Tags:
    """What all tags of a balancer come to, of which `key` is ours."""
    return Tags(values.get(key), values.get(key + GO_SUFFIX), owner(values))


def wish(tags: Tags, mail_ports: frozenset[int]) -> Wish:
    """Understand a balancer's tags; `mail_ports` are the front ports meant where its value names none."""
    told = _wish(tags.value, mail_ports)
    return replace(told, go=tags.go or "", owner=tags.owner)


def _wish(value: str | None, mail_ports: frozenset[int]) -> Wish:
    """A tag value may hold no comma (elb API, AddTags), so ports are separated by spaces."""
    if value is None:
        return Wish(Mode.ABSENT, mail_ports)
    words = value.split()
    match words:
        case ["enabled" | "audit" | "disabled" as word]:
            return Wish(Mode(word), mail_ports)
        case [_, *_] if all(map(is_port, words)):
            return Wish(Mode.ENABLED, frozenset(map(int, words)))
    return Wish(
        Mode.UNCLEAR, mail_ports, f"tag value {value[:64]!r} means nothing: expected enabled, audit, disabled or ports"
    )


def is_port(word: str) -> bool:
    """Whether a word is a TCP port in plain decimal digits, 1 to 65535."""
    return word.isascii() and word.isdigit() and word[0] != "0" and len(word) <= 5 and int(word) <= 65535
