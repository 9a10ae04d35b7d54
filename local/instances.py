"""The Region's instances as real machines: booted when launched, managed once registered, gone when terminated."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event, Thread
from typing import Any

from local.agent import run_document
from local.balancers import Balancers, Loopback
from local.machine import Machine
from local.network import Network
from local.region import Region
from local.strict import ssm


def obstacle() -> str:
    """Why this machine can run no Postfix of ours, in few words; empty if it can."""
    missing = [name for name in ("postfix", "haproxy") if not shutil.which(name, path="/usr/sbin:/usr/bin")]
    if os.geteuid():
        return "network namespaces need root"
    if missing:
        return f"{' and '.join(missing)} missing"
    kinds = ["--mount", "--net", "--pid", "--fork", "--kill-child"]
    tried = subprocess.run(["unshare", *kinds, "true"], capture_output=True, check=False)
    return "this machine allows no namespaces" if tried.returncode else ""


class Instances:
    """Real Postfix behind real HAProxy for a Region; `agent_delay` is how many seconds an agent takes to register.

    With a `loopback` the balancers can be reached from this machine too; `say` is told who (a machine, a balancer, a
    mail) came to what.
    """

    def __init__(
        self,
        region: Region,
        agent_delay: float = 2.0,
        loopback: Loopback | None = None,
        say: Callable[[str, str], None] | None = None,
    ) -> None:
        self.machines: dict[str, Machine] = {}
        self.network = Network()
        self._say = say or (lambda who, line: None)
        elb = region.client("elb", of_the_operator=False)
        self.balancers = Balancers(self.network, elb, self._address, loopback, partial(self._say, "balancer"))
        self._region, self._delay, self._tells = region, agent_delay, say is not None
        self._numbers = deque(range(20, 255))  # of addresses; one given back is taken again as late as can be
        self._booting = ThreadPoolExecutor(4, "boot")
        self._following = ThreadPoolExecutor(1, "balancers")
        self._reading: list[Thread] = []
        self._gone: set[str] = set()
        self._over = Event()
        region.on_launch = lambda instance: self._booting.submit(self._trying, self._boot, instance)
        region.on_terminate = lambda instance: self._booting.submit(self._trying, self._halt, instance)
        region.on_elb_change = self._follow
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
        for thread in self._reading:
            thread.join()
        self.network.close()

    def _follow(self) -> None:
        self._following.submit(self._trying, self.balancers.follow)

    def _trying(self, step: Callable[..., Any], *arguments: Any) -> None:
        """A step that runs on a thread of its own: nobody else would hear that it broke."""
        try:
            step(*arguments)
        except Exception as broken:
            if not self._over.is_set():
                self._say("broken", f"{step.__name__.strip('_')} {' '.join(arguments)}: {broken!r}")
                raise

    def _address(self, instance: str) -> str | None:
        return self.machines[instance].address if instance in self.machines else None

    def _boot(self, instance: str) -> None:
        machine = Machine(self.network, instance, f"10.77.0.{self._numbers.popleft()}")
        self.machines[instance] = machine.boot()
        if self._tells:
            self._say("machine", f"{instance} is up, mail log /proc/{machine.pid}/root/var/log/mail.log")
            self._reading.append(Thread(target=self._read_log, args=(machine,), daemon=True))
            self._reading[-1].start()
        if instance in self._gone:  # while it booted
            return self._halt(instance)
        self._follow()
        if not self._over.wait(self._delay):
            self._region.register_agent(instance)

    def _halt(self, instance: str) -> None:
        self._gone.add(instance)
        if machine := self.machines.pop(instance, None):
            machine.halt()
            self._numbers.append(int(machine.address.rpartition(".")[2]))
            self._say("machine", f"{instance} is gone")
            self._follow()

    def _read_log(self, machine: Machine) -> None:
        """Says whom Postfix took each mail from, until the machine ends."""
        tail = ["tail", "-n", "+1", "-F", "/var/log/mail.log"]
        with machine.popen(tail, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as reading:
            for line in reading.stdout or ():
                if b": client=" in line:
                    self._say("mail", re.sub(r"^\w+ +\d+ [\d:]+ ", "", line.decode("utf-8", "replace")))

    def _execute(
        self, instance: str, content: dict[str, Any], parameters: Mapping[str, list[str]], command: str
    ) -> ssm.Answer:
        outcome = run_document(
            content, parameters, self.machines[instance], instance_id=instance, command_id=command, region="us-east-1"
        )
        return ssm.Answer(outcome.status, outcome.status_details, outcome.response_code, outcome.stdout, outcome.stderr)


class StandIns:
    """Instances without any machine: their agents register, and answer every ask as an able host would.

    Those that are `refusing` answer with the reason that they have there, all others with `word`.
    """

    def __init__(self, region: Region, agent_delay: float = 2.0) -> None:
        self._agents = ThreadPoolExecutor(4, "agents")
        self._over = Event()
        self._region, self._delay = region, agent_delay
        self.refusing: dict[str, str] = {}
        self.word = "a stand-in's word: no Postfix here"
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
        refused, expects = self.refusing.get(instance), verb == "expect" and instance not in self.refusing
        verdict = {
            "contract": 1,
            "verb": verb,
            "epoch": int(epoch),
            "class": "refused" if refused else "ok",
            "reason": refused or self.word,
            "changed": expects,
            "ports": dict.fromkeys(ports.replace("none", "").split(), "proxy" if expects else "plain"),
        }
        status = ("Failed", "Failed", 12) if refused else ("Success", "Success", 0)
        return ssm.Answer(*status, json.dumps(verdict) + "\n", "")
