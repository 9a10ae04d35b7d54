"""Event source mappings: a queue's messages in batches to a function, by the rules of Lambda."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Condition, Lock, Thread
from typing import Any
from uuid import uuid4

from local.functions import Function, FunctionError
from local.strict import sqs

# "Lambda detects recursive loops ... after approximately 16 times" (Lambda developer guide, invocation-recursion).
RECURSION_LIMIT = 16


class Pulse:
    """Tells those who wait that something has changed."""

    def __init__(self) -> None:
        self.beats, self._condition = 0, Condition()

    def beat(self) -> None:
        """Wakes all who wait."""
        with self._condition:
            self.beats += 1
            self._condition.notify_all()

    def wait(self, since: int, timeout: float | None) -> None:
        """Waits for a beat after the one counted `since`, or the timeout."""
        with self._condition:
            self._condition.wait_for(lambda: self.beats != since, timeout)


@dataclass
class EventSource:
    """The mapping of one queue to one function; closes when told to."""

    queue: str
    function: Function
    pulse: Pulse
    on_invocation: Callable[[str, dict[str, Any]], None]
    size: int = 10
    window: float = 0
    reports_failures: bool = False
    concurrency: int = 2
    _hops: dict[str, int] = field(default_factory=dict)
    _busy: int = 0
    _closed: bool = False
    _taking: Lock = field(default_factory=Lock)
    _gathering: Lock = field(default_factory=Lock)
    _threads: list[Thread] = field(default_factory=list)

    def start(self) -> None:
        """Begins to poll."""
        self._threads = [Thread(target=self._poll, name="event source", daemon=True) for _ in range(self.concurrency)]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Ends the polling."""
        self._closed = True
        self.pulse.beat()

    def join(self) -> None:
        """Waits for the end of the polling, and of the invocations under way."""
        for thread in self._threads:
            thread.join()

    def sent(self, message_id: str, trace: str) -> None:
        """Notes by whose chain of invocations a message was sent."""
        if found := re.search(r"Lineage=\d+:\w+:(\d+)", trace):
            self._hops[message_id] = int(found[1])

    def is_idle(self, until: float) -> bool:
        """True if nothing is being handled, and nothing can be received before `until`."""
        with self._taking:
            return not self._busy and all(due > until for due in sqs.due(self.queue))

    def _poll(self) -> None:
        while not self._closed:
            with self._gathering:
                batch = self._gather()
            if batch:
                try:
                    self._handle(batch)
                finally:
                    with self._taking:
                        self._busy -= 1
                    self.pulse.beat()

    def _take(self, batch: list[dict[str, Any]]) -> None:
        with self._taking:
            before = bool(batch)
            batch += sqs.receive(self.queue, self.size - len(batch))
            self._busy += bool(batch) and not before

    def _gather(self) -> list[dict[str, Any]]:
        """A batch: complete, or as far as it came when the window closed after its first message."""
        batch: list[dict[str, Any]] = []
        end: float | None = None
        while not self._closed:
            since = self.pulse.beats
            self._take(batch)
            if batch and end is None:
                end = time.time() + self.window
            if end is not None and (len(batch) >= self.size or time.time() >= end):
                break
            moments = sqs.due(self.queue)[:1] + ([end] if end else [])
            self.pulse.wait(since, max(0.001, min(moments) - time.time()) if moments else None)
        return batch

    def _handle(self, batch: list[dict[str, Any]]) -> None:
        began, error, failed = time.monotonic(), None, {each["messageId"] for each in batch}
        hops = max(self._hops.get(each["messageId"], 0) for each in batch)
        if hops >= RECURSION_LIMIT and not self.function.allows_recursion:
            error, failed = "stopped as a recursive loop", set()
        else:
            try:
                answer = self.function.invoke({"Records": batch}, _trace(hops + 1))
                failed = self._failed(answer, failed) if self.reports_failures else set()
            except FunctionError as failure:
                error = str(failure)
        for each in batch:
            if each["messageId"] not in failed:
                sqs.delete(self.queue, each["receiptHandle"])
        seconds = round(time.monotonic() - began, 3)
        what = {"records": len(batch), "failed": len(failed), "seconds": seconds, "error": error}
        self.on_invocation(self.function.name, what)

    @staticmethod
    def _failed(answer: Any, all_of_them: set[str]) -> set[str]:
        # An answer that is empty is a success; one that names an unknown message fails the whole batch
        # (Lambda developer guide, "Reporting batch item failures").
        named = {each.get("itemIdentifier") for each in (answer or {}).get("batchItemFailures") or []}
        return named if named <= all_of_them else all_of_them


def _trace(hops: int) -> str:
    return (
        f"Root=1-{int(time.time()):08x}-{uuid4().hex[:24]};Parent={uuid4().hex[:16]};Sampled=0;Lineage=1:local:{hops}"
    )
