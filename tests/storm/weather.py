"""The weather that the functions' calls stand in: armed faults strike the next call of their operation."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ReadTimeoutError

from tests.account.wire import error
from tests.storm.errors import honest
from tests.storm.stack import Killed, Run

LATENCY = 0.05
"""Seconds that a call takes."""

PATIENCE = 600
"""Seconds after which an armed fault that met no call of its operation is forgotten."""

Strike = Callable[[str, str], None]
"""What a fault does to a call, given its service and operation; may raise."""


@dataclass
class Fault:
    """A fault that waits for a call, until a time; one that `stays` strikes every call until then."""

    until: float
    strike: Strike
    stays: bool = False


@dataclass
class Weather:
    """Faults by operation, before and after a call takes effect; `runs` are the invocations under way."""

    clock: Any
    runs: list[Run]
    before_call: dict[str, list[Fault]] = field(default_factory=lambda: defaultdict(list))
    after_call: dict[str, list[Fault]] = field(default_factory=lambda: defaultdict(list))
    again: dict[str, list[Fault]] = field(default_factory=lambda: defaultdict(list))
    shorten: list[Fault] = field(default_factory=list)
    rain: tuple[float, int] = (0, 1)
    struck: Counter[str] = field(default_factory=Counter)
    _calls: int = 0
    _drop: str = ""

    def before(self, service: str, operation: str, params: dict[str, Any]) -> int:
        """A call is about to be made; gives how many times it is."""
        self._live()
        self.clock.advance(self.clock.now + LATENCY)
        self._live()
        self._pour(service, operation)
        self._strike(self.before_call[operation], service, operation)
        return 1 + self._strike(self.again[operation], service, operation)

    def after(self, service: str, operation: str, result: Any) -> Any:
        """A call has taken effect; gives what the caller is told."""
        if self._drop:
            self._drop, drop = "", self._drop
            (self.kills if drop == "killed" else self.no_answer)(service, operation)
        self._strike(self.after_call[operation], service, operation)
        if operation == "BatchGetItem" and self._strike(self.shorten, service, operation):
            return _shortened(result)
        return result

    def _live(self) -> None:
        """Nothing runs in a process that was killed; a function that has reached its limit is killed."""
        run = self.runs[-1]
        if not run.alive or self.clock.now > run.ends:
            run.alive, run.spoiled = False, True
            raise Killed

    def _pour(self, service: str, operation: str) -> None:
        """In the rain every so-manieth call fails, each time in another way."""
        until, every = self.rain
        self._drop = ""
        if until < self.clock.now:
            return
        self._calls += 1
        turn, rest = divmod(self._calls, every)
        if rest:
            return
        self.runs[-1].spoiled = True
        self.struck[operation] += 1
        codes = honest(service, operation)
        match turn % 4:
            case 0:
                self.kills(service, operation)
            case 1:
                self.fails(codes[turn // 4 % len(codes)])(service, operation)
            case 2:
                self._drop = "killed"
            case 3:
                self._drop = "unanswered"

    def _strike(self, faults: list[Fault], service: str, operation: str) -> bool:
        faults[:] = [fault for fault in faults if fault.until >= self.clock.now]
        if not faults:
            return False
        fault = faults[0] if faults[0].stays else faults.pop(0)
        self.runs[-1].spoiled = True
        self.struck[operation] += 1
        fault.strike(service, operation)
        return True

    def clear(self) -> None:
        """The storm is over."""
        for faults in (self.before_call, self.after_call, self.again):
            faults.clear()
        self.shorten.clear()
        self.rain = (0, 1)

    # ---- what can strike

    def fails(self, code: str) -> Strike:
        """The call is refused, and has no effect."""

        def strike(service: str, operation: str) -> None:
            raise error(service, operation, code, "injected")

        return strike

    def no_answer(self, service: str, operation: str) -> None:
        """The call has taken effect, and nobody is told."""
        raise ReadTimeoutError(endpoint_url=service)

    def kills(self, service: str, operation: str) -> None:
        """The process is gone."""
        self.runs[-1].alive = False
        raise Killed

    def takes(self, seconds: float) -> Strike:
        """The call takes long, and the world goes on."""

        def strike(service: str, operation: str) -> None:
            self.clock.advance(self.clock.now + seconds)
            self._live()

        return strike


def _shortened(result: dict[str, Any]) -> dict[str, Any]:
    """The answer to BatchGetItem without its last item, which is left for later."""
    [(table, items)] = result["Responses"].items()
    left = [{"id": item["id"]} for item in items[-1:]]
    return {"Responses": {table: items[:-1]}, "UnprocessedKeys": {table: {"Keys": left}} if left else {}}
