"""Classic load balancers that carry bytes: HAProxy, configured from nothing but what the ELB API describes.

A ProxyProtocol policy on an instance port is `send-proxy` on its servers, its absence is not. The instances of a
balancer are the machines that are registered with it. Each balancer has an address of its own on the network, and one
on this machine's loopback if it is given a `Loopback`.
"""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.machine import await_until
from local.network import Network

_GLOBAL = """\
global
    stats socket unix@{socket} mode 600
defaults
    mode tcp
    timeout connect 5s
    timeout client 660s
    timeout server 660s
"""

# HAProxy looks for namespaces in /var/run/netns, and for its first one in /proc under the number that it knows of
# itself: it is given both, over this machine's, and they go when it goes.
_NAMED = """
mount -t tmpfs tmpfs /var/run; mkdir /var/run/netns; : >/var/run/netns/here; : >/var/run/netns/fleet
mount --bind "/proc/$1/ns/net" /var/run/netns/here; mount --bind "/proc/$2/ns/net" /var/run/netns/fleet
mount -t proc proc /proc; shift 2; exec "$@"
"""


class Loopback:
    """Addresses 127.77.N.0/24 of this machine that no other Region here uses while this one lasts."""

    def __init__(self) -> None:
        self._mark = socket.socket(socket.AF_UNIX)
        for number in range(256):
            self._prefix = f"127.77.{number}"
            try:
                self._mark.bind(f"\0smtp-fleet {self._prefix}")  # abstract: gone with us, however we go
            except OSError:
                continue
            return
        raise RuntimeError("every 127.77.N.0/24 is taken")

    def close(self) -> None:
        """Give the addresses back."""
        self._mark.close()

    def door(self, last: int, port: int) -> tuple[str, int] | None:
        """An address for a listener: on its port, or on 10,000 more where a program of this machine has that port."""
        for free in (port, port + 10_000 if port <= 55_535 else port - 10_000):
            with socket.socket() as probe:
                try:
                    probe.bind((f"{self._prefix}.{last}", free))
                except OSError:
                    continue
                return f"{self._prefix}.{last}", free
        return None


@dataclass(frozen=True)
class Frontend:
    """One listener as it is carried out: from where, to which (instance id, address) and how."""

    balancer: str
    port: int
    instance_port: int
    address: str
    door: tuple[str, int] | None
    sends: bool
    servers: tuple[tuple[str, str], ...]

    def section(self) -> str:
        """Its part of HAProxy's configuration."""
        how = " send-proxy" if self.sends else ""
        lines = [f"bind {self.address}:{self.port} namespace fleet", f"source {self.address}"]
        if self.door:
            lines.append(f"bind {self.door[0]}:{self.door[1]} namespace here")
        for instance, address in self.servers:
            at = f"{address}:{self.instance_port} namespace fleet"
            lines.append(f"server {instance} {at} check inter 2s fall 2 rise 1{how}")
        return "\n    ".join([f"listen {self.balancer}-{self.port}", *lines]) + "\n"

    def __str__(self) -> str:
        at = ":".join(map(str, self.door)) if self.door else f"{self.address}:{self.port} (inside the network)"
        behind = ", ".join(instance for instance, _ in self.servers) or "no instance"
        return f"{self.balancer} at {at} {'with' if self.sends else 'without'} the header to {behind}"


class Balancers:
    """All balancers of the Region in one HAProxy, replaced without dropping a connection whenever their state changes.

    `addresses` gives the address of an instance id, or None where no machine stands for it; `say` is told what changed.
    """

    def __init__(
        self,
        network: Network,
        elb: Any,
        addresses: Callable[[str], str | None],
        loopback: Loopback | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._network, self._elb, self._addresses, self._loopback = network, elb, addresses, loopback
        self._folder = tempfile.TemporaryDirectory(prefix="smtp-fleet-balancers-")
        self._numbers: dict[str, int] = {}
        self._doors: dict[tuple[str, int], tuple[str, int] | None] = {}
        self._frontends: tuple[Frontend, ...] = ()
        self._say = say
        self._running: list[subprocess.Popen[Any]] = []
        self._generation = 0

    def close(self) -> None:
        """End HAProxy and forget its files."""
        for process in self._running:
            process.kill()
            process.wait()
        self._folder.cleanup()

    def address(self, name: str) -> str:
        """The address of a balancer, given at first sight and kept."""
        if name not in self._numbers:
            self._numbers[name] = len(self._numbers) + 5
            self._network.add_address(self._address(self._numbers[name]))
        return self._address(self._numbers[name])

    @staticmethod
    def _address(number: int) -> str:
        # Machines begin at 10.77.0.20 and reach the other net by their default route.
        return f"10.77.0.{number}" if number < 20 else f"10.77.1.{number - 19}"

    def await_server(self, name: str, instance: str) -> None:
        """Wait until a balancer forwards to an instance."""
        await_until(
            lambda: any(f.balancer == name and instance in dict(f.servers) for f in self._frontends),
            f"{name} to forward to {instance}",
            30,
        )

    def follow(self) -> bool:
        """Bring HAProxy to what the API describes now; False where it is that already."""
        frontends = tuple(part for balancer in self._described() for part in self._carried_out(*balancer))
        if frontends == self._frontends:
            return False
        self._replace("".join(frontend.section() for frontend in frontends))
        before, self._frontends = self._frontends, frontends
        for frontend in frontends:
            if frontend not in before:
                self._say(str(frontend))
        return True

    def _described(self) -> Iterator[tuple[Mapping[str, Any], frozenset[str]]]:
        pages = self._elb.get_paginator("describe_load_balancers").paginate()
        for balancer in [b for page in pages for b in page["LoadBalancerDescriptions"]]:
            try:
                told = self._elb.describe_load_balancer_policies(LoadBalancerName=balancer["LoadBalancerName"])
            except self._elb.exceptions.AccessPointNotFoundException:  # gone meanwhile
                continue
            yield balancer, frozenset(p["PolicyName"] for p in told["PolicyDescriptions"] if _is_proxy(p))

    def _carried_out(self, balancer: Mapping[str, Any], proxy: frozenset[str]) -> Iterator[Frontend]:
        name = balancer["LoadBalancerName"]
        policies = {b["InstancePort"]: b["PolicyNames"] for b in balancer["BackendServerDescriptions"]}
        servers = [(i["InstanceId"], self._addresses(i["InstanceId"])) for i in balancer["Instances"]]
        for listener in (described["Listener"] for described in balancer["ListenerDescriptions"]):
            yield Frontend(
                balancer=name,
                port=listener["LoadBalancerPort"],
                instance_port=listener["InstancePort"],
                address=self.address(name),
                door=self._door(name, listener["LoadBalancerPort"]),
                sends=bool(proxy.intersection(policies.get(listener["InstancePort"], ()))),
                servers=tuple((instance, at) for instance, at in servers if at),
            )

    def _door(self, name: str, port: int) -> tuple[str, int] | None:
        if self._loopback and (name, port) not in self._doors:
            self.address(name)
            self._doors[name, port] = self._loopback.door(self._numbers[name], port)
        return self._doors.get((name, port))

    def _replace(self, configuration: str) -> None:
        self._generation += 1
        folder, number = Path(self._folder.name), self._generation
        # Its name alone: the path of a socket may have about a hundred characters, that of a folder has more.
        Path(folder, f"{number}.cfg").write_text(_GLOBAL.format(socket=f"{number}.sock") + configuration)
        named = ["unshare", "--mount", "sh", "-euc", _NAMED, "sh", str(os.getpid()), str(self._network.pid)]
        with Path(folder, f"{number}.log").open("wb") as log:
            begun = self._network.popen(
                [*named, "haproxy", "-db", "-f", f"{number}.cfg"], cwd=folder, stdout=log, stderr=log
            )
        ready = Path(folder, f"{number}.sock")
        await_until(lambda: ready.exists() or begun.poll() is not None, "HAProxy to listen")
        if begun.returncode is not None:
            raise RuntimeError(f"HAProxy ended at once: {Path(folder, f'{number}.log').read_text()}")
        for old in self._running:
            old.send_signal(10)  # SIGUSR1: accept no more, and end with the last connection
        self._running = [*(old for old in self._running if old.poll() is None), begun]


def _is_proxy(policy: Mapping[str, Any]) -> bool:
    attributes = {a["AttributeName"]: a["AttributeValue"].lower() for a in policy["PolicyAttributeDescriptions"]}
    return policy["PolicyTypeName"] == "ProxyProtocolPolicyType" and attributes.get("ProxyProtocol") == "true"
