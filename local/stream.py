"""What happens in a Region, one readable line each: calls, events and their rules, decisions, commands."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from local.region import Record
from local.strict import Call, ssm

# What Lambda and Powertools add to every line, and what says nothing new on a screen.
_FRAME = {
    "level", "message", "location", "timestamp", "service", "cold_start", "xray_trace_id", "function_name",
    "function_memory_size", "function_arn", "function_request_id", "requestId", "exception", "stack_trace",
}  # fmt: skip
_COLOURS = {
    "operator": "bold", "event": "dim", "reads": "dim", "prints": "dim", "decides": "cyan", "does": "green",
    "asks": "magenta", "verdict": "magenta", "machine": "blue", "balancer": "blue", "mail": "bold yellow",
    "broken": "bold red",
}  # fmt: skip
_WIDEST = 240
_SHORTER = [
    (re.compile(r"Machine\(instance_id='([^']+)', volume='[^']*'\)"), r"\1"),
    (re.compile(r"Ask\(verb=<[^:]+: '(\w+)'>, ports=frozenset\((?:\{([\d, ]+)\})?\), epoch=(\d+)\)"), r"\1 \2 (\3)"),
]

Line = tuple[str, str]


def lines(record: Record, functions: Mapping[str, Any], reads: bool = False) -> Iterator[Line]:
    """The label and the text of each line that a record is worth; `reads` also shows what functions only look at."""
    match record.kind:
        case "call" if record.who in functions:
            if reads or _tells(record.what):
                yield _made(record.what)
        case "call":
            if record.who != "aws":
                yield "operator", call(record.what)
        case "event":
            event, rules = record.what
            if rules:
                yield "event", f"{event_name(event)} → {', '.join(rules)}"
        case "log":
            if "_aws" not in record.what:  # metrics
                yield _voice(record.what), said(record.what)
        case "invocation":
            if wrong := failure(record.what):
                yield "broken", f"{record.who}: {wrong}"
        case _:
            yield record.kind, record.what


def _voice(line: Mapping[str, Any]) -> str:
    """Structured lines are decisions, or say that something broke; all else is what a program prints by the way."""
    if line.get("level") in {"ERROR", "CRITICAL"}:
        return "broken"
    return "decides" if "level" in line else "prints"


def _tells(call: Call) -> bool:
    return call.is_write and call.service not in {"sqs", "dynamodb"}


def call(call: Call) -> str:
    """An API call on one line."""
    return f"{call.service}:{call.operation} {_pairs(call.params)}{_error(call)}"


def _made(made: Call) -> Line:
    params = made.params
    if made.operation != "SendCommand":
        return "does" if made.is_write else "reads", call(made)
    return "asks", f"{', '.join(params['InstanceIds'])}: {params.get('Comment', '')}{_error(made)}"


def _error(call: Call) -> str:
    return f" ✗ {call.error}" if call.error else ""


def verdict(instance: str, answer: ssm.Answer) -> Line:
    """What a command came to on an instance: the document's one line, or what Systems Manager says without one."""
    try:
        told = json.loads(answer.stdout.partition("\n")[0])
        ports = " ".join(f"{port}={speaks}" for port, speaks in told["ports"].items())
        return "verdict", f"{instance}: {told['class']} {ports} ({told['reason']})"
    except (ValueError, KeyError, TypeError, AttributeError):
        return "verdict", f"{instance}: {answer.status} {answer.status_details} {answer.stderr or answer.stdout}"


def event_name(event: Mapping[str, Any]) -> str:
    """What an event tells, in few words."""
    detail = event["detail"] if isinstance(event.get("detail"), dict) else {}
    about = ("LifecycleHookName", "AutoScalingGroupName", "EC2InstanceId", "instance-id", "status")
    name = detail.get("eventName") or event["detail-type"]
    return " ".join([str(name), *(str(detail[key]) for key in about if key in detail)])


def said(line: Mapping[str, Any]) -> str:
    """A log line of a function: its phrase and the keys that matter."""
    keys = {key: value for key, value in line.items() if key not in _FRAME and value not in ("", 0, [], {}, None)}
    told = f"{line.get('message', '')} {_pairs(keys)}".strip()
    for pattern, short in _SHORTER:
        told = pattern.sub(short, told)
    return told


def failure(invocation: Mapping[str, Any]) -> str:
    """What went wrong in an invocation; empty if nothing did."""
    left = f"{invocation['failed']} of {invocation['records']} messages left to the queue's retry"
    return invocation["error"] or (left if invocation["failed"] else "")


def _pairs(params: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={_short(value)}" for key, value in params.items() if value not in (None, ""))


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def show(out: Console, at: float, line: Line) -> None:
    """Print a line, in colour only on a terminal; nothing that a line holds can write elsewhere on the screen."""
    label, text = line
    text = " ".join(text.split())
    text = "".join(each if each.isprintable() else "·" for each in text)
    text = text if len(text) <= _WIDEST else text[: _WIDEST - 1] + "…"
    moment = time.strftime("%H:%M:%S", time.localtime(at))
    out.print(Text.assemble((moment, "dim"), " ", (f"{label:<9}", _COLOURS.get(label, "")), text), soft_wrap=True)
