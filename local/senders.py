"""Mail clients that keep sending through a balancer, retry what is deferred, and count what became of each message."""

from __future__ import annotations

import smtplib
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Event, Lock, Thread
from typing import Any, Self

from local.network import Network

RECIPIENT = "postmaster@example.net"


@dataclass
class Tally:
    """What became of the messages; `longest` is the longest time in seconds that one took, retries included.

    `delivered_at` and `deferred_at` are the moments, in seconds since 1970.
    """

    delivered: list[str] = field(default_factory=list)
    bounced: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    deferrals: Counter[str] = field(default_factory=Counter)
    delivered_at: list[float] = field(default_factory=list)
    deferred_at: list[float] = field(default_factory=list)
    longest: float = 0.0


class Senders:
    """So many clients, each with an address and messages of its own, that send while the context lasts.

    As a mail server does, each takes a 4xx or a broken connection for a deferral and tries again after `retry` seconds,
    and a 5xx, or a 2xx where none was due, for a bounce. `name` tells their messages from those of others.
    """

    def __init__(self, network: Network, address: str, count: int, retry: float = 1.0, name: str = "mail") -> None:
        self.tally, self._name = Tally(), name
        self._network, self._to, self._retry = network, (address, 25), retry
        self._lock, self._over = Lock(), Event()
        self._clients = [f"198.51.100.{20 + number}" for number in range(count)]
        self._threads = [Thread(target=self._send_on, args=(client,), daemon=True) for client in self._clients]

    def __enter__(self) -> Self:
        for client in self._clients:
            self._network.add_address(client)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def await_delivered(self, more: int, timeout: float = 60) -> None:
        """Wait until so many more messages were delivered."""
        wanted, end = len(self.tally.delivered) + more, time.monotonic() + timeout
        while len(self.tally.delivered) < wanted:
            if time.monotonic() > end:
                raise TimeoutError(f"waited {timeout:g} s for {more} more messages")
            self._over.wait(0.05)

    def _send_on(self, client: str) -> None:
        number = 0
        while not self._over.is_set():
            number += 1
            message, begun = f"{self._name}.{client.rpartition('.')[2]}.{number}", time.monotonic()
            outcome = self._deliver(client, message)
            with self._lock:
                getattr(self.tally, outcome).append(message)
                if outcome == "delivered":
                    self.tally.delivered_at.append(time.time())
                self.tally.longest = max(self.tally.longest, time.monotonic() - begun)

    def _deliver(self, client: str, message: str) -> str:
        """Try until it is delivered or bounced; when all is over, a deferred message gets its last tries, too."""
        for _ in range(60):
            deferred = self._attempt(client, message)
            if deferred is None:
                return "delivered"
            if not deferred:
                return "bounced"
            with self._lock:
                self.tally.deferrals[deferred] += 1
                self.tally.deferred_at.append(time.time())
            self._over.wait(self._retry)
        return "unfinished"

    def _attempt(self, client: str, message: str) -> str | None:
        """None: delivered; why it was deferred; or empty: bounced."""
        try:
            with _Connection(self._network, client, self._to) as smtp:
                smtp.sendmail(f"{message}@example.org", [RECIPIENT], _text(message))
        except smtplib.SMTPRecipientsRefused as refused:
            return _deferral(refused.recipients[RECIPIENT][0])
        except smtplib.SMTPResponseException as refused:
            return _deferral(refused.smtp_code)
        except (OSError, smtplib.SMTPServerDisconnected) as error:
            return type(error).__name__
        return None


class Session:
    """A client's conversation that rests, in the middle of its message or before it, until it is finished."""

    def __init__(self, network: Network, address: str, client: str, message: str, in_data: bool) -> None:
        network.add_address(client)
        self._sender, self._text, self._in_data = f"{message}@example.org", _text(message), in_data
        self._smtp = _Connection(network, client, (address, 25))
        self._smtp.ehlo()
        if in_data:
            self._begin()
            self._smtp.send(self._text[:10])

    def _begin(self) -> None:
        for code, answer in (self._smtp.mail(self._sender), self._smtp.rcpt(RECIPIENT), self._smtp.docmd("DATA")):
            if not 200 <= code < 400:
                raise smtplib.SMTPResponseException(code, answer)

    def finish(self) -> str:
        """The reply to the whole message, or why there is none."""
        try:
            if not self._in_data:
                self._begin()
            self._smtp.send(self._text[10 if self._in_data else 0 :] + ".\r\n")
            code, answer = self._smtp.getreply()
        except smtplib.SMTPResponseException as refused:
            code, answer = refused.smtp_code, bytes(refused.smtp_error)
        except (OSError, smtplib.SMTPServerDisconnected) as error:
            return repr(error)
        finally:
            self._smtp.close()
        return f"{code} {answer.decode()}"


class _Connection(smtplib.SMTP):
    def __init__(self, network: Network, client: str, to: tuple[str, int]) -> None:
        self._network, self._client, self._to = network, client, to
        super().__init__(*to, timeout=40)

    def _get_socket(self, host: str, port: int, timeout: float) -> Any:
        return self._network.connect(self._to, self._client, timeout)


def _text(message: str) -> str:
    return f"From: {message}@example.org\r\nTo: {RECIPIENT}\r\n\r\nHello.\r\n"


def _deferral(code: int) -> str:
    return str(code) if 400 <= code < 500 else ""


def queued(logs: Mapping[str, str]) -> Counter[str]:
    """How often each message was queued, over the mail logs of all instances.

    A queue manager that begins anew after a reload logs what it finds in its queue once more: the same queue id.
    """
    found = set()
    for instance, log in logs.items():
        for line in log.splitlines():
            if "/qmgr[" in line and "from=<" in line:
                before, _, after = line.partition(": from=<")
                found.add((instance, before.rpartition(" ")[2], after.partition("@")[0]))
    return Counter(message for _, _, message in found)
