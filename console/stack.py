"""The deployed stack, as CloudFormation knows it: what it was told, and its end."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from botocore.exceptions import ClientError

from console.obstacle import Obstacle


class Stack:
    """One stack by its name or id."""

    def __init__(self, cloudformation: Any, name: str) -> None:
        self._cloudformation = cloudformation
        self.name = name
        self._id = name

    def told(self) -> dict[str, str]:
        """What the stack was deployed with; raises Obstacle where it does not exist, or is none of ours."""
        return self._told(self._describe())

    def resources(self) -> dict[str, str]:
        """The name, URL or id of each resource of the stack, by its name in the template."""
        answer = self._cloudformation.describe_stack_resources(StackName=self._id)
        return {r["LogicalResourceId"]: r.get("PhysicalResourceId", "") for r in answer["StackResources"]}

    def parameters(self) -> dict[str, str]:
        """What the stack was deployed with; raises Obstacle where it does not exist or would not take anything off."""
        described = self._describe()
        self._id = described["StackId"]  # a deleted stack is found by its id only
        told = self._told(described)
        for name in ("Audit", "Paused"):
            if told.get(name) == "true":
                raise Obstacle(f"the stack takes nothing off while {name}=true: deploy it with {name}=false first")
        if described.get("EnableTerminationProtection"):
            raise Obstacle(f"stack {self.name} has termination protection: take it off first")
        return told

    def delete(self) -> Iterator[str]:
        """Delete the stack, and give its status again and again until it is gone; raises Obstacle where it stays."""
        self._cloudformation.delete_stack(StackName=self._id)
        yield "DELETE_REQUESTED"  # the status of an earlier failure may show for a moment
        while (described := self._describe())["StackStatus"] != "DELETE_COMPLETE":
            if described["StackStatus"].endswith("_FAILED"):
                why = re.sub(r"\s+", " ", described.get("StackStatusReason", "no reason given")).strip(" .")
                raise Obstacle(f"stack {self.name} was not deleted: {why}. Mend that, and run this again.")
            yield described["StackStatus"]

    def _told(self, described: dict[str, Any]) -> dict[str, str]:
        told = {p["ParameterKey"]: p["ParameterValue"] for p in described.get("Parameters", ())}
        if "TagKey" not in told or "PolicyName" not in told:
            raise Obstacle(f"stack {self.name} is no stack of SMTP Fleet: it has no parameters TagKey and PolicyName")
        return told

    def _describe(self) -> dict[str, Any]:
        try:
            [described] = self._cloudformation.describe_stacks(StackName=self._id)["Stacks"]
        except ClientError as error:
            if error.response["Error"]["Code"] != "ValidationError":
                raise
            region = self._cloudformation.meta.region_name
            raise Obstacle(f"no stack {self.name} in {region}: check the name and AWS_DEFAULT_REGION") from None
        return dict(described)
