"""Auto Scaling groups, their launch hook and their waiting instances: reads, puts and completes, decides nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from smtp_fleet.faults import THROTTLES, NotReadBack, Throttled, code
from smtp_fleet.fleet import HOOK_NAME, WAITING, Group, Hook

if TYPE_CHECKING:  # who only reads starts without what there is to do
    from smtp_fleet.actions import PutHook

IDS_PAGE = 50
"""DescribeAutoScalingInstances takes at most 50 ids (API reference)."""


class Groups:
    """The Region's Auto Scaling groups; `elbv2` is needed only by those who ask for target groups."""

    def __init__(self, autoscaling: Any, elbv2: Any = None) -> None:
        self._autoscaling = autoscaling
        self._elbv2 = elbv2

    def all(self) -> list[Group]:
        """Every group, without its hook: groups cannot be filtered by balancer (100 a page)."""
        pages = self._autoscaling.get_paginator("describe_auto_scaling_groups").paginate(MaxRecords=100)
        # One that is being deleted (it has a status only then) launches nobody, and takes no hook any more.
        return [_group(told) for page in pages for told in page["AutoScalingGroups"] if not told.get("Status")]

    def groups_of(self, instance_ids: Iterable[str]) -> dict[str, str]:
        """The name of the group of each instance that is in one (50 a call)."""
        return {i["InstanceId"]: i["AutoScalingGroupName"] for i in self._instances(instance_ids)}

    def with_hook(self, group: Group, hooked_since: int) -> Group:
        """The group with our hook as it is now; `hooked_since` is what the ledger knows of it."""
        for hook in self._our_hooks(group.name):
            if hook["LifecycleTransition"] == "autoscaling:EC2_INSTANCE_LAUNCHING":
                seen = Hook(hook["DefaultResult"], hook["HeartbeatTimeout"])
                return replace(group, hook=seen, hooked_since=hooked_since)
        return replace(group, hook=None, hooked_since=0)

    def _our_hooks(self, group: str) -> list[dict[str, Any]]:
        """The hook of our name; none on a group that was deleted since it was read."""
        try:
            told = self._autoscaling.describe_lifecycle_hooks(
                AutoScalingGroupName=group, LifecycleHookNames=[HOOK_NAME]
            )
        except self._autoscaling.exceptions.ClientError as error:
            if code(error) != "ValidationError":
                raise
            return []
        return list(told["LifecycleHooks"])

    def with_targets(self, group: Group) -> Group:
        """The group with the ports of the target groups that feed it; none attached is no call."""
        if not group.target_ports:
            return group
        found = self._targets(sorted(group.target_ports))
        return replace(group, target_ports={t["TargetGroupName"]: t["Port"] for t in found if "Port" in t})

    def _targets(self, arns: list[str]) -> list[dict[str, Any]]:
        """One call for all; if one of them is gone, which fails the whole call, one call each: it feeds nobody."""
        try:
            return list(self._elbv2.describe_target_groups(TargetGroupArns=arns)["TargetGroups"])
        except self._elbv2.exceptions.TargetGroupNotFoundException:
            return [] if len(arns) == 1 else [found for arn in arns for found in self._targets([arn])]

    def with_pool(self, group: Group) -> Group:
        """The group with the instances of its warm pool, which DescribeWarmPool alone tells; no pool is no call."""
        if not group.has_pool:
            return group
        pages = self._autoscaling.get_paginator("describe_warm_pool").paginate(AutoScalingGroupName=group.name)
        pooled = {i["InstanceId"]: i["LifecycleState"] for page in pages for i in page["Instances"]}
        # The pool was read last: what has left it meanwhile is found at the next wake.
        return replace(group, states={**group.states, **pooled})

    def put_hook(self, action: PutHook) -> None:
        """Put our launch hook and read it back; raises NotReadBack."""
        self._autoscaling.put_lifecycle_hook(
            AutoScalingGroupName=action.group,
            LifecycleHookName=HOOK_NAME,
            LifecycleTransition="autoscaling:EC2_INSTANCE_LAUNCHING",
            DefaultResult=action.default_result,
            HeartbeatTimeout=action.timeout,
        )
        if self.with_hook(Group(action.group), 0).hook != Hook(action.default_result, action.timeout):
            raise NotReadBack(f"lifecycle hook {HOOK_NAME} of group {action.group}")

    def delete_hook(self, group: str) -> None:
        """Take our launch hook off a group; one that has none already is fine."""
        try:
            self._autoscaling.delete_lifecycle_hook(AutoScalingGroupName=group, LifecycleHookName=HOOK_NAME)
        except self._autoscaling.exceptions.ClientError:
            if self.with_hook(Group(group), 0).hook:
                raise

    def complete(self, group: str, instance_id: str, result: str) -> bool:
        """Complete our lifecycle action with CONTINUE or ABANDON; False where the instance no longer waits.

        "No active Lifecycle Action" is told both for a finished action and, for moments, for one that has just begun:
        only an instance that still waits makes it an error worth a retry. Raises Throttled.
        """
        return self._of_the_action(
            self._autoscaling.complete_lifecycle_action, group, instance_id, LifecycleActionResult=result
        )

    def hold(self, group: str, instance_id: str) -> bool:
        """Begin the timeout of our lifecycle action anew; False where nobody waits any more; raises Throttled."""
        return self._of_the_action(self._autoscaling.record_lifecycle_action_heartbeat, group, instance_id)

    def _of_the_action(self, call: Any, group: str, instance_id: str, **more: str) -> bool:
        try:
            call(AutoScalingGroupName=group, LifecycleHookName=HOOK_NAME, InstanceId=instance_id, **more)
        except self._autoscaling.exceptions.ClientError as error:
            if code(error) in THROTTLES:
                raise Throttled(str(error)) from error
            if code(error) != "ValidationError" or self._waits(instance_id):
                raise
            return False
        return True

    def _waits(self, instance_id: str) -> bool:
        return any(i["LifecycleState"] in WAITING for i in self._instances([instance_id]))

    def _instances(self, instance_ids: Iterable[str]) -> list[Mapping[str, Any]]:
        ids = sorted(instance_ids)
        return [
            instance
            for start in range(0, len(ids), IDS_PAGE)
            for instance in self._autoscaling.describe_auto_scaling_instances(
                InstanceIds=ids[start : start + IDS_PAGE]
            )["AutoScalingInstances"]
        ]


def _group(described: Mapping[str, Any]) -> Group:
    sources = [(s.get("Type", "elb"), s["Identifier"]) for s in described.get("TrafficSources", ())]
    balancers = [name for kind, name in sources if kind == "elb"]
    targets = [arn for kind, arn in sources if kind == "elbv2"]
    return Group(
        name=described["AutoScalingGroupName"],
        balancers=frozenset((*described.get("LoadBalancerNames", ()), *balancers)),
        states={i["InstanceId"]: i["LifecycleState"] for i in described.get("Instances", ())},
        target_ports=dict.fromkeys((*described.get("TargetGroupARNs", ()), *targets), 0),
        has_pool=bool(described.get("WarmPoolConfiguration")),
        configuration=_configuration(described),
    )


def _configuration(described: Mapping[str, Any]) -> str:
    """A launch template and its version, also that of a mixed instances policy, or a launch configuration."""
    mixed = described.get("MixedInstancesPolicy", {}).get("LaunchTemplate", {}).get("LaunchTemplateSpecification")
    template = described.get("LaunchTemplate") or mixed
    if template:
        return f"{template.get('LaunchTemplateId', '')} {template.get('Version', '')}"
    return str(described.get("LaunchConfigurationName", ""))
