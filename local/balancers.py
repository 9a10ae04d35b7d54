"""Classic load balancers that carry bytes: HAProxy, configured from nothing but what the ELB API describes.

A ProxyProtocol policy on an instance port is `send-proxy` on its servers, its absence is not. The instances of a
balancer are the machines that are registered with it. Each balancer has an address of its own on the network.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from local.machine import await_until
from local.network import Network

_GLOBAL = """\
global
    stats socket {socket} mode 600
defaults
    mode tcp
    timeout connect 5s
    timeout client 660s
    timeout server 660s
"""


class Balancers:
    """All balancers of the Region in one HAProxy, replaced without dropping a connection whenever their state changes.

    `addresses` gives the address of an instance id, or None where no machine stands for it.
    """

    def __init__(self, network: Network, elb: Any, addresses: Callable[[str], str | None]) -> None:
        self._network, self._elb, self._addresses = network, elb, addresses
        self._folder = tempfile.TemporaryDirectory(prefix="smtp-fleet-balancers-")
        self._own: dict[str, str] = {}
        self._configuration = ""
        self._running: subprocess.Popen[Any] | None = None
        self._generation = 0

    def close(self) -> None:
        """End HAProxy and forget its files."""
        if self._running:
            self._running.kill()
            self._running.wait()
        self._folder.cleanup()

    def address(self, name: str) -> str:
        """The address of a balancer, given at first sight and kept."""
        if name not in self._own:
            self._own[name] = f"10.77.0.{5 + len(self._own)}"
            self._network.add_address(self._own[name])
        return self._own[name]

    def await_server(self, name: str, instance: str) -> None:
        """Wait until a balancer forwards to an instance."""
        wanted = re.compile(rf"^listen {re.escape(name)}-\d+\n(    .*\n)*    server {re.escape(instance)} ", re.M)
        await_until(lambda: wanted.search(self._configuration), f"{name} to forward to {instance}", 30)

    def follow(self) -> bool:
        """Bring HAProxy to what the API describes now; False where it is that already."""
        frontends = [part for balancer in self._described() for part in self._frontends(*balancer)]
        configuration = "".join(frontends)
        if configuration == self._configuration:
            return False
        self._replace(configuration)
        self._configuration = configuration
        return True

    def _described(self) -> list[tuple[Mapping[str, Any], frozenset[str]]]:
        pages = self._elb.get_paginator("describe_load_balancers").paginate()
        found = []
        for balancer in (b for page in pages for b in page["LoadBalancerDescriptions"]):
            told = self._elb.describe_load_balancer_policies(LoadBalancerName=balancer["LoadBalancerName"])
            found.append((balancer, frozenset(p["PolicyName"] for p in told["PolicyDescriptions"] if _is_proxy(p))))
        return found

    def _frontends(self, balancer: Mapping[str, Any], proxy: frozenset[str]) -> list[str]:
        name, address = balancer["LoadBalancerName"], self.address(balancer["LoadBalancerName"])
        policies = {b["InstancePort"]: b["PolicyNames"] for b in balancer["BackendServerDescriptions"]}
        parts = []
        for listener in (described["Listener"] for described in balancer["ListenerDescriptions"]):
            front, port = listener["LoadBalancerPort"], listener["InstancePort"]
            how = "send-proxy " if proxy.intersection(policies.get(port, ())) else ""
            servers = [(i["InstanceId"], self._addresses(i["InstanceId"])) for i in balancer["Instances"]]
            lines = [f"    bind {address}:{front}", f"    source {address}"]
            lines += [f"    server {i} {at}:{port} check inter 2s fall 2 rise 1 {how}" for i, at in servers if at]
            parts.append(f"listen {name}-{front}\n" + "\n".join(lines) + "\n")
        return parts

    def _replace(self, configuration: str) -> None:
        self._generation += 1
        socket = Path(self._folder.name, f"{self._generation}.sock")
        path = Path(self._folder.name, f"{self._generation}.cfg")
        path.write_text(_GLOBAL.format(socket=socket) + configuration)
        old, self._running = self._running, None
        self._running = self._network.popen(
            ["haproxy", "-db", "-f", str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        await_until(socket.exists, "HAProxy to listen")
        if old:
            old.send_signal(10)  # SIGUSR1: accept no more, and end with the last connection


def _is_proxy(policy: Mapping[str, Any]) -> bool:
    attributes = {a["AttributeName"]: a["AttributeValue"].lower() for a in policy["PolicyAttributeDescriptions"]}
    return policy["PolicyTypeName"] == "ProxyProtocolPolicyType" and attributes.get("ProxyProtocol") == "true"
