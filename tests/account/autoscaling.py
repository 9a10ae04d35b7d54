"""Auto Scaling: the calls, with the refusals of AWS; what they set in motion is in `lifecycle`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from local.strict.autoscaling import MOST_HOOKS, TRANSITIONS
from tests.account.groups import Action, Group, Hook, Pool, Slot, described_hook
from tests.account.lifecycle import Lifecycle
from tests.account.wire import Refused, page

if TYPE_CHECKING:
    from tests.account.account import Account

RESULTS = ("CONTINUE", "ABANDON")


class AutoScaling:
    """The Auto Scaling groups of the account."""

    operations = (
        "CreateAutoScalingGroup",
        "UpdateAutoScalingGroup",
        "DeleteAutoScalingGroup",
        "DescribeAutoScalingGroups",
        "DescribeAutoScalingInstances",
        "SetDesiredCapacity",
        "TerminateInstanceInAutoScalingGroup",
        "AttachLoadBalancers",
        "DetachLoadBalancers",
        "AttachLoadBalancerTargetGroups",
        "DetachLoadBalancerTargetGroups",
        "EnterStandby",
        "ExitStandby",
        "DetachInstances",
        "PutLifecycleHook",
        "DeleteLifecycleHook",
        "DescribeLifecycleHooks",
        "CompleteLifecycleAction",
        "RecordLifecycleActionHeartbeat",
        "PutWarmPool",
        "DeleteWarmPool",
        "DescribeWarmPool",
    )

    def __init__(self, account: Account) -> None:
        self._account = account
        self.groups: dict[str, Group] = {}
        self.lifecycle = Lifecycle(account, self.groups)
        self.ended = self.lifecycle.ended

    def _find(self, name: str) -> Group:
        if name not in self.groups:
            raise Refused("ValidationError", "AutoScalingGroup name not found - null")
        return self.groups[name]

    def _changeable(self, name: str) -> Group:
        group = self._find(name)
        if group.deleting:
            raise Refused("ValidationError", f"AutoScalingGroup {name} is pending delete")
        return group

    def _slot(self, instance_id: str, group: str = "") -> tuple[Group, Slot]:
        for found in self.groups.values():
            if instance_id in found.slots and group in ("", found.name):
                return found, found.slots[instance_id]
        raise Refused("ValidationError", f"Instance Id not found - No managed instance found for {instance_id}")

    # ---- groups

    def create_auto_scaling_group(
        self,
        *,
        AutoScalingGroupName: str,
        MinSize: int,
        MaxSize: int,
        DesiredCapacity: int | None = None,
        LoadBalancerNames: Iterable[str] = (),
        TargetGroupARNs: Iterable[str] = (),
        AvailabilityZones: Iterable[str] = (),
        LaunchTemplate: dict[str, str] | None = None,
        LifecycleHookSpecificationList: Iterable[dict[str, Any]] = (),
    ) -> Any:
        if AutoScalingGroupName in self.groups:
            raise Refused("AlreadyExists", "AutoScalingGroup by this name already exists")
        self._known(LoadBalancerNames)
        desired = MinSize if DesiredCapacity is None else DesiredCapacity
        group = Group(AutoScalingGroupName, MinSize, MaxSize, desired, list(LoadBalancerNames), list(TargetGroupARNs))
        group.template = LaunchTemplate or {}
        self.groups[group.name] = group
        for hook in LifecycleHookSpecificationList:  # first, so that they hold the very first instances
            self.put_lifecycle_hook(AutoScalingGroupName=group.name, **hook)
        self.lifecycle.fill(group)
        return {}

    def update_auto_scaling_group(
        self,
        *,
        AutoScalingGroupName: str,
        MinSize: int | None = None,
        MaxSize: int | None = None,
        LaunchTemplate: dict[str, str] | None = None,
    ) -> Any:
        group = self._changeable(AutoScalingGroupName)
        group.template = LaunchTemplate or group.template
        group.minimum = group.minimum if MinSize is None else MinSize
        group.maximum = group.maximum if MaxSize is None else MaxSize
        group.desired = min(max(group.desired, group.minimum), group.maximum)
        self.lifecycle.fill(group)
        return {}

    def delete_auto_scaling_group(self, *, AutoScalingGroupName: str, ForceDelete: bool = False) -> Any:
        group = self._find(AutoScalingGroupName)
        if group.slots and not ForceDelete:
            raise Refused("ResourceInUse", "You cannot delete an AutoScalingGroup while there are instances in it")
        group.deleting, group.desired, group.pool = True, 0, None
        for slot in list(group.slots.values()):
            self.lifecycle.terminate(group, slot)
        self.lifecycle.buried(group)
        return {}

    def describe_auto_scaling_groups(
        self, *, AutoScalingGroupNames: Iterable[str] = (), MaxRecords: int = 50, NextToken: str = ""
    ) -> Any:
        if not 1 <= MaxRecords <= 100:
            raise Refused("ValidationError", "MaxRecords must be between 1 and 100")
        names = list(AutoScalingGroupNames)
        found = [group for name, group in self.groups.items() if not names or name in names]
        shown, token = page(found, MaxRecords, NextToken)
        told = {"AutoScalingGroups": [group.described() for group in shown]}
        return told | ({"NextToken": token} if token else {})

    def describe_auto_scaling_instances(
        self, *, InstanceIds: Iterable[str] = (), MaxRecords: int = 50, NextToken: str = ""
    ) -> Any:
        ids = sorted(InstanceIds)
        if len(ids) > 50 or MaxRecords > 50:
            raise Refused("ValidationError", "At most 50 instances can be described in one call")
        found = [
            {"InstanceId": slot.instance_id, "AutoScalingGroupName": group.name, "LifecycleState": slot.state}
            for group in self.groups.values()
            for slot in (map(group.slots.get, ids) if ids else group.slots.values())
            if slot and slot.shown
        ]
        shown, token = page(found, MaxRecords, NextToken)
        return {"AutoScalingInstances": shown} | ({"NextToken": token} if token else {})

    def set_desired_capacity(self, *, AutoScalingGroupName: str, DesiredCapacity: int) -> Any:
        group = self._changeable(AutoScalingGroupName)
        if not group.minimum <= DesiredCapacity <= group.maximum:
            raise Refused("ValidationError", f"New SetDesiredCapacity value {DesiredCapacity} is beyond min or max")
        group.desired = DesiredCapacity
        self.lifecycle.fill(group)
        return {}

    def terminate_instance_in_auto_scaling_group(self, *, InstanceId: str, ShouldDecrementDesiredCapacity: bool) -> Any:
        group, slot = self._slot(InstanceId)
        if ShouldDecrementDesiredCapacity and slot.counts:
            if group.desired <= group.minimum:
                raise Refused("ValidationError", "Currently, desiredSize equals minSize")
            group.desired -= 1
        self.lifecycle.terminate(group, slot)
        return {"Activity": {}}

    # ---- balancers

    def _known(self, names: Iterable[str]) -> None:
        if not set(names) <= self._account.elb.balancers.keys():
            raise Refused("ValidationError", "Provided Load Balancers may not be valid. Please ensure they exist")

    def attach_load_balancers(self, *, AutoScalingGroupName: str, LoadBalancerNames: list[str]) -> Any:
        group = self._changeable(AutoScalingGroupName)
        self._known(LoadBalancerNames)
        group.balancers += [name for name in LoadBalancerNames if name not in group.balancers]
        self._account.elb.register(LoadBalancerNames, _in_service(group))
        return {}

    def detach_load_balancers(self, *, AutoScalingGroupName: str, LoadBalancerNames: list[str]) -> Any:
        group = self._find(AutoScalingGroupName)
        group.balancers = [name for name in group.balancers if name not in LoadBalancerNames]
        self._account.elb.deregister(LoadBalancerNames, _in_service(group))
        return {}

    def attach_load_balancer_target_groups(self, *, AutoScalingGroupName: str, TargetGroupARNs: list[str]) -> Any:
        group = self._changeable(AutoScalingGroupName)
        group.targets += [arn for arn in TargetGroupARNs if arn not in group.targets]
        return {}

    def detach_load_balancer_target_groups(self, *, AutoScalingGroupName: str, TargetGroupARNs: list[str]) -> Any:
        group = self._find(AutoScalingGroupName)
        group.targets = [arn for arn in group.targets if arn not in TargetGroupARNs]
        return {}

    # ---- instances that step aside

    def enter_standby(
        self, *, AutoScalingGroupName: str, InstanceIds: list[str], ShouldDecrementDesiredCapacity: bool
    ) -> Any:
        group = self._changeable(AutoScalingGroupName)
        for instance in InstanceIds:
            _, slot = self._slot(instance, group.name)
            if slot.state != "InService":
                raise Refused("ValidationError", f"The instance {instance} is not in InService")
            slot.state = "Standby"
            group.desired -= ShouldDecrementDesiredCapacity
        self._account.elb.deregister(group.balancers, InstanceIds)
        self.lifecycle.fill(group)
        return {"Activities": []}

    def exit_standby(self, *, AutoScalingGroupName: str, InstanceIds: list[str]) -> Any:
        group = self._changeable(AutoScalingGroupName)
        for instance in InstanceIds:
            _, slot = self._slot(instance, group.name)
            if slot.state != "Standby":
                raise Refused("ValidationError", f"The instance {instance} is not in Standby")
            slot.state = "InService"
            group.desired += 1
        self._account.elb.register(group.balancers, InstanceIds)
        return {"Activities": []}

    def detach_instances(
        self, *, AutoScalingGroupName: str, InstanceIds: list[str], ShouldDecrementDesiredCapacity: bool
    ) -> Any:
        group = self._changeable(AutoScalingGroupName)
        for instance in InstanceIds:
            self._slot(instance, group.name)
            del group.slots[instance]
            group.desired -= ShouldDecrementDesiredCapacity
        self._account.elb.deregister(group.balancers, InstanceIds)
        self.lifecycle.fill(group)
        return {"Activities": []}

    # ---- hooks and lifecycle actions

    def put_lifecycle_hook(
        self,
        *,
        AutoScalingGroupName: str,
        LifecycleHookName: str,
        LifecycleTransition: str = "",
        DefaultResult: str = "",
        HeartbeatTimeout: int = 0,
    ) -> Any:
        group = self._changeable(AutoScalingGroupName)
        old = group.hooks.get(LifecycleHookName)
        if not old and not LifecycleTransition:
            raise Refused("ValidationError", "LifecycleTransition is required for a new lifecycle hook")
        if LifecycleTransition and LifecycleTransition not in TRANSITIONS:
            raise Refused("ValidationError", f"LifecycleTransition {LifecycleTransition} is none")
        if not re.fullmatch(r"[A-Za-z0-9\-_/]{1,255}", LifecycleHookName):
            raise Refused("ValidationError", f"LifecycleHookName {LifecycleHookName} is none")
        if not old and len(group.hooks) >= MOST_HOOKS:
            raise Refused("LimitExceeded", f"{AutoScalingGroupName} has {MOST_HOOKS} lifecycle hooks")
        if HeartbeatTimeout and not 30 <= HeartbeatTimeout <= 7200:
            raise Refused("ValidationError", "HeartbeatTimeout must be between 30 and 7200 seconds")
        if DefaultResult and DefaultResult not in RESULTS:
            raise Refused("ValidationError", f"DefaultResult {DefaultResult} must be CONTINUE or ABANDON")
        hook = old or Hook(LifecycleHookName, LifecycleTransition, "ABANDON", 3600)
        group.hooks[LifecycleHookName] = replace(
            hook,
            transition=LifecycleTransition or hook.transition,
            default_result=DefaultResult or hook.default_result,
            timeout=HeartbeatTimeout or hook.timeout,
        )
        return {}

    def delete_lifecycle_hook(self, *, AutoScalingGroupName: str, LifecycleHookName: str) -> Any:
        # Outstanding actions are completed first, with ABANDON for launches (API reference).
        group = self._find(AutoScalingGroupName)
        if LifecycleHookName not in group.hooks:
            raise Refused("ValidationError", f"No Lifecycle Hook found with name {LifecycleHookName}")
        del group.hooks[LifecycleHookName]
        for action in [a for a in group.actions() if a.hook.name == LifecycleHookName]:
            self.lifecycle.complete(action, "ABANDON")
        return {}

    def describe_lifecycle_hooks(self, *, AutoScalingGroupName: str, LifecycleHookNames: Iterable[str] = ()) -> Any:
        group, names = self._find(AutoScalingGroupName), list(LifecycleHookNames)
        if len(names) > 50:
            raise Refused("ValidationError", "LifecycleHookNames must have at most 50 members")
        found = [hook for name, hook in group.hooks.items() if not names or name in names]
        return {"LifecycleHooks": [described_hook(group.name, hook) for hook in found]}

    def _action(self, group: str, hook: str, instance: str, token: str) -> Action:
        for action in self.groups[group].actions() if group in self.groups else ():
            right = action.hook.name == hook and (instance or token)
            if right and instance in ("", action.slot.instance_id) and token in ("", action.token):
                return action
        raise Refused("ValidationError", f"No active Lifecycle Action found with instance ID {instance or token}")

    def complete_lifecycle_action(
        self,
        *,
        AutoScalingGroupName: str,
        LifecycleHookName: str,
        LifecycleActionResult: str,
        InstanceId: str = "",
        LifecycleActionToken: str = "",
    ) -> Any:
        if LifecycleActionResult not in RESULTS:
            raise Refused("ValidationError", f"LifecycleActionResult {LifecycleActionResult} is none")
        action = self._action(AutoScalingGroupName, LifecycleHookName, InstanceId, LifecycleActionToken)
        self.lifecycle.complete(action, LifecycleActionResult)
        return {}

    def record_lifecycle_action_heartbeat(
        self,
        *,
        AutoScalingGroupName: str,
        LifecycleHookName: str,
        InstanceId: str = "",
        LifecycleActionToken: str = "",
    ) -> Any:
        self.lifecycle.beat(self._action(AutoScalingGroupName, LifecycleHookName, InstanceId, LifecycleActionToken))
        return {}

    # ---- warm pools

    def put_warm_pool(
        self,
        *,
        AutoScalingGroupName: str,
        MinSize: int = 0,
        MaxGroupPreparedCapacity: int = -1,
        PoolState: str = "Stopped",
        InstanceReusePolicy: dict[str, bool] | None = None,
    ) -> Any:
        group = self._changeable(AutoScalingGroupName)
        prepared = group.maximum if MaxGroupPreparedCapacity < 0 else MaxGroupPreparedCapacity
        reuse = bool((InstanceReusePolicy or {}).get("ReuseOnScaleIn"))
        group.pool = Pool(MinSize, prepared, PoolState, reuse)
        self.lifecycle.fill(group)
        return {}

    def delete_warm_pool(self, *, AutoScalingGroupName: str, ForceDelete: bool = False) -> Any:
        group = self._find(AutoScalingGroupName)
        pooled = [slot for slot in group.slots.values() if slot.pooled]
        if pooled and not ForceDelete:
            raise Refused("ResourceInUse", "You cannot delete a warm pool while there are instances in it")
        group.pool = None
        for slot in pooled:
            self.lifecycle.terminate(group, slot)
        return {}

    def describe_warm_pool(self, *, AutoScalingGroupName: str, MaxRecords: int = 50, NextToken: str = "") -> Any:
        group = self._find(AutoScalingGroupName)
        found = [
            {"InstanceId": slot.instance_id, "LifecycleState": slot.state}
            for slot in group.slots.values()
            if slot.pooled and slot.shown
        ]
        if MaxRecords > 50:
            raise Refused("ValidationError", "MaxRecords must be at most 50")
        shown, token = page(found, MaxRecords, NextToken)
        return {"Instances": shown} | ({"NextToken": token} if token else {})


def _in_service(group: Group) -> list[str]:
    return [slot.instance_id for slot in group.slots.values() if slot.state == "InService"]
