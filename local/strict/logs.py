"""CloudWatch Logs with the lines of functions, found by JSON filter patterns, a few lines a page; else it refuses."""

import json
import re
import time
from collections.abc import Callable
from typing import Any

from moto.logs.exceptions import ResourceNotFoundException
from moto.logs.models import LogEvent, LogsBackend, LogStream, logs_backends

from local.strict.overlay import lay

PAGE = 100
"""Lines that one call looks at. AWS names no number, but a page may be empty and have a token (FilterLogEvents)."""

_STREAM = "local"


def create(group: str, region: str, account: str) -> Any:
    """Have a log group, and give it; its retention is nobody's concern here."""
    backend = logs_backends[account][region]
    if group not in backend.groups:
        backend.create_log_group(group, {})
    return backend.groups[group]


def write(group: str, line: str, at: float, region: str, account: str) -> None:
    """Put a line into a log group, as of a time in seconds since 1970; one that is not there is made, as by Lambda."""
    streams = create(group, region, account).streams
    if _STREAM not in streams:
        streams[_STREAM] = LogStream(create(group, region, account), _STREAM)
    event = {"timestamp": int(at * 1000), "message": line}
    streams[_STREAM].events.append(LogEvent(int(time.time() * 1000), event))


def age(seconds: float, region: str, account: str) -> None:
    """Have every line be older by so much."""
    for group in logs_backends[account][region].groups.values():
        for event in (event for stream in group.streams.values() for event in stream.events):
            event.timestamp -= int(seconds * 1000)


_TERM = re.compile(r'\(?\$\.(\w+)(?:\[(\d+)\])? = "([^"]*)"\)?')


def _pattern(text: str) -> Callable[[str], bool]:
    """What a pattern like `{ ($.key = "text") || ($.list[0] = "*") }` takes (user guide, JSON filter patterns)."""
    terms = [_TERM.fullmatch(term.strip()) for term in text.strip("{} ").split("||")]
    if not (text.startswith("{") and text.endswith("}") and all(terms)):
        raise NotImplementedError(f"the filter pattern {text}")

    def takes(message: str) -> bool:
        try:
            line = json.loads(message)
        except ValueError:
            return False
        return any(_fits(_at(line, term[1], term[2]), term[3]) for term in terms if term)

    return takes


def _at(line: Any, key: str, index: str | None) -> Any:
    value = line.get(key) if isinstance(line, dict) else None
    if index is None:
        return value
    return value[int(index)] if isinstance(value, list) and int(index) < len(value) else None


def _fits(value: Any, text: str) -> bool:
    words = ".*".join(map(re.escape, text.split("*")))
    return isinstance(value, str) and re.fullmatch(words, value, re.DOTALL) is not None


class _Backend:
    def filter_log_events(
        self: Any, log_group_name: str, log_stream_names: Any, start_time: Any, end_time: Any, limit: Any,
        next_token: Any, filter_pattern: str, interleaved: Any,
    ) -> Any:  # fmt: skip
        if log_group_name not in self.groups:
            raise ResourceNotFoundException()
        if log_stream_names or limit:
            raise NotImplementedError("FilterLogEvents by streams, or with a limit")
        takes = _pattern(filter_pattern)
        events = [e for stream in self.groups[log_group_name].streams.values() for e in list(stream.events)]
        inside = [e for e in events if (start_time or 0) <= e.timestamp <= (end_time or float("inf"))]
        start = int(next_token or 0)
        page = sorted(inside, key=lambda e: e.timestamp)[start : start + PAGE]
        found = [e.to_filter_dict() | {"logStreamName": _STREAM} for e in page if takes(e.message)]
        return found, str(start + PAGE) if len(inside) > start + PAGE else None, []


def apply() -> None:
    """Lays the filter over moto's CloudWatch Logs."""
    lay(_Backend, LogsBackend)
