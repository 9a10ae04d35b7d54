"""The expressions of DynamoDB, as far as the ledger uses them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import cache
from typing import Any

from moto.dynamodb.parsing.reserved_keywords import ReservedKeywords

from tests.account.wire import Refused

Item = Mapping[str, Any]
Test = Callable[[Item, Mapping[str, Any]], bool]

_TOKEN = re.compile(r"\s*(\(|\)|<>|<=|>=|=|<|>|[#:]?[A-Za-z_]\w*)")
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "<>": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def holds(expression: str, item: Item, values: Mapping[str, Any], names: Mapping[str, str]) -> bool:
    """Whether a condition holds for an item; one that is not there is empty."""
    return _test(expression, tuple(sorted(names.items())))(item, values)


@cache
def _test(expression: str, names: tuple[tuple[str, str], ...]) -> Test:
    tokens = _TOKEN.findall(expression)
    if "".join(tokens) != re.sub(r"\s", "", expression):
        raise NotImplementedError(f"the account does not know the condition {expression!r}")
    test, rest = _any(tokens, dict(names))
    if rest:
        raise NotImplementedError(f"the account does not know the condition {expression!r}")
    return test


def _any(tokens: list[str], names: Mapping[str, str]) -> tuple[Test, list[str]]:
    test, rest = _all(tokens, names)
    while rest and rest[0] == "OR":
        first, (second, rest) = test, _all(rest[1:], names)
        test = _either(first, second)
    return test, rest


def _either(first: Test, second: Test) -> Test:
    return lambda item, values: first(item, values) or second(item, values)


def _all(tokens: list[str], names: Mapping[str, str]) -> tuple[Test, list[str]]:
    test, rest = _term(tokens, names)
    while rest and rest[0] == "AND":
        first, (second, rest) = test, _term(rest[1:], names)
        test = _both(first, second)
    return test, rest


def _both(first: Test, second: Test) -> Test:
    return lambda item, values: first(item, values) and second(item, values)


def _term(tokens: list[str], names: Mapping[str, str]) -> tuple[Test, list[str]]:
    match tokens:
        case ["(", *inside]:
            test, rest = _any(inside, names)
            return test, rest[1:]
        case ["attribute_not_exists" | "attribute_exists" as verb, "(", path, ")", *rest]:
            name, wanted = attribute(path, names), verb == "attribute_exists"
            return lambda item, values: (name in item) == wanted, rest
        case [path, op, value, *rest] if op in _COMPARE and value.startswith(":"):
            name, compare = attribute(path, names), _COMPARE[op]
            return lambda item, values: name in item and _compared(compare, item[name], values[value]), rest
    raise NotImplementedError(f"the account does not know the condition {' '.join(tokens)!r}")


def _compared(compare: Callable[[Any, Any], bool], left: Any, right: Any) -> bool:
    [(left_kind, left_value)], [(right_kind, right_value)] = left.items(), right.items()
    if left_kind == right_kind == "N":
        return compare(Decimal(left_value), Decimal(right_value))
    return left_kind == right_kind and compare(left_value, right_value)


def attribute(path: str, names: Mapping[str, str]) -> str:
    """The attribute that a path names; a reserved word has to be named by a placeholder."""
    if path.startswith("#"):
        return names[path]
    if path.upper() in ReservedKeywords.get_reserved_keywords():
        raise Refused("ValidationException", f"Attribute name is a reserved keyword; reserved keyword: {path}")
    return path


def updated(expression: str, item: Item, values: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The item after `ADD path :set` or `DELETE path :set`; a set that became empty is gone."""
    told = re.fullmatch(r"(ADD|DELETE) (#?\w+) (:\w+)", expression)
    if not told:
        raise NotImplementedError(f"the account does not know the update {expression!r}")
    verb, path, value = told.groups()
    name, new = attribute(path, names), dict(item)
    before, change = set(item.get(name, {}).get("SS", ())), set(values[value]["SS"])
    left = before | change if verb == "ADD" else before - change
    new.pop(name, None)
    return new | ({name: {"SS": sorted(left)}} if left else {})
