"""Warm pools: launched ahead through the launch hooks, stopped, and taken first when the group scales out.

A pool holds MinSize instances, and is filled up to it again: what MaxSize leaves is not launched beyond. Not imitated:
InstanceReusePolicy (an instance that is scaled in is terminated), MaxGroupPreparedCapacity.
"""

from typing import Any

from moto.autoscaling.exceptions import ValidationError
from moto.autoscaling.models import AutoScalingBackend, FakeAutoScalingGroup, FakeWarmPool
from moto.autoscaling.responses import AutoScalingResponse
from moto.core.responses import ActionResult, EmptyResult

from local.strict import autoscaling
from local.strict.autoscaling import launch_hooks, pooled
from local.strict.overlay import lay

STATES = {"Stopped", "Running", "Hibernated"}
PAGE = 50

_launch = autoscaling._Group.replace_autoscaling_group_instances
_notify = AutoScalingBackend.notify_terminate_instances
_instances = AutoScalingBackend.describe_auto_scaling_instances
_delete_group = AutoScalingBackend.delete_auto_scaling_group


def _fill(group: Any) -> None:
    """Launches what the pool lacks, each held by the launch hooks on its way into the pool."""
    missing = int(group.warm_pool.min_size) - len(pooled(group)) if group.warm_pool else 0
    if missing <= 0:
        return
    before = len(group.instance_states)
    autoscaling._replace_instances(group, missing, group.get_propagated_tags())
    launched, group.instance_states = group.instance_states[before:], group.instance_states[:before]
    pooled(group).extend(launched)
    for state in launched:
        hooks = launch_hooks(group)
        for hook in hooks:
            autoscaling.hold(group, state, hook, "EC2", "WarmPool")
        if not hooks:
            autoscaling.rest(group, state)


def _empty(backend: Any, group: Any) -> None:
    group.warm_pool, ids = None, [state.instance.id for state in pooled(group)]
    pooled(group).clear()
    backend.ec2_backend.terminate_instances(ids)


def adopt(group: Any, states: list[Any]) -> None:
    """Moves members into the group's pool, which is made where there is none, each in the state that it has."""
    group.warm_pool = group.warm_pool or FakeWarmPool(None, 0, "Stopped", None)
    group.instance_states = [state for state in group.instance_states if state not in states]
    group.desired_capacity -= len(states)
    pooled(group).extend(states)
    for state in states:
        if state.lifecycle_state == "Warmed:Stopped":
            state.instance.stop()


class _Group:
    def replace_autoscaling_group_instances(self: Any, count_needed: int, propagated_tags: Any) -> None:
        ready = [state for state in pooled(self) if "Pending" not in state.lifecycle_state][:count_needed]
        for state in ready:
            pooled(self).remove(state)
            self.instance_states.append(state)
            if not state.instance.is_running():
                state.instance.start()
            hooks = launch_hooks(self)
            for hook in hooks:
                autoscaling.hold(self, state, hook, "WarmPool", "AutoScalingGroup")
            if not hooks:
                autoscaling.into_service(self, state)
        if count_needed > len(ready):
            _launch(self, count_needed - len(ready), propagated_tags)
        if ready:
            _fill(self)


class _Backend:
    def notify_terminate_instances(self: Any, instance_ids: list[str]) -> None:
        _notify(self, instance_ids)
        for group in self.autoscaling_groups.values():
            pooled(group)[:] = [state for state in pooled(group) if state.instance.id not in instance_ids]
            _fill(group)

    def describe_auto_scaling_instances(self: Any, instance_ids: list[str]) -> Any:
        warm = [state for group in self.autoscaling_groups.values() for state in pooled(group)]
        wanted = [state for state in warm if not instance_ids or state.instance.id in instance_ids]
        return [*_instances(self, instance_ids), *wanted]

    def delete_auto_scaling_group(self: Any, group_name: str) -> None:
        if group_name in self.autoscaling_groups:
            _empty(self, self.autoscaling_groups[group_name])
        _delete_group(self, group_name)


class _Response:
    def put_warm_pool(self: Any) -> Any:
        group, size = self._group(), int(self.params.get("MinSize") or 0)
        state, reuse = self.params.get("PoolState") or "Stopped", self.params.get("InstanceReusePolicy")
        if state not in STATES or size < 0:
            raise ValidationError(
                f"PoolState {state} must be one of {', '.join(sorted(STATES))}, MinSize {size} not < 0"
            )
        group.put_warm_pool(self.params.get("MaxGroupPreparedCapacity"), size, state, reuse)
        _fill(group)
        return EmptyResult()

    def describe_warm_pool(self: Any) -> Any:
        group, start, size = self._group(), self._start(), int(self.params.get("MaxRecords") or PAGE)
        if size > PAGE:
            raise ValidationError(f"MaxRecords must be at most {PAGE}")
        states, configuration = pooled(group), group.warm_pool
        token = str(start + size) if len(states) > start + size else None
        page = {"Instances": states[start : start + size], "NextToken": token}
        return ActionResult(page | ({"WarmPoolConfiguration": configuration} if configuration else {}))

    def delete_warm_pool(self: Any) -> Any:
        _empty(self.autoscaling_backend, self._group())
        return EmptyResult()


def apply() -> None:
    """Lays the pools over moto's Auto Scaling, as it is corrected already."""
    lay(_Group, FakeAutoScalingGroup)
    lay(_Backend, AutoScalingBackend)
    lay(_Response, AutoScalingResponse)
