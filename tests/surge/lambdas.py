"""Functions side by side on one simulated clock, as Lambda runs them from their queues; always in the same order.

An invocation is a thread, but only one runs at a time, and only until it lets time pass: then whatever is due next has
its turn. Nobody but the clock gives turns, so nothing is nested and nothing races.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from threading import Lock, Thread
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from tests.account.clock import Clock
from tests.account.sqs import SQS, Message
from tests.storm.doors import MAPPINGS, Doors
from tests.storm.stack import Killed

STUCK = 60
"""Real seconds after which a turn does not end any more; most take milliseconds."""


def _closed() -> Any:
    """A gate that lets its waiter through once for each time that it is opened (`release`)."""
    gate = Lock()
    gate.acquire()
    return gate


@dataclass
class Turn:
    """Code that runs when it is its turn: `ends` is when it is killed, `error` what it ended in."""

    ends: float
    go: Any = field(default_factory=_closed)
    error: BaseException | None = None


class Turns:
    """Who runs now; the clock that is given moves while somebody sleeps, and by nobody else's doing."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._back = _closed()
        self._now: Turn | None = None

    def begin(self, code: Callable[[], None], ends: float) -> None:
        """Let code run until it sleeps or is over; called by the clock, as all that follows is."""
        turn = Turn(ends)
        Thread(target=self._run, args=(turn, code), daemon=True).start()
        self._give(turn)

    def _run(self, turn: Turn, code: Callable[[], None]) -> None:
        turn.go.acquire()
        try:
            code()
        except BaseException as error:
            turn.error = error
        self._back.release()

    def _give(self, turn: Turn) -> None:
        """Gives a turn, and has it back when this returns; raises what the code ended in."""
        self._now = turn
        turn.go.release()
        if not self._back.acquire(timeout=STUCK):
            raise RuntimeError("whoever has the turn waits for something else than time, perhaps for a lock")
        self._now = None
        if turn.error:
            raise turn.error

    def sleep(self, seconds: float) -> None:
        """Called by the code that has the turn: time passes, and others have theirs; raises Killed past its end."""
        turn, until = self._now, self._clock.now + seconds
        assert turn, "only code that has a turn sleeps"
        if until < self._clock.next_due:
            self._clock.now = until  # nobody is due meanwhile
        else:
            self._clock.at(until, partial(self._give, turn))
            self._back.release()
            turn.go.acquire()
        if until > turn.ends:
            raise Killed


class Lambda:
    """Both functions, fed as the template says: in batches, after a window, so many of each at a time.

    Every poller that is free gathers, and what has come is split evenly between those that gather: what one of
    them could send with one command, two send with two, so this split flatters nobody.
    """

    def __init__(self, clock: Clock, turns: Turns, sqs: SQS, doors: Doors) -> None:
        self._clock, self._turns, self._doors = clock, turns, doors
        self._names = {mapping.queue: name for name, mapping in MAPPINGS.items()}
        self._queues = {name: sqs.add(m.queue, m.visibility, m.receives) for name, m in MAPPINGS.items()}
        self._free = {name: mapping.at_once for name, mapping in MAPPINGS.items()}
        self._gathering: Counter[str] = Counter()
        self.invocations: Counter[str] = Counter()
        self.killed: Counter[str] = Counter()
        sqs.arrives = self._arrive

    def is_idle(self) -> bool:
        """Whether no invocation is under way."""
        return all(self._free[name] == mapping.at_once for name, mapping in MAPPINGS.items())

    def dead(self) -> list[Message]:
        """What came into a dead-letter queue."""
        return [message for queue in self._queues.values() for message in queue.dead]

    def _arrive(self, url: str, message: Message) -> None:
        self._clock.at(message.at, partial(self._gather, self._names[url]))

    def _gather(self, name: str) -> None:
        queue = self._queues[name]
        while self._gathering[name] < self._free[name] and queue.due() <= self._clock.now:
            self._gathering[name] += 1
            self._clock.at(self._clock.now + MAPPINGS[name].window, partial(self._invoke, name))

    def _invoke(self, name: str) -> None:
        mapping, queue, now = MAPPINGS[name], self._queues[name], self._clock.now
        share = -(-queue.visible(now) // self._gathering[name])
        self._gathering[name] -= 1
        messages = queue.receive(now, min(share, mapping.batch))
        if messages:
            self._free[name] -= 1
            self.invocations[name] += 1
            self._turns.begin(partial(self._handle, name, messages, self.invocations[name]), now + mapping.timeout)

    def _handle(self, name: str, messages: list[Message], number: int) -> None:
        """One invocation: its messages go when it ends, but for those that it names; all stay where it dies."""
        ends, failed = self._clock.now + MAPPINGS[name].timeout, {message.id for message in messages}
        try:
            failed = self._doors.handle(name, messages, lambda: ends - self._clock.now, f"{name}-{number}")
        except Killed:
            self.killed[name] += 1
        except (ClientError, BotoCoreError):
            pass  # it failed as a whole: so do its messages
        for message in messages:
            if message.id in failed:
                self._clock.at(message.at, partial(self._gather, name))
            else:
                self._queues[name].delete(message)
        self._free[name] += 1
        self._clock.at(self._clock.now, partial(self._gather, name))
