"""Invocations side by side on a simulated clock: each is code that sleeps, and that runs alone while it has its turn."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass
class Stage:
    """The clock that gives the turns, and whose turn it is."""

    clock: Any
    current: Fiber | None = None


class Fiber:
    """Code on a thread that stands still but for its turns, so that all is as if there were no threads."""

    def __init__(self, stage: Stage, code: Callable[[], None]) -> None:
        self._stage = stage
        self._code = code
        self._go, self._stopped = threading.Semaphore(0), threading.Semaphore(0)
        self._error: BaseException | None = None
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        self._go.acquire()
        try:
            self._code()
        except BaseException as error:
            self._error = error
        self._stopped.release()

    def turn(self) -> None:
        """Let it run until it sleeps or ends; raises what it raised."""
        self._stage.current = self
        self._go.release()
        self._stopped.acquire()
        self._stage.current = None
        if self._error:
            raise self._error

    def sleep(self, seconds: float) -> None:
        """Called by the code itself: others have their turns meanwhile."""
        self._stage.clock.at(self._stage.clock.now + seconds, self.turn)
        self._stopped.release()
        self._go.acquire()
