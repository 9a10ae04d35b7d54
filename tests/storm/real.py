"""Storms over a live fleet of real Postfix behind HAProxy: what befalls its calls, events and functions under mail.

The moments are real ones, so a seed repeats what goes wrong and how often, and not each interleaving.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

from local.cutover import BALANCER, GROUP, LiveFleet
from local.strict.watch import Failure, misfortune
from smtp_fleet.evidence import ASK_WAIT
from smtp_fleet.mind import LEASE
from tests.storm.errors import called, honest

RAGES = 6.0
"""Seconds for which a storm rages at least, until it has struck `LEAST` times."""

LEAST = 6

FATES = ((0,), (0,), (0,), (), (), (0, 0.5), (1.5,), (2, 0))
"""What becomes of an event: one delivery per delay in seconds."""

LINGERS = 20.0
"""Seconds after which nobody is at it any more; in AWS that is `LEASE` for a mind, and `ASK_WAIT` for an ask."""

LEASE_ROW = {"id": {"S": "lease"}}

BUSY = (1, 12)
"""After how many of the functions' calls, at least and at most, another one fails."""

DEADLY = (10, 40)
"""After how many of the functions' calls a function is killed at one."""


class Storm:
    """One storm: a seed tells what people do, how it ends, and what goes wrong; `struck` counts what did."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self.ends = self._random.choice(("enabled", "disabled"))
        self._acts = [self._random.choice(ACTS) for _ in range(4)]
        self.struck: Counter[str] = Counter()
        self._killed = False

    def play(self, fleet: LiveFleet) -> None:
        """Let it rage, then calm down, sweep, and see everything as its last tag asks for."""
        with self._raging(fleet):
            fleet.tag("enabled")
            for act in self._acts:
                self._wait(fleet, RAGES / len(self._acts))
                act(fleet)
            while not self.has_raged:  # a slow machine makes fewer calls in that time
                self._wait(fleet, 1)
        self._bury(fleet)
        fleet.tag(self.ends)
        end = is_on if self.ends == "enabled" else is_plain
        fleet.come_to(lambda: hasten(fleet) and end(fleet), f"all to be {self.ends}", sweep=True)

    @property
    def has_raged(self) -> bool:
        """Whether it killed a function, and made at least `LEAST` calls go wrong."""
        return self.struck["killed"] > 0 and self.struck.total() >= LEAST

    @contextmanager
    def _raging(self, fleet: LiveFleet) -> Iterator[None]:
        fate, fleet.region.bus.fate = fleet.region.bus.fate, lambda event: self._random.choice(FATES)
        functions = {function.variables["AWS_ACCESS_KEY_ID"]: function for function in fleet.region.functions.values()}
        operations = set(called())
        fatal, failing = self._spaced(DEADLY), self._spaced(BUSY)

        def strikes(service: str, operation: str, caller: str) -> Failure | None:
            if caller not in functions or (service, operation) not in operations:
                return None
            if next(fatal):
                self.struck["killed"] += 1
                self._killed = True
                for pid in functions[caller].pids:
                    os.kill(pid, signal.SIGKILL)
            elif next(failing):
                code = self._random.choice(honest(service, operation))
                self.struck[code] += 1
                return Failure(code, takes_effect=code == "InternalFailure")
            return None

        try:
            with misfortune(strikes):
                yield
        finally:
            fleet.region.bus.fate = fate

    def _spaced(self, gap: tuple[int, int]) -> Iterator[bool]:
        """True once in so many calls, by turns of the seed's own length."""
        while True:
            yield from [False] * (self._random.randint(*gap) - 1)
            yield True

    def _wait(self, fleet: LiveFleet, seconds: float) -> None:
        """Time passes; sweeps come, and the lease of a mind that was killed ends long before its 180 seconds."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.5)
            self._bury(fleet)
            if self._random.random() < 0.3:
                fleet.region.sweep()

    def _bury(self, fleet: LiveFleet) -> None:
        if self._killed:
            self._killed = False
            fleet.region.client("dynamodb").delete_item(TableName=fleet.region.template.name("Ledger"), Key=LEASE_ROW)


def hasten(fleet: LiveFleet) -> bool:
    """Minutes pass for a lease that was not given back and for an ask that was never sent; True if no lease is held."""
    dynamodb, table = fleet.region.client("dynamodb"), fleet.region.template.name("Ledger")
    long_ago = time.time() - LINGERS
    rows = dynamodb.scan(TableName=table)["Items"]
    for row in rows:
        key = {"id": row["id"]}
        if key == LEASE_ROW and int(row["until"]["N"]) - LEASE < long_ago:
            dynamodb.delete_item(TableName=table, Key=key)
        elif row.get("command_id") == {"S": ""} and int(row["asked_at"]["N"]) < long_ago:
            dynamodb.update_item(
                TableName=table,
                Key=key,
                UpdateExpression="ADD asked_at :less",
                ConditionExpression="asked_at = :read",
                ExpressionAttributeValues={":less": {"N": str(-ASK_WAIT)}, ":read": row["asked_at"]},
            )
    return LEASE_ROW["id"] not in [row["id"] for row in rows]


def retag(fleet: LiveFleet) -> None:
    """Somebody changes his mind, twice."""
    fleet.tag("disabled")
    fleet.tag("enabled")


def switch_off(fleet: LiveFleet) -> None:
    """Somebody wants it off."""
    fleet.tag("disabled")


def take_the_policy_off(fleet: LiveFleet) -> None:
    """Somebody takes the policy off by hand."""
    fleet.region.client("elb").set_load_balancer_policies_for_backend_server(
        LoadBalancerName=BALANCER, InstancePort=25, PolicyNames=[]
    )


def launch(fleet: LiveFleet) -> None:
    """The group scales out, up to a fourth instance."""
    fleet.region.client("autoscaling").set_desired_capacity(AutoScalingGroupName=GROUP, DesiredCapacity=4)


def nothing(fleet: LiveFleet) -> None:
    """Nobody does anything."""


ACTS = (retag, retag, switch_off, take_the_policy_off, launch, nothing)


def is_on(fleet: LiveFleet) -> bool:
    """Whether all instances are in service behind a balancer that sends, and expect the header."""
    return _in_service(fleet) and fleet.is_on


def is_plain(fleet: LiveFleet) -> bool:
    """Whether nothing of ours is left: policy, hook, or a word in the files of any instance."""
    if not _in_service(fleet):
        return False  # of one that is going no file can be read
    files = fleet.files()
    ours = any(b"smtp-fleet" in text or b"haproxy" in text for each in files.values() for text in each.values())
    stock = all(files[instance] == fleet.stock[instance] for instance in files.keys() & fleet.stock.keys())
    off = not fleet.story.policies(BALANCER) and not fleet.story.hooks(GROUP)
    return off and stock and not ours


def _in_service(fleet: LiveFleet) -> bool:
    states = fleet.story.states(GROUP)
    return set(states.values()) == {"InService"} and states.keys() == fleet.instances.machines.keys()
