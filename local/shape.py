"""Reads JSON into plain values, each by the shape that it must have; the first mistake is told with its place."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Read = Callable[[Any, str], Any]
"""Gives what is read from a value, or raises Mistake; told the place of the value in the whole."""

NEEDED = object()
DEEP = 100
"""Levels of nesting that are read: no event of AWS comes near, and no reader of ours runs out of stack."""


class Mistake(ValueError):
    """Something is not as it must be: the text is one line that says where, and what was expected."""


def wrong(where: str, expected: str, found: Any) -> Mistake:
    """The mistake at a place, by what was expected there and what was found."""
    shown = json.dumps(found, ensure_ascii=False)
    return Mistake(f"{where or 'the whole'}: expected {expected}, not {shown[:60]}{'…' if len(shown) > 60 else ''}")


def parsed(content: str, pairs: Callable[[list[tuple[str, Any]]], Mapping[str, Any]] = dict) -> Any:
    """The value of a JSON text; raises Mistake, also where it is nested deeper than DEEP."""
    too_deep = Mistake(f"expected JSON, nested at most {DEEP} deep")
    try:
        value = json.loads(content, object_pairs_hook=pairs)
    except json.JSONDecodeError as error:
        raise Mistake(f"line {error.lineno}: expected JSON: {error.msg}") from None
    except RecursionError:
        raise too_deep from None
    level = [value]
    for _ in range(DEEP):
        level = [inner for each in level for inner in _inside(each) if isinstance(inner, list | dict)]
    if level:
        raise too_deep
    return value


def _inside(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def text(pattern: str, expected: str) -> Read:
    """A text of this pattern."""

    def read(value: Any, where: str) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise wrong(where, expected, value)
        return value

    return read


def whole(least: int, most: int, what: str) -> Read:
    """A whole number between two."""

    def read(value: Any, where: str) -> int:
        if type(value) is not int or not least <= value <= most:
            raise wrong(where, f"{what} from {least} to {most}", value)
        return value

    return read


def flag(value: Any, where: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise wrong(where, "true or false", value)
    return value


def one_of(*words: str) -> Read:
    """One of these words."""

    def read(value: Any, where: str) -> str:
        if value not in words:
            raise wrong(where, "one of " + ", ".join(words), value)
        return str(value)

    return read


def a_list_of(read_one: Read, least: int = 0) -> Read:
    """A list, of at least so many."""

    def read(value: Any, where: str) -> list[Any]:
        if not isinstance(value, list) or len(value) < least:
            raise wrong(where, "a list" if not least else f"a list of {least} or more", value)
        return [read_one(one, f"{where}[{number}]") for number, one in enumerate(value)]

    return read


def by(read_name: Read, read_one: Read, most: int | None = None) -> Read:
    """An object of any names that can be read, each with one thing; of at most so many."""

    def read(value: Any, where: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise wrong(where, "an object", value)
        if most is not None and len(value) > most:
            raise Mistake(f"{where}: expected at most {most}, not {len(value)}")
        return {
            read_name(name, f"a name in {where}"): read_one(one, f'{where}["{name}"]') for name, one in value.items()
        }

    return read


def an_object_of(**members: tuple[Read, Any]) -> Read:
    """An object of these members, each with how it is read and what it is where it is left out."""

    def read(value: Any, where: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise wrong(where, "an object", value)
        inside = f"{where}." if where else ""
        for name in value:
            if name not in members:
                raise wrong(inside + name, "one of " + ", ".join(members), name)
        for name, (_, default) in members.items():
            if default is NEEDED and name not in value:
                raise Mistake(f"{inside}{name}: expected, but it is not there")
        return {
            name: read_member(value[name], inside + name) if name in value else default
            for name, (read_member, default) in members.items()
        }

    return read


def or_null(read_one: Read) -> Read:
    """A thing, or nothing."""
    return lambda value, where: None if value is None else read_one(value, where)
