"""A live fleet, three instances of real Postfix that never stop taking mail, and the acts that are played on it.

Whatever an act does, what becomes of each message is counted on both ends: what the sender was told, and how often the
mail logs of the instances show the message as queued.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from local.instances import Instances
from local.machine import await_until
from local.region import Record, Region
from local.senders import Senders, Session, Tally, queued
from local.story import TAG, Story
from local.strict import Call, observe

PARAMETERS = {
    "SettleSeconds": "3",
    "CutoverBudgetSeconds": "30",
    "CheckIntervalSeconds": "20",
    "HookTimeoutSeconds": "300",
    "FrontEnd": "keep",
}
"""The compressed clock, next to the template's 60 s, 45 s, an hour and 900 s.

smtpd keeps the port, as it does anyway where a session is open at that moment: with `postscreen` it would be chance
which instances get one, and letting go of a postscreen cuts the sessions behind it (tests/document/test_repair.py).
"""

RETRY = 2.0
"""Seconds after which a sender tries a deferred message again; a mail server takes minutes."""

SWEEP = 2.0
"""Seconds between two sweeps where sweeps are what is waited for; five minutes in the template."""

BALANCER, GROUP = "mx-1", "mx"
FILES = ("/etc/postfix/main.cf", "/etc/postfix/master.cf")
MIND = "ReconcileFleetFunction"


@dataclass(frozen=True)
class Phase:
    """What was said at a moment, in seconds since 1970: by the mind, or of the balancers' data plane."""

    at: float
    who: str
    said: str


@dataclass
class Outcome:
    """What an act came to; all moments are in seconds since 1970."""

    begun: float
    tally: Tally = field(default_factory=Tally)
    phases: list[Phase] = field(default_factory=list)
    sessions: dict[str, str] = field(default_factory=dict)
    queued: Mapping[str, int] = field(default_factory=Counter)

    @property
    def lost(self) -> list[str]:
        """The messages that were accepted, but queued nowhere; and those that were still deferred at the end."""
        return [message for message in self.tally.delivered if not self.queued[message]] + self.tally.unfinished

    @property
    def doubled(self) -> list[str]:
        """The messages that were queued more than once."""
        return [message for message, times in self.queued.items() if times > 1]

    @property
    def is_clean(self) -> bool:
        """Whether no message came to harm and each session that was held open was accepted."""
        held = all(reply.startswith("250 ") for reply in self.sessions.values())
        return held and not self.tally.bounced and not self.lost and not self.doubled

    def __str__(self) -> str:
        tally = self.tally
        parts = [
            f"{len(tally.delivered)} messages",
            f"{len(tally.bounced)} bounced",
            f"{len(self.lost)} lost",
            f"{len(self.doubled)} doubled",
            f"{len(tally.deferred_at)} deferrals",
            f"longest wait {tally.longest:.1f} s",
            *(f"session {kind}: {reply[:40]}" for kind, reply in self.sessions.items()),
        ]
        return ", ".join(parts)


class LiveFleet:
    """Three instances behind one balancer; `around` messages are delivered before and after what an act does.

    `say` is told each phase as it comes, with the seconds since the act began.
    """

    def __init__(
        self,
        region: Region,
        senders: int = 20,
        around: int = 1000,
        say: Callable[[float, Phase], None] = lambda seconds, phase: None,
    ) -> None:
        self.region, self._say = region, say
        self.instances = Instances(region, say=self._hear)
        self.story = Story(region, self.instances)
        self.stock: dict[str, dict[str, bytes]] = {}
        self.outcome = Outcome(time.time())
        self._senders, self._around, self._acts, self._is_deaf = senders, around, 0, False
        region.on_record = self._note

    def close(self) -> None:
        """End every machine and the network."""
        self.region.on_record = None
        self.instances.close()

    def build(self) -> None:
        """Create the balancer, untagged, with a group of three behind it."""
        self.story.create_balancer(BALANCER)
        self.story.create_group(GROUP, BALANCER)
        for _ in range(3):
            instance, _ = self.story.launch(GROUP)
            self.story.await_service(GROUP)
            self.instances.balancers.await_server(BALANCER, instance)
        self.stock = self.files()

    def files(self) -> dict[str, dict[str, bytes]]:
        """The bytes of main.cf and master.cf on each instance."""
        return {i: {path: m.read(path) for path in FILES} for i, m in list(self.instances.machines.items())}

    @property
    def is_plain(self) -> bool:
        """Whether everything is as it was before the first tag: no policy, no hook, each file byte for byte."""
        return not self.story.policies(BALANCER) and not self.story.hooks(GROUP) and self.files() == self.stock

    @property
    def is_on(self) -> bool:
        """Whether the balancer sends, every launch is held, and each Postfix expects the header."""
        sends = self.story.policies(BALANCER) == [{"InstancePort": 25, "PolicyNames": ["EnableProxyProtocol"]}]
        held = [hook["DefaultResult"] for hook in self.story.hooks(GROUP)] == ["ABANDON"]
        expects = all(b"smtpd_upstream_proxy_protocol=haproxy" in f[FILES[1]] for f in self.files().values())
        return sends and held and expects

    def play(self, act: Callable[[LiveFleet], None]) -> Outcome:
        """Let the senders begin, play the act, let them go on, and count when they have finished."""
        self._acts += 1
        name, address = f"act-{self._acts}", self.instances.balancers.address(BALANCER)
        senders = Senders(self.instances.network, address, self._senders, RETRY, name)
        self.outcome = outcome = Outcome(time.time(), senders.tally)
        with senders:
            self.await_delivered(self._around)
            act(self)
            self.await_delivered(self._around)

        def logged() -> bool:
            logs = {i: machine.mail_log() for i, machine in self.instances.machines.items()}
            outcome.queued = Counter({m: n for m, n in queued(logs).items() if m.startswith(f"{name}.")})
            return all(outcome.queued[message] for message in senders.tally.delivered)

        with suppress(TimeoutError):  # the log comes a little after the reply; what is not there by then was lost
            await_until(logged, "the mail logs")
        return outcome

    @contextmanager
    def sessions(self) -> Iterator[None]:
        """Hold two conversations open while the context lasts, one in DATA and one after EHLO, and finish them then."""
        network, address = self.instances.network, self.instances.balancers.address(BALANCER)
        held = {
            kind: Session(network, address, client, f"act-{self._acts}.{kind}.{time.time_ns()}", kind == "DATA")
            for kind, client in (("DATA", "198.51.100.250"), ("idle", "198.51.100.251"))
        }
        yield
        for kind, session in held.items():
            self.outcome.sessions[kind] = session.finish()

    def tag(self, value: str) -> None:
        """Tag the balancer, and wait for nothing."""
        tag = {"Key": TAG["Key"], "Value": value}
        self.region.client("elb").add_tags(LoadBalancerNames=[BALANCER], Tags=[tag])

    def await_delivered(self, more: int) -> None:
        """Wait until so many more messages were delivered."""
        wanted = len(self.outcome.tally.delivered) + more
        await_until(lambda: len(self.outcome.tally.delivered) >= wanted, f"{more} more messages", 120)

    def has_said(self, said: str) -> bool:
        """Whether the mind has said so in this act."""
        return any(phase.said == said for phase in self.outcome.phases)

    def await_deferred(self, more: int) -> None:
        """Wait until so many more attempts were deferred."""
        wanted = len(self.outcome.tally.deferred_at) + more
        await_until(lambda: len(self.outcome.tally.deferred_at) >= wanted, f"{more} deferrals", 60)

    @contextmanager
    def without_events(self) -> Iterator[None]:
        """Lose every event while the context lasts: only sweeps wake the mind."""
        fate, self.region.bus.fate, self._is_deaf = self.region.bus.fate, lambda event: (), True
        try:
            yield
        finally:
            self.region.bus.fate, self._is_deaf = fate, False

    def await_that(self, condition: Callable[[], bool], what: str, timeout: float = 120, sweep: bool = False) -> None:
        """Wait until a condition holds; without events, or if told to, sweep every two seconds meanwhile."""
        due = time.monotonic()

        def swept() -> bool:
            nonlocal due
            if time.monotonic() < due:
                return False
            if condition():
                return True
            self.region.sweep()
            due = time.monotonic() + SWEEP
            return False

        await_until(swept if sweep or self._is_deaf else condition, what, timeout)

    def come_to(self, condition: Callable[[], bool], what: str, sweep: bool = False) -> None:
        """Wait until a condition holds, and until all is quiet; it has to hold then as well."""
        self.await_that(condition, what, sweep=sweep)
        self.story.quiet()
        if not condition():
            raise AssertionError(f"it did not last: {what}")

    def _hear(self, who: str, line: str) -> None:
        if who == "balancer":
            self._phase(Phase(time.time(), "balancer", line.partition(" to ")[0]))

    def _note(self, record: Record) -> None:
        if record.kind == "log" and record.who == MIND:
            said = record.what.get("finding") or ("actions" in record.what and record.what["message"])
            if said:
                over = " (is over)" if record.what["message"] == "finding is over" else ""
                self._phase(Phase(record.at, "mind", f"{said}{over}"))

    def _phase(self, phase: Phase) -> None:
        """Keep what was said, once where it is repeated at once."""
        before = next((p.said for p in reversed(self.outcome.phases) if p.who == phase.who), "")
        if phase.said != before:
            self.outcome.phases.append(phase)
            self._say(phase.at - self.outcome.begun, phase)


class Killer:
    """Kills the mind the moment that a call of its own was made, once for each of the calls that are waited for.

    The call has its effect; the mind never learns of it.
    """

    def __init__(self, fleet: LiveFleet, *moments: Callable[[Call], bool]) -> None:
        self._fleet, self._moments, self.killed = fleet, list(moments), 0
        self._mind = fleet.region.functions[MIND]

    def __enter__(self) -> Killer:
        self._watching = observe(self._see)
        self._watching.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._watching.__exit__(*error)

    def _see(self, call: Call) -> None:
        ours = call.caller == self._mind.variables["AWS_ACCESS_KEY_ID"]
        if ours and self._moments and self._moments[0](call):
            del self._moments[0]
            for pid in self._mind.pids:
                os.kill(pid, signal.SIGKILL)
            self.killed += 1

    def await_kills(self, number: int) -> None:
        """Wait for so many kills; after each the dead mind's lease, 180 s for real, ends at once."""
        ledger = self._fleet.region.template.name("Ledger")
        for each in range(number):
            self._fleet.await_that(lambda killed=each: self.killed > killed, "the mind to be killed", 60)
            self._fleet.region.client("dynamodb").delete_item(TableName=ledger, Key={"id": {"S": "lease"}})
            self._fleet.region.sweep()
