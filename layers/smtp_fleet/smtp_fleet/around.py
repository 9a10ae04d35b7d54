"""What is around a fleet's instances: security groups and who carries them, prefix lists, network ACLs; reads only."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from smtp_fleet.fleet import Fleet
from smtp_fleet.reach import Rule, Source, Surroundings

_CLASSIC = re.compile(r"ELB [A-Za-z0-9-]{1,32}")
"""How the interfaces of a classic balancer are described; it connects to nobody but the instances of its fleet.

Those of other balancers have a path after `ELB` (user guide, find the network interfaces of a load balancer), and one
of these may forward to whatever it is told to.
"""

IDS = 200
"""Values that one filter of EC2 takes (API reference, DescribeInstances)."""


class Around:
    """The Region's network, as EC2 knows it."""

    def __init__(self, ec2: Any) -> None:
        self._ec2 = ec2

    def of(self, fleet: Fleet) -> Surroundings:
        """The security groups around a fleet's instances, and who carries those that they refer to."""
        balancer_groups = frozenset().union(*(b.security_groups for b in fleet.balancers))
        hosts, subnets = self._hosts(m.machine.instance_id for m in fleet.members)
        groups = frozenset().union(*hosts.values()) if hosts else frozenset()
        rules = tuple(self._rules(groups))
        referred = frozenset(r.value for r in rules if r.source is Source.GROUP)
        carriers, balancers = self._carriers(referred | balancer_groups)
        lists = {r.value for r in rules if r.source is Source.PREFIX_LIST}
        entries = {each: found for each in sorted(lists) if (found := self._entries(each)) is not None}
        return Surroundings(hosts, balancer_groups, balancers, rules, carriers, entries, tuple(self._acls(subnets)))

    def _hosts(self, instances: Iterable[str]) -> tuple[dict[str, frozenset[str]], frozenset[str]]:
        groups: dict[str, frozenset[str]] = {}
        subnets: set[str] = set()
        for ids in _pages(sorted(instances), IDS):
            pages = self._ec2.get_paginator("describe_instances")
            for page in pages.paginate(Filters=[{"Name": "instance-id", "Values": ids}]):
                for instance in (i for r in page["Reservations"] for i in r["Instances"]):
                    interfaces = instance.get("NetworkInterfaces", ())
                    told = [*instance.get("SecurityGroups", ()), *(g for i in interfaces for g in i.get("Groups", ()))]
                    groups[instance["InstanceId"]] = frozenset(g["GroupId"] for g in told)
                    subnets |= {i["SubnetId"] for i in interfaces if i.get("SubnetId")}
        return groups, frozenset(subnets)

    def _rules(self, groups: frozenset[str]) -> Iterator[Rule]:
        for ids in _pages(sorted(groups), IDS):
            pages = self._ec2.get_paginator("describe_security_group_rules")
            for page in pages.paginate(Filters=[{"Name": "group-id", "Values": ids}]):
                yield from (rule(told) for told in page["SecurityGroupRules"] if not told["IsEgress"])

    def _carriers(self, groups: frozenset[str]) -> tuple[dict[str, frozenset[str]], frozenset[str]]:
        """The interfaces of each group by what they are, and those of them that are classic balancers'."""
        carriers: dict[str, set[str]] = {group: set() for group in groups}
        balancers: set[str] = set()
        for ids in _pages(sorted(groups), IDS):
            pages = self._ec2.get_paginator("describe_network_interfaces")
            for page in pages.paginate(Filters=[{"Name": "group-id", "Values": ids}]):
                for interface in page["NetworkInterfaces"]:
                    name = interface.get("Attachment", {}).get("InstanceId") or interface["NetworkInterfaceId"]
                    for group in (g["GroupId"] for g in interface["Groups"]):
                        carriers.setdefault(group, set()).add(name)
                    if _CLASSIC.fullmatch(interface.get("Description", "")):
                        balancers.add(name)
        return {group: frozenset(names) for group, names in carriers.items()}, frozenset(balancers)

    def _entries(self, prefix_list: str) -> tuple[str, ...] | None:
        """The networks of a prefix list; None where we may not, or cannot, read it."""
        try:
            pages = self._ec2.get_paginator("get_managed_prefix_list_entries")
            return tuple(e["Cidr"] for page in pages.paginate(PrefixListId=prefix_list) for e in page["Entries"])
        except self._ec2.exceptions.ClientError as error:
            if error.response["Error"]["Code"].lower() == "invalidprefixlistid.notfound":
                return None
            raise

    def _acls(self, subnets: frozenset[str]) -> Iterator[str]:
        """The network ACLs that are not the VPC's default: they may close a way that the security groups leave open."""
        for ids in _pages(sorted(subnets), IDS):
            pages = self._ec2.get_paginator("describe_network_acls")
            for page in pages.paginate(Filters=[{"Name": "association.subnet-id", "Values": ids}]):
                for acl in page["NetworkAcls"]:
                    if not acl["IsDefault"]:
                        yield f"network ACL {acl['NetworkAclId']} is not the default one: it may close some of these"


def rule(told: dict[str, Any]) -> Rule:
    """An inbound rule as DescribeSecurityGroupRules tells it."""
    source, value = next((source, found) for source, key in _SOURCES.items() if (found := told.get(key)))
    return Rule(
        id=told["SecurityGroupRuleId"],
        group=told["GroupId"],
        protocol=told["IpProtocol"],
        first=told.get("FromPort", -1),
        last=told.get("ToPort", -1),
        source=source,
        value=value["GroupId"] if isinstance(value, dict) else value,
    )


_SOURCES = {
    Source.IPV4: "CidrIpv4",
    Source.IPV6: "CidrIpv6",
    Source.PREFIX_LIST: "PrefixListId",
    Source.GROUP: "ReferencedGroupInfo",
}


def _pages(ids: list[str], size: int) -> Iterator[list[str]]:
    return (ids[start : start + size] for start in range(0, len(ids), size))
