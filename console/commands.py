"""The SSM command history of our document, read page by page."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from console.history import Told


def read(ssm: Any, document: str, since: float, until: float) -> Iterator[Told]:
    """Each instance's part of every command of the document in this time (seconds since 1970, until 0: now)."""
    filters = [{"key": "DocumentName", "value": document}]
    if since:
        filters.append({"key": "InvokedAfter", "value": _moment(since)})
    if until:
        filters.append({"key": "InvokedBefore", "value": _moment(until + 1)})  # whole seconds: the last one counts
    pages = ssm.get_paginator("list_command_invocations").paginate(Details=True, Filters=filters)
    return (_told(each) for page in pages for each in page["CommandInvocations"])


def _told(invocation: dict[str, Any]) -> Told:
    plugins = invocation.get("CommandPlugins", ())
    ends = [p["ResponseFinishDateTime"].timestamp() for p in plugins if p.get("ResponseFinishDateTime")]
    return Told(
        command=invocation["CommandId"],
        instance=invocation["InstanceId"],
        comment=invocation.get("Comment", ""),
        requested=invocation["RequestedDateTime"].timestamp(),
        finished=max(ends, default=0.0),
        status=invocation["Status"],
        details=invocation.get("StatusDetails", ""),
        output="".join(p.get("Output", "") for p in plugins),
    )


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
