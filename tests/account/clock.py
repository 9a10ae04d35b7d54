"""A clock that nobody but the simulation moves, and what is due at its times."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count


class Clock:
    """Seconds since 1970; what is due at one time comes in the order in which it was put."""

    def __init__(self, now: float) -> None:
        self.now = now
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._serial = count()

    def seconds(self) -> int:
        """The time as functions read it."""
        return int(self.now)

    def at(self, when: float, what: Callable[[], object]) -> None:
        """Have something done at a time; a time that has passed is now, at the next `advance`."""
        heappush(self._due, (when, next(self._serial), what))

    def after(self, seconds: float, what: Callable[[], object]) -> None:
        """Have something done after a while; after no time at all, at once."""
        if seconds:
            self.at(self.now + seconds, what)
        else:
            what()

    @property
    def next_due(self) -> float:
        """When the next thing is due; infinity where nothing is."""
        return self._due[0][0] if self._due else float("inf")

    def advance(self, to: float) -> None:
        """Let time pass until `to`, with everything that is due on the way."""
        while self._due and self._due[0][0] <= to:
            when, _, what = heappop(self._due)
            self.now = max(self.now, when)
            what()
        self.now = max(self.now, to)
