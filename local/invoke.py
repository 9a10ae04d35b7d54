"""`make invoke`: what the template's rules and the functions make of one event, in a small world; nothing stays."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from local import stage, stream, world
from local.bus import Rule, rules_of
from local.region import Record, Region
from local.shape import Mistake, parsed
from local.strict.patterns import matches
from local.template import Template

TEMPLATE = Path("template.yaml")
WORLD = Path("docs/world.example.json")
AHEAD = 3
"""Seconds for which a planned wait is waited out; longer ones are only told."""

LIMIT = 60
"""Seconds after which what is still under way is given up."""

out, err = Console(highlight=False), Console(highlight=False, stderr=True)


Found = dict[str, Any]


class NoEvent(ValueError):
    """The file holds no event: the text is one line that says what was expected."""


def read_event(path: str) -> dict[str, Any]:
    """The event in a file."""
    if not path:
        raise NoEvent("usage: make invoke EVENT=events/add-tags.json [WORLD=docs/world.example.json] [JSON=1]")
    try:
        event = parsed(Path(path).read_text())
    except OSError as error:
        raise NoEvent(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise NoEvent(f"{path}: expected JSON in UTF-8") from None
    except Mistake as mistake:
        raise NoEvent(f"{path}: {mistake}") from None
    if not isinstance(event, dict):
        raise NoEvent(f"{path}: expected an event, which is an object, not a JSON {type(event).__name__}")
    for name in ("source", "detail-type"):
        if not isinstance(event.get(name), str):
            raise NoEvent(f"{path}: expected an event, which has a text under {name!r}")
    if not isinstance(event.setdefault("detail", {}), dict):
        raise NoEvent(f"{path}: expected an event, whose 'detail' is an object")
    return event


def chosen(rules: Iterable[Rule], event: dict[str, Any]) -> list[Rule]:
    """The rules that take an event: by their pattern, or, for a scheduled event, by their schedule."""
    comes_by_schedule = (event["source"], event["detail-type"]) == ("aws.events", "Scheduled Event")
    return [
        rule
        for rule in rules
        if (rule.pattern and matches(rule.pattern, event)) or (rule.schedule and comes_by_schedule)
    ]


def hastened(template: Template) -> dict[str, dict[str, Any]]:
    """Overrides that shorten the batching windows, and keep each function to one batch at a time."""
    found = {}
    for name, function in template.resources("AWS::Serverless::Function", "Events").items():
        for source in function.get("Events", {}).values():
            source["Properties"] |= {"MaximumBatchingWindowInSeconds": 0.2, "ScalingConfig": {"MaximumConcurrency": 1}}
        found[name] = function
    return found


def run(
    event: dict[str, Any], rules: Sequence[Rule], given: world.World, tell: bool
) -> tuple[dict[str, Any], list[str]]:
    """What came of an event that these rules take, and what was not waited for."""
    with Region(TEMPLATE, given["parameters"], hastened(Template(TEMPLATE))) as region:
        stage.build(region, given)
        before = len(region.log)
        if tell:
            region.on_record = lambda record: _tell(record, region)
        for rule in rules:
            if rule.schedule:
                region.fire(rule, event)
        if any(rule.pattern for rule in rules):
            region.publish(event)
        calm = region.quiet(LIMIT, ahead=AHEAD)
        region.on_record = None
        later = [f"{name} is to look again in {seconds:.0f} s: not waited for" for name, seconds in region.planned()]
        found = outcome(region.log[before:], rules, region)
        return found, later if calm else [*later, f"still busy after {LIMIT} s: given up"]


def outcome(records: Iterable[Record], rules: Iterable[Rule], region: Region) -> dict[str, Any]:
    """The rules, the functions that ran with their errors and log lines, and their calls in order."""
    functions: dict[str, Any] = {}
    calls = []
    for record in records:
        if record.who not in region.functions:
            continue
        function = functions.setdefault(record.who, {"error": None, "logs": []})
        if record.kind == "log":
            function["logs"].append(record.what)
        elif record.kind == "invocation":
            function["error"] = function["error"] or stream.failure(record.what) or None
        elif record.kind == "call":
            call = record.what
            told = {"service": call.service, "operation": call.operation, "params": call.params, "error": call.error}
            calls.append(told)
    return {"rules": [rule.name for rule in rules], "functions": functions, "calls": calls}


def _tell(record: Record, region: Region) -> None:
    if record.kind == "event" or record.who in region.functions:
        for line in stream.lines(record, region.functions, reads=True):
            stream.show(out, record.at, line)


def _sum_up(found: dict[str, Any], later: list[str]) -> None:
    for name, function in found["functions"].items():
        line = f"{name}: {function['error'] or 'no error'}, {len(function['logs'])} log lines"
        out.print(line, markup=False, soft_wrap=True)  # an error may hold what looks like markup
    out.print(f"{len(found['calls'])} calls", *later, sep="\n", markup=False, soft_wrap=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Give 0, or 1 where a function broke, or 2 where the event or the world has a mistake."""
    parser = argparse.ArgumentParser(prog="local.invoke")
    parser.add_argument("event")
    parser.add_argument("--world", type=Path, default=WORLD)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(argv)
    template = Template(TEMPLATE)
    try:
        event = read_event(asked.event)
        given = world.read(asked.world, template.declared)
    except ValueError as mistake:
        err.print(str(mistake), markup=False, soft_wrap=True)
        return 2
    rules, found, later = chosen(rules_of(template), event), {"rules": [], "functions": {}, "calls": []}, []
    if not asked.json:
        names = ", ".join(rule.name for rule in rules)
        print(f"rules: {names or 'none takes it, so no function is woken'}", flush=True)
    if rules:
        found, later = run(event, rules, given, tell=not asked.json)
    if asked.json:
        print(json.dumps(found, default=str, indent=2, ensure_ascii=False))
        err.print(*later, sep="\n", end="\n" if later else "", markup=False, soft_wrap=True)
    elif rules:
        _sum_up(found, later)
    return int(
        any(function["error"] for function in found["functions"].values()) or any("given up" in w for w in later)
    )


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
