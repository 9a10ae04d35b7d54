"""Standard queues: delays, visibility, redrive; order is nobody's promise."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from tests.account.clock import Clock
from tests.account.wire import Refused

LARGEST = 262_144
LONGEST_DELAY = 900


@dataclass
class Message:
    """A message, and from when on it can be received.

    `spoiled` counts the receives that a fault is to blame for; `forged` is one that nobody of ours has sent.
    """

    id: str
    body: str
    at: float
    sent: float
    receives: int = 0
    spoiled: int = 0
    forged: bool = False


@dataclass
class Queue:
    """A queue with its dead letters."""

    visibility: float
    most: int
    messages: dict[str, Message] = field(default_factory=dict)
    dead: list[Message] = field(default_factory=list)

    def due(self) -> float:
        """When the next message can be received; infinity where there is none."""
        return min((m.at for m in self.messages.values()), default=float("inf"))

    def visible(self, now: float) -> int:
        """How many messages can be received now."""
        return sum(message.at <= now for message in self.messages.values())

    def receive(self, now: float, limit: int) -> list[Message]:
        """What can be received now, the oldest first, and is hidden from then on; what came too often is dead."""
        visible = sorted((m for m in self.messages.values() if m.at <= now), key=lambda m: (m.at, m.id))
        taken = []
        for message in visible[:limit]:
            message.at, message.receives = now + self.visibility, message.receives + 1
            if message.receives > self.most:
                self.dead.append(self.messages.pop(message.id))
            else:
                taken.append(message)
        return taken

    def delete(self, message: Message) -> None:
        """A message was handled."""
        self.messages.pop(message.id, None)


class SQS:
    """The queues by their URLs.

    `fate` tells the delays, on top of its own, with which a sent message arrives; `arrives` is told each that is put.
    """

    operations = ("SendMessage",)

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._serial = count(1)
        self.queues: dict[str, Queue] = {}
        self.fate: Callable[[str], Iterable[float]] = lambda url: (0,)
        self.arrives: Callable[[str, Message], None] = lambda url, message: None

    def send_message(self, *, QueueUrl: str, MessageBody: str, DelaySeconds: int = 0) -> Any:
        if QueueUrl not in self.queues:
            raise Refused("AWS.SimpleQueueService.NonExistentQueue", "The specified queue does not exist.")
        if not 0 <= DelaySeconds <= LONGEST_DELAY:
            raise Refused("InvalidParameterValue", f"Value {DelaySeconds} for parameter DelaySeconds is invalid.")
        if len(MessageBody.encode()) > LARGEST:
            raise Refused("InvalidParameterValue", f"Message must be shorter than {LARGEST} bytes.")
        for delay in self.fate(QueueUrl):
            self.put(QueueUrl, MessageBody, DelaySeconds + delay)
        return {"MessageId": f"{next(self._serial):08x}"}

    def add(self, url: str, visibility: float, most: int) -> Queue:
        """A new queue: seconds of its visibility timeout, and how often a message is received at most."""
        return self.queues.setdefault(url, Queue(visibility, most))

    def put(self, url: str, body: str, delay: float = 0, forged: bool = False) -> None:
        """Have a message arrive after a while."""
        queue, now = self.queues[url], self._clock.now
        message = Message(f"{next(self._serial):08x}", body, now + delay, now, forged=forged)
        queue.messages[message.id] = message
        self.arrives(url, message)
