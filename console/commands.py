"""The history of our document, page by page: what Systems Manager keeps, and what the functions logged for longer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from console.join import Line, Told
from smtp_fleet.evidence import COMMAND_WAIT
from smtp_fleet.ssm import invocation

SENT = '{ ($.message = "command sent") || ($.message = "command found in the history") }'
ANSWERED = '{ ($.message = "an instance answered") || ($.calls[0] = "*") }'
"""Filter patterns: the hand's lines, and the mind's lines that hold an answer or who made which call."""

BEFORE = 3600
"""Seconds by which a call is looked for before the first command: what it asks for may have to wait for its turn."""


def read(ssm: Any, document: str, since: float, until: float) -> Iterator[Told]:
    """Each instance's part of every command of the document in this time (seconds since 1970, until 0: now)."""
    filters = [{"key": "DocumentName", "value": document}]
    if since:
        filters.append({"key": "InvokedAfter", "value": _moment(since)})
    if until:
        filters.append({"key": "InvokedBefore", "value": _moment(until + 1)})  # whole seconds: the last one counts
    pages = ssm.get_paginator("list_command_invocations").paginate(Details=True, Filters=filters)
    return (_told(each) for page in pages for each in page["CommandInvocations"])


def logged(logs: Any, group: str, pattern: str, since: float, until: float) -> Iterator[Line]:
    """The lines of a log group that tell of this time, be it a little before or after (seconds since 1970, 0: open)."""
    span = {"startTime": max(0, int(since - BEFORE)) * 1000} if since else {}
    span |= {"endTime": int(until + COMMAND_WAIT) * 1000} if until else {}
    pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group, filterPattern=pattern, **span)
    return (line for page in pages for event in page["events"] if (line := _line(event)))


def _told(each: dict[str, Any]) -> Told:
    return Told(each["CommandId"], each.get("Comment", ""), each["RequestedDateTime"].timestamp(), invocation(each))


def _line(event: dict[str, Any]) -> Line | None:
    try:
        said = json.loads(event["message"])
    except ValueError:
        return None
    return Line(event["timestamp"] / 1000, said) if isinstance(said, dict) else None


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
