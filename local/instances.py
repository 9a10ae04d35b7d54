"""The Region's instances as real machines: booted when launched, managed once registered, gone when terminated."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from threading import Event
from typing import Any

from local.agent import run_document
from local.balancers import Balancers
from local.machine import Machine
from local.network import Network
from local.region import Region
from local.strict import ssm


class Instances:
    """Real Postfix behind real HAProxy for a Region; `agent_delay` is how many seconds an agent takes to register."""

    def __init__(self, region: Region, agent_delay: float = 2.0) -> None:
        self.machines: dict[str, Machine] = {}
        self.network = Network()
        self.balancers = Balancers(self.network, region.client("elb"), self._address)
        self._region, self._delay = region, agent_delay
        self._numbers = count(20)
        self._booting = ThreadPoolExecutor(4, "boot")
        self._following = ThreadPoolExecutor(1, "balancers")
        self._over = Event()
        region.on_launch = lambda instance: self._booting.submit(self._boot, instance)
        region.on_terminate = lambda instance: self._booting.submit(self._halt, instance)
        region.on_elb_change = lambda: self._following.submit(self.balancers.follow)
        region.executor = self._execute

    def close(self) -> None:
        """End every machine, balancer and the network."""
        self._over.set()
        self._region.on_launch = self._region.on_terminate = self._region.on_elb_change = None
        self._booting.shutdown(cancel_futures=True)
        self._following.shutdown(cancel_futures=True)
        self.balancers.close()
        for machine in self.machines.values():
            machine.halt()
        self.network.close()

    def _address(self, instance: str) -> str | None:
        return self.machines[instance].address if instance in self.machines else None

    def _boot(self, instance: str) -> None:
        machine = Machine(self.network, instance, f"10.77.0.{next(self._numbers)}")
        self.machines[instance] = machine.boot()
        self._following.submit(self.balancers.follow)
        if not self._over.wait(self._delay):
            self._region.register_agent(instance)

    def _halt(self, instance: str) -> None:
        if instance in self.machines:
            self.machines[instance].halt()

    def _execute(
        self, instance: str, content: dict[str, Any], parameters: Mapping[str, list[str]], command: str
    ) -> ssm.Answer:
        outcome = run_document(
            content, parameters, self.machines[instance], instance_id=instance, command_id=command, region="us-east-1"
        )
        return ssm.Answer(outcome.status, outcome.status_details, outcome.response_code, outcome.stdout, outcome.stderr)


class StandIns:
    """Instances without any machine: their agents register, and answer every ask as an able host would."""

    def __init__(self, region: Region, agent_delay: float = 2.0) -> None:
        self._agents = ThreadPoolExecutor(4, "agents")
        self._over = Event()
        self._region, self._delay = region, agent_delay
        region.on_launch = lambda instance: self._agents.submit(self._register, instance)
        region.executor = self._answer

    def close(self) -> None:
        """Let no more agents register."""
        self._over.set()
        self._region.on_launch = None
        self._agents.shutdown(cancel_futures=True)

    def _register(self, instance: str) -> None:
        if not self._over.wait(self._delay):
            self._region.register_agent(instance)

    def _answer(
        self, instance: str, content: dict[str, Any], parameters: Mapping[str, list[str]], command: str
    ) -> ssm.Answer:
        [verb], [ports], [epoch] = (parameters[name] for name in ("Verb", "Ports", "Epoch"))
        verdict = {
            "contract": 1,
            "verb": verb,
            "epoch": int(epoch),
            "class": "ok",
            "reason": "a stand-in's word: no Postfix here",
            "changed": verb == "expect",
            "ports": dict.fromkeys(ports.replace("none", "").split(), "proxy" if verb == "expect" else "plain"),
        }
        return ssm.Answer("Success", "Success", 0, json.dumps(verdict) + "\n", "")
