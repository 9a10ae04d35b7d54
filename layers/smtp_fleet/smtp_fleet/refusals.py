"""Why a fleet may not be switched on at an instance port; each reason names the balancer or group that it is about."""

from __future__ import annotations

from collections.abc import Iterator

from smtp_fleet.fleet import Fleet, Listener, LoadBalancer
from smtp_fleet.settings import MindSettings
from smtp_fleet.tag import Mode, Wish


def refusals(fleet: Fleet, port: int, settings: MindSettings) -> tuple[str, ...]:
    """All reasons against attaching the policy to `port`, in a stable order; none means it may be attached."""
    if all(told.mode is Mode.ABSENT for told in fleet.wishes.values()) and not any(
        b.sends(port) for b in fleet.balancers
    ):
        return ()  # nobody asks for it: what is left of us is taken off
    balancers = [
        reason for b in fleet.balancers for reason in _against(b, fleet.wishes[b.name], port, settings.policy_name)
    ]
    pattern = settings.group_name_pattern
    groups = [
        f"group {group.name} does not match GroupNamePattern {pattern}, so its launches cannot be held"
        for group in fleet.groups
        if not group.matches(pattern)
    ]
    targets = [
        f"target group {name} of group {group.name} also feeds instance port {port}"
        for group in fleet.groups
        for name, target_port in sorted(group.target_ports.items())
        if target_port == port
    ]
    return (*balancers, *groups, *targets)


def _against(balancer: LoadBalancer, wish: Wish, port: int, policy_name: str) -> Iterator[str]:
    behind = [listener for listener in balancer.listeners if listener.instance_port == port]
    if not behind:
        return
    if wish.mode is Mode.ABSENT and balancer.sends(port):
        return  # a tag that vanished while sending: a finding of its own
    if wish.mode is Mode.ABSENT:
        yield f"load balancer {balancer.name}, which is not tagged, also feeds instance port {port}"
        return
    mail = [listener for listener in behind if listener.port in wish.ports]
    for listener in mail:
        if not _carries_header(listener):
            yield (
                f"listener {listener.port} of {balancer.name} is {listener.protocol} to {listener.instance_protocol}: "
                "the header needs TCP or SSL in front and TCP behind"
            )
    for listener in behind:
        if listener not in mail:
            yield f"listener {listener.port} of {balancer.name}, which is not a mail port, shares instance port {port}"
    if policy_name in balancer.policies - balancer.proxy_policies and not balancer.proxy_policies:
        yield f"policy {policy_name} of {balancer.name} exists and is no ProxyProtocol policy"


def _carries_header(listener: Listener) -> bool:
    """The policy "operates on TCP/SSL listeners only" (classic load balancer guide); the API itself does not check."""
    return listener.protocol in ("TCP", "SSL") and listener.instance_protocol == "TCP"
