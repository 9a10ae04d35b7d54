"""The root volumes of instances, which tell one machine from another under the same instance id."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from smtp_fleet.fleet import Root


class Instances:
    """The Region's EC2 instances."""

    def __init__(self, client: Any) -> None:
        self._ec2 = client

    def roots(self, instance_ids: Iterable[str]) -> dict[str, Root]:
        """The root volume and launch time of each instance that exists; the volume is empty while none is attached."""
        ids = sorted(instance_ids)
        if not ids:
            return {}
        # A filter, unlike InstanceIds, does not fail the whole call for one id that is gone (200 values a filter).
        return {
            instance["InstanceId"]: _root(instance)
            for start in range(0, len(ids), 200)
            for page in self._ec2.get_paginator("describe_instances").paginate(
                Filters=[{"Name": "instance-id", "Values": ids[start : start + 200]}]
            )
            for reservation in page["Reservations"]
            for instance in reservation["Instances"]
        }


def _root(instance: dict[str, Any]) -> Root:
    gone = instance["State"]["Name"] in ("shutting-down", "terminated")
    return Root(_root_volume(instance), int(instance["LaunchTime"].timestamp()), gone)


def _root_volume(instance: dict[str, Any]) -> str:
    for mapping in instance.get("BlockDeviceMappings", ()):
        if mapping["DeviceName"] == instance.get("RootDeviceName") and "Ebs" in mapping:
            return str(mapping["Ebs"]["VolumeId"])
    return ""
