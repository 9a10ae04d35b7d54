"""A surge of launches on the account in memory and its clock: how long until all take traffic, and what it costs.

The fleet sends already; a group behind it scales out by so many instances in so many seconds. Functions take time: each
call takes some, those of one invocation one after the other, those of others meanwhile, and an invocation ends at the
function's limit. Queues feed them as the template says: batches, windows, two at a time, and what comes is split between
these two. SendCommand has a rate; who meets it tries again as botocore does. Agents register late, by a lognormal
distribution of which 95 % lie between 30 s and 6 minutes. Nothing else is slow, and nothing fails.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

from botocore.exceptions import ClientError

from local import cloudtrail
from local.strict import Call, Happening
from smtp_fleet.faults import THROTTLES
from smtp_fleet.ssm import BATCH
from tests.account.account import ACCOUNT, REGION, Account, Pace
from tests.account.sqs import Message
from tests.fibers import Fiber, Stage
from tests.smtp_fleet.conftest import DOCUMENT
from tests.smtp_fleet.world import SETTINGS
from tests.storm.befalls import LISTENER, OURS
from tests.storm.doors import DOCUMENT_NAME, MAPPINGS, Doors
from tests.storm.hosts import Hosts
from tests.storm.play import DELAY, SWEEP
from tests.storm.stack import Killed
from tests.test_template import woken

START = 2_000_000_000
PACE = Pace(pending=8, proceed=1, shown=1, rate=1, burst=5)
"""SendCommand: one call a second, five at once; no number is published, and this is a low guess."""

LATENCY = {"dynamodb": 0.008, "sqs": 0.008}
OTHERS = 0.02
"""Seconds that a call takes, by its service, and of all other services."""

MEDIAN, SPREAD = 104, 0.634
"""Of the time from launch until the agent is online: its median in seconds, and the deviation of its logarithm."""

REACHES, RUNS = 1, 4
"""Seconds until a command arrives at its host, and that it runs there (tests/storm/hosts.py)."""

ATTEMPTS, LONGEST_PAUSE = 5, 20
"""botocore's standard mode, as the doors set it: attempts, and the longest pause before one in seconds."""

CHECK, PATIENCE = 300, 7_200
"""Seconds between two sweeps, and after which a surge that has not come to its end is given up."""


class Retrying:
    """A client that tries throttled calls again, as botocore's standard mode does."""

    def __init__(self, client: Any, sleep: Callable[[float], None], random: Random) -> None:
        self._client, self._sleep, self._random = client, sleep, random
        self.exceptions, self.get_paginator = client.exceptions, client.get_paginator

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return partial(self._call, getattr(self._client, name))

    def _call(self, call: Callable[..., Any], **params: Any) -> Any:
        for attempt in range(ATTEMPTS - 1):
            try:
                return call(**params)
            except ClientError as error:
                if error.response["Error"]["Code"] not in THROTTLES:
                    raise
                self._sleep(self._random.random() * min(2**attempt, LONGEST_PAUSE))
        return call(**params)


@dataclass
class Launch:
    """When a launch began, its agent was online, its host was configured, and it took traffic; 0: not yet."""

    began: float
    online: float
    configured: float = 0
    in_service: float = 0


class Surge:
    """One surge, from the first launch until all of them take traffic."""

    def __init__(self, launches: int, seconds: int, seed: int = 0) -> None:
        self._random = Random(seed)
        self._wanted, self._seconds = launches, seconds
        self._account = account = Account(START, PACE)
        self._clock = account.clock
        self._stage = Stage(account.clock)
        self._ends: dict[Fiber, float] = {}
        self._free = {name: mapping.at_once for name, mapping in MAPPINGS.items()}
        self._gathering: Counter[str] = Counter()
        self.launches: dict[str, Launch] = {}
        self.calls: Counter[str] = Counter()
        self.throttled: Counter[str] = Counter()
        self.said: Counter[str] = Counter()
        self.invocations: Counter[str] = Counter()
        self.killed: Counter[str] = Counter()
        self._queues = {
            name: account.sqs.add(mapping.queue, mapping.visibility, mapping.receives)
            for name, mapping in MAPPINGS.items()
        }
        hosts = Hosts(lambda instance: "")
        account.ssm.agent = hosts.course
        self._doors = Doors(self._client, account.clock.seconds, lambda phrase, **keys: self.said.update([phrase]))
        self._hosts = hosts
        self._raise_account()
        account.weather, account.seen, account.happens = self, self._see, self._hear
        account.sqs.arrives = self._arrive

    def _client(self, service: str) -> Retrying:
        def sleep(seconds: float) -> None:
            self._sleep(seconds)

        return Retrying(self._account.client(service, "stack"), sleep, self._random)

    def _raise_account(self) -> None:
        """A tagged balancer, and an empty group behind it."""
        table, ssm, elb = (self._account.client(name) for name in ("dynamodb", "ssm", "elb"))
        table.create_table(TableName="ledger", KeySchema=[], AttributeDefinitions=[], BillingMode="PAY_PER_REQUEST")
        ssm.create_document(Name=DOCUMENT_NAME, Content=json.dumps(DOCUMENT), DocumentType="Command")
        tags = [{"Key": SETTINGS.tag_key, "Value": "enabled"}]
        elb.create_load_balancer(LoadBalancerName=OURS, Listeners=[LISTENER], Tags=tags)
        self._account.client("autoscaling").create_auto_scaling_group(
            AutoScalingGroupName=OURS, MinSize=0, MaxSize=self._wanted, DesiredCapacity=0, LoadBalancerNames=[OURS]
        )

    # ---- what calls take (the weather of the account)

    def before(self, service: str, operation: str, params: dict[str, Any]) -> int:
        """A call takes its time; a function that has reached its limit is killed."""
        self._sleep(LATENCY.get(service, OTHERS))
        self.calls[operation] += 1
        return 1

    def after(self, service: str, operation: str, result: Any) -> Any:
        """Nothing befalls an answer."""
        return result

    def _sleep(self, seconds: float) -> None:
        fiber = self._stage.current
        assert fiber
        fiber.sleep(seconds)
        if self._clock.now > self._ends[fiber]:
            raise Killed

    # ---- what is heard

    def _see(self, call: Call) -> None:
        if call.error:
            self.throttled[call.operation] += call.error in THROTTLES
        if call.service in ("elb", "autoscaling"):
            told = (call.service, call.operation, call.params, call.error, "2033-05-18T03:33:20Z", "id")
            self._event(cloudtrail.event(*told, REGION, ACCOUNT, call.caller))

    def _hear(self, happening: Happening) -> None:
        instance = happening.detail.get("EC2InstanceId", happening.detail.get("instance-id", ""))
        match happening.detail_type, happening.detail:
            case "EC2 Instance State-change Notification", {"state": "running"}:
                online = self._clock.now + self._random.lognormvariate(_log(MEDIAN), SPREAD)
                self.launches[instance] = Launch(self._clock.now, online)
                self._clock.at(online, partial(self._account.ssm.register, instance))
            case "EC2 Instance Launch Successful", _:
                self.launches[instance].in_service = self._clock.now
            case "EC2 Command Invocation Status-change Notification", {"status": "Success"}:
                self.launches[instance].configured = self._clock.now
        event = {"source": happening.source, "detail-type": happening.detail_type, "detail": happening.detail}
        self._event(event | {"account": ACCOUNT, "region": REGION})

    def _event(self, event: dict[str, Any] | None) -> None:
        if event and woken(event):
            self._account.sqs.put("wakes", json.dumps(event), DELAY[event["source"]])

    # ---- queues and functions

    def _arrive(self, url: str, message: Message) -> None:
        [name] = [name for name, mapping in MAPPINGS.items() if mapping.queue == url]
        self._clock.at(message.at, partial(self._gather, name))

    def _gather(self, name: str) -> None:
        """Every poller that is free gathers what is there, for the window."""
        while self._gathering[name] < self._free[name] and self._queues[name].due() <= self._clock.now:
            self._gathering[name] += 1
            self._clock.at(self._clock.now + MAPPINGS[name].window, partial(self._invoke, name))

    def _invoke(self, name: str) -> None:
        """A poller's window is over: it has got its share of what came, and a function handles that."""
        share = -(-self._queues[name].visible(self._clock.now) // self._gathering[name])
        self._gathering[name] -= 1
        messages = self._queues[name].receive(self._clock.now, min(share, MAPPINGS[name].batch))
        if messages:
            self._free[name] -= 1
            self.invocations[name] += 1
            fiber = Fiber(self._stage, partial(self._handle, name, messages, f"run-{self.invocations[name]}"))
            self._ends[fiber] = self._clock.now + MAPPINGS[name].timeout
            fiber.turn()

    def _handle(self, name: str, messages: list[Message], holder: str) -> None:
        ends = self._clock.now + MAPPINGS[name].timeout
        try:
            failed = self._doors.handle(name, messages, lambda: ends - self._clock.now, holder)
        except Killed:
            self.killed[name] += 1
            failed = {message.id for message in messages}
        for message in [message for message in messages if message.id not in failed]:
            self._queues[name].delete(message)
        for message in [message for message in messages if message.id in failed]:
            self._clock.at(message.at, partial(self._gather, name))
        self._free[name] += 1
        self._clock.at(self._clock.now, partial(self._gather, name))

    # ---- the whole of it

    def run(self) -> Surge:
        """Switch the empty fleet on, let the surge come, and wait until it is over."""
        self._sweep()
        self._until(START + CHECK, lambda: False)
        assert self._account.elb.balancers[OURS].on == {25: [SETTINGS.policy_name]}
        for counter in (self.calls, self.throttled, self.said, self.invocations):
            counter.clear()
        began, steps = self._clock.now, 10
        for step in range(1, steps + 1):
            grown = partial(self._grow, self._wanted * step // steps)
            self._clock.at(began + (step - 1) * self._seconds / (steps - 1), grown)
        self._until(began + PATIENCE, self._is_over)
        return self

    def _grow(self, desired: int) -> None:
        self._account.client("autoscaling").set_desired_capacity(
            AutoScalingGroupName=OURS, DesiredCapacity=desired
        )

    def _sweep(self) -> None:
        self._account.sqs.put("wakes", json.dumps(SWEEP))
        self._clock.at(self._clock.now + CHECK, self._sweep)

    def _is_over(self) -> bool:
        return len(self.launches) >= self._wanted and not self.lost()

    def _until(self, end: float, is_over: Callable[[], bool]) -> None:
        checked = self._clock.now
        while self._clock.next_due <= end:
            self._clock.advance(self._clock.next_due)
            if self._clock.now > checked + 1:
                checked = self._clock.now
                if is_over():
                    return

    # ---- what came of it

    def lost(self) -> list[str]:
        """The instances that do not take traffic, or do not expect the header."""
        behind = self._account.elb.balancers[OURS].instances
        return [i for i in self.launches if i not in behind or 25 not in self._hosts[i].expects]

    def waits(self, until: str) -> list[float]:
        """How long each launch took until it was `online`, `configured` or `in_service`, in seconds, sorted."""
        return sorted(getattr(launch, until) - launch.began for launch in self.launches.values())

    def bound(self) -> list[float]:
        """How long each would have taken at least until it was configured, sorted.

        That is its agent's time, the queue's window in which those are gathered that are sent to together, the wait for
        SendCommand's rate, fifty to a call, and the time of the command itself.
        """
        window, waits = MAPPINGS["hand"].window, []
        launches = sorted(self.launches.values(), key=lambda launch: launch.online)
        tokens, filled = float(PACE.burst), 0.0
        while launches:
            sent = launches[0].online + window
            tokens = min(PACE.burst, tokens + (sent - filled) * PACE.rate) if filled else tokens
            sent, tokens = (sent, tokens) if tokens >= 1 else (sent + (1 - tokens) / PACE.rate, 1)
            filled, tokens = sent, tokens - 1
            ready = [launch for launch in launches[:BATCH] if launch.online <= sent]
            waits += [sent + REACHES + RUNS - launch.began for launch in ready]
            launches = launches[len(ready) :]
        return sorted(waits)


def share(waits: Sequence[float], part: float) -> float:
    """The wait that so many of all do not exceed."""
    return waits[min(len(waits) - 1, int(len(waits) * part))]


def _log(value: float) -> float:
    from math import log

    return log(value)


if __name__ == "__main__":
    import sys
    import time

    t0 = time.process_time()
    surge = Surge(int(sys.argv[1]), int(sys.argv[2])).run()
    for name, waits in (("bound", surge.bound()), ("configured", surge.waits("configured")), ("in service", surge.waits("in_service"))):
        print(f"{name:12} p50 {share(waits, .5):6.1f} p99 {share(waits, .99):6.1f} worst {waits[-1]:6.1f}")
    print(len(surge.lost()), "lost; SendCommand", surge.calls["SendCommand"], "throttled", surge.throttled["SendCommand"])
    print(surge.calls.most_common(14), surge.invocations, "killed", surge.killed)
    print(surge.said.most_common(20))
    print(f"{time.process_time() - t0:.1f} s CPU; simulated {surge._clock.now - START - CHECK:.0f} s")
