"""The settings of each function, read once from its environment; a bad value names itself and what was expected."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from ipaddress import ip_network
from typing import Any, TypeVar

from smtp_fleet.tag import is_port

T = TypeVar("T")


class SettingsError(ValueError):
    """A setting is missing or has a value that means nothing."""


def _text(value: str) -> str:
    if not value:
        raise ValueError("a value")
    return value


def _ports(value: str) -> frozenset[int]:
    words = value.split()
    if not words or not all(map(is_port, words)):
        raise ValueError("ports from 1 to 65535, separated by spaces")
    return frozenset(map(int, words))


def _seconds(value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= 5 and int(value) > 0):
        raise ValueError("whole seconds from 1 to 99999")
    return int(value)


def _flag(value: str) -> bool:
    if value not in ("true", "false"):
        raise ValueError("true or false")
    return value == "true"


def _matching(pattern: str) -> Callable[[str], str]:
    def read(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"text that matches {pattern}")
        return value

    return read


def _networks(value: str) -> str:
    """Postfix turns everybody away for a network that it cannot read, one with host bits among them."""
    try:
        known = value == "none" or [ip_network(word) for word in value.split(" ")]
    except ValueError as wrong:
        raise ValueError(f"none, or networks separated by spaces ({wrong})") from wrong
    if not known or len(value.split(" ")) > 16:
        raise ValueError("none, or 1 to 16 networks separated by spaces")
    return value


def _setting(name: str, parse: Callable[[str], Any]) -> Any:
    return field(metadata={"name": name, "parse": parse})


@dataclass(frozen=True)
class MindSettings:
    """What reconcile_fleet is told: times in seconds, ports as seen in front of the balancer."""

    tag_key: str = _setting("TAG_KEY", _text)
    mail_ports: frozenset[int] = _setting("MAIL_PORTS", _ports)
    policy_name: str = _setting("POLICY_NAME", _matching(r"[A-Za-z0-9-]{1,128}"))
    audit: bool = _setting("AUDIT", _flag)
    paused: bool = _setting("PAUSED", _flag)
    live_cutover: str = _setting("LIVE_CUTOVER", _matching("at-once|ask"))
    cutover_budget: int = _setting("CUTOVER_BUDGET_SECONDS", _seconds)
    settle: int = _setting("SETTLE_SECONDS", _seconds)
    check_interval: int = _setting("CHECK_INTERVAL_SECONDS", _seconds)
    hook_timeout: int = _setting("HOOK_TIMEOUT_SECONDS", _seconds)
    agent_wait: int = _setting("AGENT_WAIT_SECONDS", _seconds)
    group_name_pattern: str = _setting("GROUP_NAME_PATTERN", _text)
    ledger_table: str = _setting("LEDGER_TABLE", _text)
    wakes_queue_url: str = _setting("WAKES_QUEUE_URL", _text)
    asks_queue_url: str = _setting("ASKS_QUEUE_URL", _text)


@dataclass(frozen=True)
class Marks:
    """By what the balancers of a stack are known."""

    tag_key: str = _setting("TAG_KEY", _text)
    mail_ports: frozenset[int] = _setting("MAIL_PORTS", _ports)
    policy_name: str = _setting("POLICY_NAME", _matching(r"[A-Za-z0-9-]{1,128}"))


@dataclass(frozen=True)
class GuardSettings(Marks):
    """What guard_stack is told."""

    ledger_table: str = _setting("LEDGER_TABLE", _text)


@dataclass(frozen=True)
class HandSettings:
    """What configure_postfix is told."""

    document_name: str = _setting("DOCUMENT_NAME", _text)
    front_end: str = _setting("FRONT_END", _matching("postscreen|keep"))
    trusted_clients: str = _setting("TRUSTED_CLIENTS", _networks)
    ledger_table: str = _setting("LEDGER_TABLE", _text)
    asks_queue_url: str = _setting("ASKS_QUEUE_URL", _text)


def names(cls: type[Any]) -> frozenset[str]:
    """The environment variables that a settings class reads."""
    return frozenset(f.metadata["name"] for f in fields(cls))


def read(cls: type[T], environment: Mapping[str, str]) -> T:
    """Read settings of class `cls` from `environment`; raises SettingsError naming each bad variable at once."""
    values: dict[str, Any] = {}
    bad: list[str] = []
    for f in fields(cls):  # type: ignore[arg-type]
        name, parse = f.metadata["name"], f.metadata["parse"]
        try:
            values[f.name] = parse(environment.get(name, ""))
        except ValueError as expected:
            bad.append(f"{name}={environment.get(name)!r}: expected {expected}")
    if bad:
        raise SettingsError("; ".join(bad))
    return cls(**values)
