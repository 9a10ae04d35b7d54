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
from tests.storm.errors import called, honest

RAGES = 6.0
"""Seconds for which a storm rages."""

FATES = ((0,), (0,), (0,), (), (), (0, 0.5), (1.5,), (2, 0))
"""What becomes of an event: one delivery per delay in seconds."""

BUSY = 0.08
"""The share of the functions' calls that fail."""

DEADLY = 0.01
"""The share of the functions' calls at which the function is killed."""


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
        self._bury(fleet)
        fleet.tag(self.ends)
        end = is_on if self.ends == "enabled" else is_plain
        fleet.sweep_until(lambda: end(fleet), f"all to be {self.ends}")

    @contextmanager
    def _raging(self, fleet: LiveFleet) -> Iterator[None]:
        fate, fleet.region.bus.fate = fleet.region.bus.fate, lambda event: self._random.choice(FATES)
        functions = {function.variables["AWS_ACCESS_KEY_ID"]: function for function in fleet.region.functions.values()}
        operations = set(called())

        def strikes(service: str, operation: str, caller: str) -> Failure | None:
            if caller not in functions or (service, operation) not in operations:
                return None
            chance = self._random.random()
            if chance < DEADLY:
                self.struck["killed"] += 1
                self._killed = True
                for pid in functions[caller].pids:
                    os.kill(pid, signal.SIGKILL)
            elif chance < DEADLY + BUSY:
                code = self._random.choice(honest(service, operation))
                self.struck[code] += 1
                return Failure(code, takes_effect=code == "InternalFailure")
            return None

        try:
            with misfortune(strikes):
                yield
        finally:
            fleet.region.bus.fate = fate

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
            table = fleet.region.template.name("Ledger")
            fleet.region.client("dynamodb").delete_item(TableName=table, Key={"id": {"S": "lease"}})


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
    files = fleet.files()
    ours = any(b"smtp-fleet" in text or b"haproxy" in text for each in files.values() for text in each.values())
    stock = all(files[instance] == fleet.stock[instance] for instance in files.keys() & fleet.stock.keys())
    off = not fleet.story.policies(BALANCER) and not fleet.story.hooks(GROUP)
    return _in_service(fleet) and off and stock and not ours


def _in_service(fleet: LiveFleet) -> bool:
    states = fleet.story.states(GROUP)
    return set(states.values()) == {"InService"} and states.keys() == fleet.instances.machines.keys()
