"""What is around the fleets of a Region: security groups, balancers' attributes, agents and trails; reads only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from botocore.exceptions import ClientError

from console.mend import Knobs
from console.reach import Rule, Source, Surroundings
from smtp_fleet.fleet import Fleet

IDS = 200
"""Values that one filter of EC2 takes (API reference, DescribeInstances)."""


class Around:
    """One Region."""

    def __init__(self, client: Callable[[str], Any]) -> None:
        self._client = client

    def mail_balancers(self, ports: frozenset[int]) -> tuple[frozenset[str], dict[str, frozenset[str]]]:
        """The classic balancers that listen on one of these ports; and the security groups of every balancer."""
        pages = self._client("elb").get_paginator("describe_load_balancers").paginate(PageSize=400)
        every = [d for page in pages for d in page["LoadBalancerDescriptions"]]
        fronts = {d["LoadBalancerName"]: _fronts(d) for d in every}
        groups = {d["LoadBalancerName"]: frozenset(d.get("SecurityGroups", ())) for d in every}
        return frozenset(name for name, found in fronts.items() if found & ports), groups

    def knobs(self, balancer: str) -> Knobs:
        """The idle timeout and whether it drains."""
        told = self._client("elb").describe_load_balancer_attributes(LoadBalancerName=balancer)
        attributes = told["LoadBalancerAttributes"]
        idle = attributes.get("ConnectionSettings", {}).get("IdleTimeout", 60)
        return Knobs(int(idle), bool(attributes.get("ConnectionDraining", {}).get("Enabled")))

    def online(self, instances: Iterable[str]) -> frozenset[str]:
        """Those of the instances whose agent is registered and online."""
        ssm, found = self._client("ssm"), set()
        for ids in _pages(sorted(instances), 50):
            told = ssm.describe_instance_information(Filters=[{"Key": "InstanceIds", "Values": ids}], MaxResults=50)
            found |= {i["InstanceId"] for i in told["InstanceInformationList"] if i["PingStatus"] == "Online"}
        return frozenset(found)

    def trail(self) -> str:
        """The name of a trail that logs this Region's management writes; empty: no event of an API call comes.

        EventBridge tells of calls only where a trail with logging on records them (events-via-CloudTrail guide).
        """
        cloudtrail = self._client("cloudtrail")
        here = cloudtrail.meta.region_name
        for trail in cloudtrail.describe_trails(includeShadowTrails=True)["trailList"]:
            if not (trail.get("IsMultiRegionTrail") or trail.get("HomeRegion", here) == here):
                continue
            if cloudtrail.get_trail_status(Name=trail["TrailARN"])["IsLogging"] and self._writes(trail):
                return str(trail["Name"])
        return ""

    def _writes(self, trail: dict[str, Any]) -> bool:
        told = self._client("cloudtrail").get_event_selectors(TrailName=trail["TrailARN"])
        simple = [
            s
            for s in told.get("EventSelectors", ())
            if s.get("IncludeManagementEvents", True) and s.get("ReadWriteType", "All") != "ReadOnly"
        ]
        advanced = [
            s
            for s in told.get("AdvancedEventSelectors", ())
            if any(f["Field"] == "eventCategory" and "Management" in f.get("Equals", ()) for f in s["FieldSelectors"])
            and not any(f["Field"] == "readOnly" and "true" in f.get("Equals", ()) for f in s["FieldSelectors"])
        ]
        default = not (told.get("EventSelectors") or told.get("AdvancedEventSelectors"))  # management, read and write
        return bool(simple or advanced or default)

    def surroundings(self, fleet: Fleet, balancer_groups: frozenset[str]) -> Surroundings:
        """The security groups around a fleet's instances, and who carries those that they refer to."""
        hosts, subnets = self._hosts(m.machine.instance_id for m in fleet.members)
        groups = frozenset().union(*hosts.values()) if hosts else frozenset()
        rules = tuple(self._rules(groups))
        referred = frozenset(r.value for r in rules if r.source is Source.GROUP)
        carriers, own = self._carriers(referred | balancer_groups, {b.name for b in fleet.balancers})
        lists = {r.value for r in rules if r.source is Source.PREFIX_LIST}
        entries = {each: found for each in sorted(lists) if (found := self._entries(each)) is not None}
        return Surroundings(hosts, balancer_groups, own, rules, carriers, entries, tuple(self._acls(subnets)))

    def _hosts(self, instances: Iterable[str]) -> tuple[dict[str, frozenset[str]], frozenset[str]]:
        groups: dict[str, frozenset[str]] = {}
        subnets: set[str] = set()
        for ids in _pages(sorted(instances), IDS):
            pages = self._client("ec2").get_paginator("describe_instances")
            for page in pages.paginate(Filters=[{"Name": "instance-id", "Values": ids}]):
                for instance in (i for r in page["Reservations"] for i in r["Instances"]):
                    interfaces = instance.get("NetworkInterfaces", ())
                    told = [*instance.get("SecurityGroups", ()), *(g for i in interfaces for g in i.get("Groups", ()))]
                    groups[instance["InstanceId"]] = frozenset(g["GroupId"] for g in told)
                    subnets |= {i["SubnetId"] for i in interfaces if i.get("SubnetId")}
        return groups, frozenset(subnets)

    def _rules(self, groups: frozenset[str]) -> Iterator[Rule]:
        for ids in _pages(sorted(groups), IDS):
            pages = self._client("ec2").get_paginator("describe_security_group_rules")
            for page in pages.paginate(Filters=[{"Name": "group-id", "Values": ids}]):
                yield from (rule(told) for told in page["SecurityGroupRules"] if not told["IsEgress"])

    def _carriers(
        self, groups: frozenset[str], balancers: set[str]
    ) -> tuple[dict[str, frozenset[str]], frozenset[str]]:
        """The interfaces of each group by what they are, and those of them that are the balancers' own."""
        carriers: dict[str, set[str]] = {group: set() for group in groups}
        own: set[str] = set()
        for ids in _pages(sorted(groups), IDS):
            pages = self._client("ec2").get_paginator("describe_network_interfaces")
            for page in pages.paginate(Filters=[{"Name": "group-id", "Values": ids}]):
                for interface in page["NetworkInterfaces"]:
                    name = interface.get("Attachment", {}).get("InstanceId") or interface["NetworkInterfaceId"]
                    for group in (g["GroupId"] for g in interface["Groups"]):
                        carriers.setdefault(group, set()).add(name)
                    # A classic balancer's interfaces are described as "ELB" and its name.
                    if interface.get("Description", "").removeprefix("ELB ") in balancers:
                        own.add(name)
        return {group: frozenset(names) for group, names in carriers.items()}, frozenset(own)

    def _entries(self, prefix_list: str) -> tuple[str, ...] | None:
        """The networks of a prefix list; None where we may not, or cannot, read it."""
        try:
            pages = self._client("ec2").get_paginator("get_managed_prefix_list_entries")
            return tuple(e["Cidr"] for page in pages.paginate(PrefixListId=prefix_list) for e in page["Entries"])
        except ClientError as error:
            if error.response["Error"]["Code"].lower() == "invalidprefixlistid.notfound":
                return None
            raise

    def _acls(self, subnets: frozenset[str]) -> Iterator[str]:
        """The network ACLs that are not the VPC's default: they may close a way that the security groups leave open."""
        for ids in _pages(sorted(subnets), IDS):
            pages = self._client("ec2").get_paginator("describe_network_acls")
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


def _fronts(described: dict[str, Any]) -> frozenset[int]:
    return frozenset(listener["Listener"]["LoadBalancerPort"] for listener in described["ListenerDescriptions"])


def _pages(ids: list[str], size: int) -> Iterator[list[str]]:
    return (ids[start : start + size] for start in range(0, len(ids), size))
