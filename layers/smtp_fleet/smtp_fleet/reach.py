"""Who can reach an instance's mail port past the balancer, and the commands that close each way.

Where Postfix expects the PROXY protocol, whoever connects to it directly writes the client's address himself. Pure:
security groups as the API tells them go in, ways come out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum


class Source(Enum):
    """What a rule lets in."""

    IPV4 = "IPv4"
    IPV6 = "IPv6"
    PREFIX_LIST = "prefix list"
    GROUP = "security group"


@dataclass(frozen=True)
class Rule:
    """An inbound rule of a security group, by its own id; protocol `-1` is all, and then the ports mean nothing."""

    id: str
    group: str
    protocol: str
    first: int
    last: int
    source: Source
    value: str

    def covers(self, port: int) -> bool:
        """Whether it lets TCP to this port in (protocol 6 is TCP; -1 as a port is every port)."""
        every = self.protocol == "-1" or (self.protocol in _TCP and self.first == -1)
        return every or (self.protocol in _TCP and self.first <= port <= self.last)

    @property
    def is_wider(self) -> bool:
        """Whether it lets in more than one TCP port, so that to take it away closes those, too."""
        return self.protocol not in _TCP or self.first != self.last


_TCP = ("tcp", "6")


@dataclass(frozen=True)
class Surroundings:
    """What is around the instances of a fleet.

    `carriers` tells which network interfaces carry each security group that a rule refers to, `balancer_interfaces`
    which of them are of classic balancers, `prefix_lists` what is in each prefix list, and `acl_notes` how the network
    ACLs of the subnets differ from the default.
    """

    host_groups: Mapping[str, frozenset[str]]
    balancer_groups: frozenset[str]
    balancer_interfaces: frozenset[str]
    rules: tuple[Rule, ...] = ()
    carriers: Mapping[str, frozenset[str]] = field(default_factory=dict)
    prefix_lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    acl_notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Way:
    """A way to a mail port that is not the balancer: who, by which rule of which group, and how to close it.

    `detail` tells what changes as instances come and go: to which the way leads, and who exactly may take it.
    """

    port: int
    who: str
    rule: str
    group: str
    instances: tuple[str, ...]
    commands: tuple[str, ...]
    detail: str


def ways(around: Surroundings, port: int) -> tuple[Way, ...]:
    """Every way to the port of an instance that is not the balancer's, the widest sources first."""
    rules = sorted((r for r in around.rules if r.covers(port)), key=lambda r: (list(Source).index(r.source), r.id))
    return tuple(way for rule in rules if (way := _way(around, rule, port)))


def _way(around: Surroundings, rule: Rule, port: int) -> Way | None:
    found, hosts = _who(around, rule), _hosts(around, rule.group)
    if not (found and hosts):
        return None
    who, exactly = found
    detail = "; ".join(filter(None, (f"to {_few(hosts)}", exactly, _note(rule), *around.acl_notes)))
    return Way(port, who, rule.id, rule.group, hosts, _closing(around, rule, port), detail)


def _hosts(around: Surroundings, group: str) -> tuple[str, ...]:
    return tuple(sorted(instance for instance, groups in around.host_groups.items() if group in groups))


def _who(around: Surroundings, rule: Rule) -> tuple[str, str] | None:
    """Who but the balancer comes in by a rule, and who exactly that is now; None: nobody."""
    match rule.source:
        case Source.GROUP:
            return _carriers(around, rule.value)
        case Source.PREFIX_LIST:
            entries = around.prefix_lists.get(rule.value)
            if entries is None:
                return f"prefix list {rule.value}, which could not be read,", ""
            return (f"prefix list {rule.value}", f"in the list: {_few(entries)}") if entries else None
    everybody = rule.value in ("0.0.0.0/0", "::/0")
    return f"everybody ({rule.value})" if everybody else rule.value, ""


def _carriers(around: Surroundings, group: str) -> tuple[str, str] | None:
    """A group lets in every interface that carries it; one that only balancers carry lets in nobody else."""
    carried = around.carriers.get(group, frozenset())
    others = sorted(carried - around.balancer_interfaces)
    exactly = f"the group is on: {_few(others)}" if others else "nobody carries the group now"
    if group in around.balancer_groups:
        return (f"whoever else carries the balancer's own group {group}", exactly) if others else None
    return (f"security group {group}", exactly) if others or not carried else None


def _few(names: Collection[str]) -> str:
    shown = ", ".join(list(names)[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown


def _closing(around: Surroundings, rule: Rule, port: int) -> tuple[str, ...]:
    """The balancer's own way first, where it has none but this: else closing it would stop the mail.

    Where the balancer's groups are not known, no way of its own can be opened, so nothing is advised.
    """
    if rule.source is Source.GROUP and rule.value in around.balancer_groups:
        return (f"aws ec2 describe-network-interfaces --filters Name=group-id,Values={rule.value}",)
    if not around.balancer_groups:
        return ()
    revoke = f"aws ec2 revoke-security-group-ingress --group-id {rule.group} --security-group-rule-ids {rule.id}"
    return (*_opening(around, rule.group, port), revoke)


def _opening(around: Surroundings, group: str, port: int) -> Iterable[str]:
    """The commands that let each of the balancers' groups in by itself, where no rule does yet."""
    let_in = {r.value for r in around.rules if r.group == group and r.source is Source.GROUP and r.covers(port)}
    for own in sorted(around.balancer_groups - let_in):
        yield (
            f"aws ec2 authorize-security-group-ingress --group-id {group} --protocol tcp --port {port} "
            f"--source-group {own}"
        )


def _note(rule: Rule) -> str:
    if not rule.is_wider:
        return ""
    ports = "everything" if rule.protocol not in _TCP else f"ports {rule.first}-{rule.last}"
    return f"the rule lets in {ports}: replace it by narrower ones rather than only take it away"
