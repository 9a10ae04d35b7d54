"""The stack's two functions as Lambda runs them on an account: from their queues, in batches, ended at their limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from tests.storm.doors import MAPPINGS, Doors


class Killed(BaseException):
    """The function's process is gone: nothing in it runs any more, no `finally` either."""


@dataclass
class Run:
    """One invocation under way: when it ends at the latest, whether it still lives, and whether a fault befell it."""

    function: str
    ends: float
    alive: bool = True
    spoiled: bool = False


class Stack:
    """Mind and hand over an account; `tell` gets what they say, `runs` are invocations under way, the inner last."""

    def __init__(self, account: Any, tell: Callable[..., None]) -> None:
        self._clock = account.clock
        self._tell = tell
        self._doors = Doors(lambda name: account.client(name, "stack"), account.clock.seconds, tell)
        self.runs: list[Run] = []
        self.invocations = 0
        self.queues = {
            name: account.sqs.add(mapping.queue, mapping.visibility, mapping.receives)
            for name, mapping in MAPPINGS.items()
        }

    def due(self) -> float:
        """When a function is to run next: its oldest message has waited for the window."""
        return min(self._due(name) for name in MAPPINGS)

    def _due(self, name: str) -> float:
        return self.queues[name].due() + MAPPINGS[name].window

    def turn(self) -> None:
        """Run each function that is due."""
        for name in MAPPINGS:
            if self._due(name) <= self._clock.now:
                self.invoke(name)

    def invoke(self, name: str) -> None:
        """One invocation: its messages go when it ends, but for those that it names; all stay where it dies."""
        mapping, queue, clock = MAPPINGS[name], self.queues[name], self._clock
        messages = queue.receive(clock.now, mapping.batch)
        if not messages:
            return
        self.invocations += 1
        run = Run(name, clock.now + mapping.timeout)
        self.runs.append(run)
        failed = {message.id for message in messages}
        try:
            failed = self._doors.handle(name, messages, lambda: run.ends - clock.now, f"run-{self.invocations}")
        except Killed:
            run.spoiled = True
        except (ClientError, BotoCoreError) as error:
            self._tell("the function failed", error=error)
        finally:
            self.runs.pop()
        for message in messages:
            if message.id in failed:
                message.spoiled += run.spoiled or message.forged
            else:
                queue.delete(message)
