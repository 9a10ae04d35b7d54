"""What the functions need of a Region, and do not look at themselves: agents online, a trail; reads only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any


class Premises:
    """One Region."""

    def __init__(self, client: Callable[[str], Any]) -> None:
        self._client = client

    def mail_balancers(self, ports: frozenset[int]) -> frozenset[str]:
        """The classic balancers that listen on one of these ports."""
        pages = self._client("elb").get_paginator("describe_load_balancers").paginate(PageSize=400)
        every = (d for page in pages for d in page["LoadBalancerDescriptions"])
        return frozenset(d["LoadBalancerName"] for d in every if _fronts(d) & ports)

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


def _fronts(described: dict[str, Any]) -> frozenset[int]:
    return frozenset(listener["Listener"]["LoadBalancerPort"] for listener in described["ListenerDescriptions"])


def _pages(ids: list[str], size: int) -> Iterator[list[str]]:
    return (ids[start : start + size] for start in range(0, len(ids), size))
