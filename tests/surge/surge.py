"""A surge of launches on the account in memory and its clock: when all are configured and in service, and what it cost.

The fleets send already, each a balancer with one group of at most `MOST` instances; all groups scale out at once, in
`STEPS` steps. Mind and hand are the real ones, side by side, and every call takes its time. SendCommand has a rate; who
meets it tries again as botocore does. Agents register late. Nothing else is slow, and nothing fails.
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
from tests.smtp_fleet.conftest import DOCUMENT
from tests.smtp_fleet.world import SETTINGS
from tests.storm.befalls import LISTENER
from tests.storm.doors import DOCUMENT_NAME, Doors
from tests.storm.hosts import Hosts
from tests.storm.play import DELAY, START, SWEEP
from tests.surge.lambdas import Lambda, Turns
from tests.test_template import woken

PACE = Pace(hidden=1, described=2, pending=8, proceed=1, shown=1, rate=1, burst=5)
"""SendCommand: one call a second, five at once; no rate is published, and this is a low guess."""

LATENCY = {"dynamodb": 0.005, "sqs": 0.01}
OTHERS = 0.05
"""Seconds that a call takes, by its service, and one of any other service; assumed."""

MOST = 1_000
"""Instances behind one classic balancer (its published quota), and so in one fleet here."""

STEPS = 10
"""Steps in which a surge comes, the first at its begin and the last at its end."""

COMMAND = 5
"""Seconds from SendCommand to its end on a host (tests/storm/hosts.py)."""

ATTEMPTS, LONGEST_PAUSE = 5, 20
"""botocore's standard mode, as the doors set it: attempts, and the longest pause before one in seconds."""

CHECK, PATIENCE = 300, 3_600
"""Seconds between two sweeps, and after which a surge that is not over is given up."""


def registers(random: Random) -> float:
    """Seconds from a launch until its agent is online: nine of ten in 20 to 90, the tail in up to six minutes."""
    return random.triangular(20, 90, 40) if random.random() < 0.9 else random.triangular(90, 360, 90)


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
    """When a launch began, when its agent is online, when it was configured and in service (0: not yet)."""

    began: float
    online: float
    configured: float = 0
    in_service: float = 0


class Surge:
    """So many launches in so many seconds; the same numbers always give the same story."""

    def __init__(self, launches: int, seconds: float, seed: int = 0) -> None:
        self._random = Random(seed)
        self._wanted, self._seconds = launches, seconds
        self._fleets = {f"mx-{n}": min(MOST, launches - n * MOST) for n in range(-(-launches // MOST))}
        self._account = account = Account(START, PACE)
        self._clock = account.clock
        self._turns = Turns(account.clock)
        self.hosts = Hosts(lambda instance: "")
        self.launches: dict[str, Launch] = {}
        self.calls: Counter[str] = Counter()
        self.throttled: Counter[str] = Counter()
        self.said: Counter[str] = Counter()
        doors = Doors(self._client, account.clock.seconds, lambda phrase, **keys: self.said.update([phrase]))
        self.functions = Lambda(account.clock, self._turns, account.sqs, doors)
        self._raise_account()
        account.weather, account.seen, account.happens = self, self._see, self._hear
        account.ssm.agent = self.hosts.course

    def _client(self, service: str) -> Retrying:
        return Retrying(self._account.client(service, "stack"), self._turns.sleep, self._random)

    def _raise_account(self) -> None:
        """The tagged balancers, and an empty group behind each."""
        table, ssm, elb = (self._account.client(name) for name in ("dynamodb", "ssm", "elb"))
        table.create_table(TableName="ledger", KeySchema=[], AttributeDefinitions=[], BillingMode="PAY_PER_REQUEST")
        ssm.create_document(Name=DOCUMENT_NAME, Content=json.dumps(DOCUMENT), DocumentType="Command")
        tags = [{"Key": SETTINGS.tag_key, "Value": "enabled"}]
        for name, size in self._fleets.items():
            elb.create_load_balancer(LoadBalancerName=name, Listeners=[LISTENER], Tags=tags)
            self._account.client("autoscaling").create_auto_scaling_group(
                AutoScalingGroupName=name, MinSize=0, MaxSize=size, DesiredCapacity=0, LoadBalancerNames=[name]
            )

    # ---- what calls take (the weather of the account)

    def before(self, service: str, operation: str, params: dict[str, Any]) -> int:
        """A call takes its time, and then effect, once.

        But for the document's version: a process asks for it once in its life, and up to Python 3.11 it does so under a
        lock (functools.cached_property) that all processes would share here, and nobody may sleep with.
        """
        if operation != "DescribeDocument":
            self._turns.sleep(LATENCY.get(service, OTHERS))
        return 1

    def after(self, service: str, operation: str, result: Any) -> Any:
        """Nothing befalls an answer."""
        return result

    # ---- what is heard

    def _see(self, call: Call) -> None:
        self.calls[call.operation] += 1
        self.throttled[call.operation] += call.error in THROTTLES
        told = (call.service, call.operation, call.params, call.error, "2033-05-18T03:33:20Z", "id")
        self._event(cloudtrail.event(*told, REGION, ACCOUNT, call.caller))

    def _hear(self, happening: Happening) -> None:
        detail, now = happening.detail, self._clock.now
        instance = detail.get("EC2InstanceId", detail.get("instance-id", ""))
        match happening.detail_type, detail.get("status", detail.get("state")):
            case "EC2 Instance State-change Notification", "running":
                self.launches[instance] = launch = Launch(now, now + registers(self._random))
                self._clock.at(launch.online, partial(self._account.ssm.register, instance))
            case "EC2 Command Invocation Status-change Notification", "Success":
                self.launches[instance].configured = now
            case "EC2 Instance Launch Successful", _:
                self.launches[instance].in_service = now
        event = {"source": happening.source, "detail-type": happening.detail_type, "detail": detail}
        self._event(event | {"account": ACCOUNT, "region": REGION})

    def _event(self, event: dict[str, Any] | None) -> None:
        """An event arrives as a wake, if a rule of the template takes it."""
        if event and woken(event):
            self._account.sqs.put("wakes", json.dumps(event), DELAY[event["source"]])

    # ---- the whole of it

    def run(self) -> Surge:
        """Switch the empty fleets on, let the surge come, and wait until it is over."""
        self._sweep()
        self._clock.advance(START + CHECK)
        for name in self._fleets:
            assert self._account.elb.balancers[name].on == {25: [SETTINGS.policy_name]}, f"{name} does not send yet"
        for counter in (self.calls, self.throttled, self.said, self.functions.invocations):
            counter.clear()
        began = self._clock.now
        for step in range(STEPS):
            self._clock.at(began + step * self._seconds / (STEPS - 1), partial(self._grow, (step + 1) / STEPS))
        while not self._is_over() and self._clock.now < began + PATIENCE:
            self._clock.advance(self._clock.now + 1)
        return self

    def _grow(self, part: float) -> None:
        for name, size in self._fleets.items():
            self._account.client("autoscaling").set_desired_capacity(
                AutoScalingGroupName=name, DesiredCapacity=round(size * part)
            )

    def _sweep(self) -> None:
        self._account.sqs.put("wakes", json.dumps(SWEEP))
        self._clock.at(self._clock.now + CHECK, self._sweep)

    def _is_over(self) -> bool:
        return len(self.launches) >= self._wanted and self.functions.is_idle() and not self.lost()

    # ---- what came of it

    def lost(self) -> list[str]:
        """The instances that do not take traffic, or do not expect the header."""
        behind = frozenset().union(*(self._account.elb.balancers[name].instances for name in self._fleets))
        return [i for i in self.launches if i not in behind or 25 not in self.hosts[i].expects]

    def waits(self, until: str) -> list[float]:
        """Seconds that each launch took until it was `online`, `configured` or `in_service`, sorted."""
        return sorted(getattr(launch, until) - launch.began for launch in self.launches.values())

    def bound(self) -> list[float]:
        """Seconds that each would take at least until it is configured, by a sender that knows all, sorted.

        In the order in which agents come online, fifty share a call of SendCommand's rate; none is sent to before its
        agent is online and its call's turn has come, and then the command itself takes its time.
        """
        launches = sorted(self.launches.values(), key=lambda launch: launch.online)
        first = launches[0].online
        turns = (first + max(0, n // BATCH + 1 - PACE.burst) / PACE.rate for n in range(len(launches)))
        return sorted(max(each.online, turn) + COMMAND - each.began for each, turn in zip(launches, turns, strict=True))


def share(waits: Sequence[float], part: float) -> float:
    """The wait that so great a part of all does not exceed."""
    return waits[min(len(waits) - 1, int(len(waits) * part))]


@dataclass(frozen=True)
class Ended:
    """How a surge ended: who is lost, calls of SendCommand (those throttled too), and waits in seconds, sorted."""

    launches: int
    lost: tuple[str, ...]
    dead: int
    sent: int
    throttled: int
    configured: list[float]
    in_service: list[float]
    bound: list[float]


def ended(launches: int, seconds: float, seed: int = 0) -> Ended:
    """The surge of these numbers, over and done with."""
    surge = Surge(launches, seconds, seed).run()
    return Ended(
        len(surge.launches),
        tuple(surge.lost()),
        len(surge.functions.dead()),
        surge.calls["SendCommand"],
        surge.throttled["SendCommand"],
        surge.waits("configured"),
        surge.waits("in_service"),
        surge.bound(),
    )
