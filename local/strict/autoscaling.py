"""Auto Scaling that holds launches: hooks, Pending:Wait, completion, expiry; it registers only what is in service.

Not imitated: termination hooks, health checks; AttachInstances and ExitStandby go straight to InService. Warm pools are
in `warm_pool`.
"""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from moto.autoscaling.exceptions import AutoscalingClientError, ValidationError
from moto.autoscaling.models import AutoScalingBackend, FakeAutoScalingGroup, autoscaling_backends
from moto.autoscaling.responses import AutoScalingResponse
from moto.core.responses import ActionResult, EmptyResult

from local.strict import ec2
from local.strict.overlay import lay
from local.strict.watch import announce, one_at_a_time

LAUNCHING = "autoscaling:EC2_INSTANCE_LAUNCHING"
TRANSITIONS = {LAUNCHING, "autoscaling:EC2_INSTANCE_TERMINATING"}
MOST_HOOKS = 50  # a group (Auto Scaling quotas)

_replace_instances = FakeAutoScalingGroup.replace_autoscaling_group_instances
_create_group, _put_hook = AutoScalingResponse.create_auto_scaling_group, AutoScalingBackend.create_lifecycle_hook
_delete_hook = AutoScalingBackend.delete_lifecycle_hook
_describe_groups, _describe_hooks = (
    AutoScalingResponse.describe_auto_scaling_groups,
    AutoScalingResponse.describe_lifecycle_hooks,
)


@dataclass
class Action:
    """A lifecycle action: one hook holding one launching instance, with the result and timeout of when it began."""

    group: Any
    state: Any
    hook: str
    token: str
    default_result: str
    timeout: int
    deadline: float
    latest: float  # no heartbeat moves the deadline beyond it

    @property
    def instance_id(self) -> str:
        """The instance that waits."""
        return str(self.state.instance.id)


def _waiting(backend: Any) -> list[Action]:
    return backend.__dict__.setdefault("lifecycle_actions", [])  # goes with the backend when moto is reset


def _report(detail_type: str, group: Any, instance_id: str, **detail: str) -> None:
    detail = {"AutoScalingGroupName": group.name, "EC2InstanceId": instance_id, **detail}
    where = f"arn:aws:ec2:{group.region}:{group.account_id}:instance/{instance_id}"
    announce("aws.autoscaling", detail_type, detail, (group.arn, where))


def pooled(group: Any) -> list[Any]:
    """The instances of a group's warm pool, which are no members of the group yet."""
    return group.__dict__.setdefault("pooled", [])


def launch_hooks(group: Any) -> list[Any]:
    """The hooks of a group that hold launches."""
    hooks = group.autoscaling_backend.describe_lifecycle_hooks(group.name)
    return [hook for hook in hooks if hook.lifecycle_transition == LAUNCHING]


def hold(group: Any, state: Any, hook: Any, origin: str = "EC2", destination: str = "AutoScalingGroup") -> None:
    """Has a launch wait at a hook on its way from here to there, with a token of its own."""
    state.lifecycle_state, now = "Warmed:Pending:Wait" if destination == "WarmPool" else "Pending:Wait", time.time()
    limits = hook.heartbeat_timeout, now + hook.heartbeat_timeout, now + hook.global_timeout
    action = Action(group, state, hook.name, str(uuid4()), hook.default_result, *limits)
    _waiting(group.autoscaling_backend).append(action)
    detail = {"LifecycleActionToken": action.token, "LifecycleHookName": hook.name, "LifecycleTransition": LAUNCHING}
    _report("EC2 Instance-launch Lifecycle Action", group, action.instance_id, **detail, Origin=origin,
            Destination=destination)  # fmt: skip


def rest(group: Any, state: Any) -> None:
    """Has one that was launched rest in the warm pool, in the state that the pool keeps."""
    state.lifecycle_state = f"Warmed:{group.warm_pool.pool_state}"
    if group.warm_pool.pool_state != "Running":
        state.instance.stop()
    _report("EC2 Instance Launch Successful", group, state.instance.id, StatusCode="InProgress", Origin="EC2",
            Destination="WarmPool")  # fmt: skip


def into_service(group: Any, state: Any) -> None:
    """Has a member serve, behind the group's balancers."""
    state.lifecycle_state = "InService"
    if group.name in group.autoscaling_backend.autoscaling_groups:
        group.autoscaling_backend.update_attached_elbs(group.name)
    # StatusCode "InProgress" is what recorded events of a finished launch carry.
    _report("EC2 Instance Launch Successful", group, state.instance.id, StatusCode="InProgress")


def _end(backend: Any, action: Action, result: str) -> None:
    own = [each for each in _waiting(backend) if each.instance_id == action.instance_id]
    if result == "CONTINUE":
        _waiting(backend).remove(action)
        if len(own) == 1 and action.state in pooled(action.group):
            rest(action.group, action.state)
        elif len(own) == 1:  # where a second hook waits, the instance stays in Pending:Wait
            action.state.lifecycle_state = "Pending:Proceed"
            if not getattr(backend, "holds_at_proceed", False):
                into_service(action.group, action.state)
        return
    backend.ec2_backend.terminate_instances([action.instance_id])
    backend.notify_terminate_instances([action.instance_id])


def _backends() -> Iterator[Any]:
    return (backend for _, _, backend in list(autoscaling_backends.iter_backends()))


def expire(now: float | None = None) -> None:
    """Applies the default result of every lifecycle action whose time is up."""
    with one_at_a_time:
        for backend in _backends():
            for action in [each for each in _waiting(backend) if each.deadline <= (now or time.time())]:
                if action in _waiting(backend):
                    _end(backend, action, action.default_result)


def next_expiry() -> float | None:
    """When the next lifecycle action runs out of time."""
    with one_at_a_time:
        return min((action.deadline for backend in _backends() for action in _waiting(backend)), default=None)


def hold_at_proceed(held: bool, region: str = "us-east-1", account: str = "123456789012") -> None:
    """While held, completed launches stay in Pending:Proceed, which AWS shows for seconds; releasing ends that."""
    with one_at_a_time:
        backend = autoscaling_backends[account][region]
        backend.holds_at_proceed = held
        states = [(group, each) for group in backend.autoscaling_groups.values() for each in group.instance_states]
        for group, state in states:
            if not held and state.lifecycle_state == "Pending:Proceed":
                into_service(group, state)


class _Group:
    def active_instances(self: Any) -> Any:
        return [state for state in self.instance_states if state.lifecycle_state != "Standby"]

    def replace_autoscaling_group_instances(self: Any, count_needed: int, propagated_tags: Any) -> None:
        before = len(self.instance_states)
        _replace_instances(self, count_needed, propagated_tags)
        hooks = launch_hooks(self)
        for state in self.instance_states[before:]:
            for hook in hooks:
                hold(self, state, hook)
            if not hooks:
                into_service(self, state)


class _Backend:
    def update_attached_elbs(self: Any, group_name: str) -> None:
        """Makes the members by Auto Scaling of the group's balancers those in service, of all groups that name them."""
        for name in self.autoscaling_groups[group_name].load_balancer_names:
            self.register_groups_with(name)

    def register_groups_with(self: Any, name: str) -> None:
        groups = [group for group in self.autoscaling_groups.values() if name in group.load_balancer_names]
        in_service = [s.instance.id for g in groups for s in g.instance_states if s.lifecycle_state == "InService"]
        if balancer := self.elb_backend.load_balancers.get(name):
            by_hand = balancer.instance_sparse_ids
            balancer.instance_autoscaling_ids = [each for each in in_service if each not in by_hand]

    def detach_load_balancers(self: Any, group_name: str, load_balancer_names: list[str]) -> None:
        group = self.autoscaling_groups[group_name]
        group.load_balancer_names = [name for name in group.load_balancer_names if name not in load_balancer_names]
        for name in load_balancer_names:
            self.register_groups_with(name)

    def create_lifecycle_hook(
        self: Any, name: str, as_name: str, transition: Any, timeout: int | None, result: str | None
    ) -> Any:
        old = self.lifecycle_hooks.get(f"{as_name}_{name}")
        transition = transition or (old and old.lifecycle_transition)
        if not transition:
            raise ValidationError("LifecycleTransition is required for a new lifecycle hook")
        if transition not in TRANSITIONS:
            raise ValidationError(f"LifecycleTransition {transition} must be one of {', '.join(sorted(TRANSITIONS))}")
        if not re.fullmatch(r"[A-Za-z0-9\-_/]{1,255}", name):  # AsciiStringMaxLen255 of the service model
            raise ValidationError(f"LifecycleHookName {name} must be 1 to 255 letters, digits, -, _ or /")
        if not old and len(self.describe_lifecycle_hooks(as_name)) >= MOST_HOOKS:
            raise AutoscalingClientError("LimitExceeded", f"{as_name} has {MOST_HOOKS} lifecycle hooks")
        timeout, result = timeout or (old and old.heartbeat_timeout), result or (old and old.default_result)
        if timeout and not 30 <= timeout <= 7200:
            raise ValidationError("HeartbeatTimeout must be between 30 and 7200 seconds")
        if result not in {None, "CONTINUE", "ABANDON"}:
            raise ValidationError(f"DefaultResult {result} must be CONTINUE or ABANDON")
        hook = _put_hook(self, name, as_name, transition, timeout, result)
        hook.role_arn = hook.notification_target_arn = None
        hook.global_timeout = min(172800, 100 * hook.heartbeat_timeout)
        return hook

    def delete_lifecycle_hook(self: Any, as_name: str, name: str) -> None:
        # "If there are any outstanding lifecycle actions, they are completed first (ABANDON for launching instances)."
        _delete_hook(self, as_name, name)
        for action in [each for each in _waiting(self) if (each.group.name, each.hook) == (as_name, name)]:
            if action in _waiting(self):
                _end(self, action, "ABANDON")


class _Response:
    def create_auto_scaling_group(self: Any) -> Any:
        name, hooks = self.params["AutoScalingGroupName"], self.params.get("LifecycleHookSpecificationList") or []
        for hook in hooks:  # first, so that they hold the very first instances
            limits = hook.get("HeartbeatTimeout"), hook.get("DefaultResult")
            self.autoscaling_backend.create_lifecycle_hook(
                hook["LifecycleHookName"], name, hook["LifecycleTransition"], *limits
            )
        return _create_group(self)

    def _group(self: Any) -> Any:
        name = self.params["AutoScalingGroupName"]
        if name not in self.autoscaling_backend.autoscaling_groups:
            raise ValidationError(f"AutoScalingGroup name not found - AutoScalingGroup {name} not found")
        return self.autoscaling_backend.autoscaling_groups[name]

    def describe_auto_scaling_groups(self: Any) -> Any:
        names = [group.name for group in self.autoscaling_backend.describe_auto_scaling_groups([])]
        if int(self.params.get("MaxRecords") or 0) > 100:
            raise ValidationError("MaxRecords must be at most 100")
        if self.params.get("NextToken") not in {None, *names}:
            raise AutoscalingClientError("InvalidNextToken", "The token is not valid.")
        return _describe_groups(self)

    def describe_lifecycle_hooks(self: Any) -> Any:
        self._group()
        if len(self.params.get("LifecycleHookNames") or []) > 50:
            raise ValidationError("LifecycleHookNames must have at most 50 members")
        return _describe_hooks(self)

    def delete_lifecycle_hook(self: Any) -> Any:
        group, name = self._group().name, self.params["LifecycleHookName"]
        if not self.autoscaling_backend.describe_lifecycle_hooks(group, [name]):
            raise ValidationError(f"No Lifecycle Hook found with name {name} in AutoScalingGroup {group}")
        self.autoscaling_backend.delete_lifecycle_hook(group, name)
        return EmptyResult()

    def put_lifecycle_hook(self: Any) -> Any:
        self._group()
        names = (
            "LifecycleHookName",
            "AutoScalingGroupName",
            "LifecycleTransition",
            "HeartbeatTimeout",
            "DefaultResult",
        )
        self.autoscaling_backend.create_lifecycle_hook(*(self.params.get(name) for name in names))
        return EmptyResult()

    def _action(self: Any) -> Action:
        asked, token, instance = self.params, self.params.get("LifecycleActionToken"), self.params.get("InstanceId")
        for action in _waiting(self.autoscaling_backend):
            right = (action.group.name, action.hook) == (asked["AutoScalingGroupName"], asked["LifecycleHookName"])
            if (
                right
                and token in {None, action.token}
                and instance in {None, action.instance_id}
                and (token or instance)
            ):
                return action
        raise ValidationError(f"No active Lifecycle Action found with instance ID {instance or token}")

    def complete_lifecycle_action(self: Any) -> Any:
        result = self.params["LifecycleActionResult"]
        if result not in {"CONTINUE", "ABANDON"}:
            raise ValidationError(f"LifecycleActionResult {result} must be CONTINUE or ABANDON")
        _end(self.autoscaling_backend, self._action(), result)
        return EmptyResult()

    def record_lifecycle_action_heartbeat(self: Any) -> Any:
        action = self._action()
        action.deadline = min(time.time() + action.timeout, action.latest)
        return EmptyResult()

    def _start(self: Any) -> int:
        token = self.params.get("NextToken") or "0"
        if not token.isdecimal():
            raise AutoscalingClientError("InvalidNextToken", "The token is not valid.")
        return int(token)

    def describe_auto_scaling_instances(self: Any) -> Any:
        ids, start = self.params.get("InstanceIds") or [], self._start()
        size = self.params.get("MaxRecords") or 50
        if len(ids) > 50 or size > 50:
            raise ValidationError("At most 50 instances can be described in one call")
        states = self.autoscaling_backend.describe_auto_scaling_instances(ids)
        token = str(start + size) if len(states) > start + size else None
        return ActionResult({"AutoScalingInstances": states[start : start + size], "NextToken": token})


def _ended(ec2_backend: Any, instance: Any) -> None:
    waiting = _waiting(autoscaling_backends[ec2_backend.account_id][ec2_backend.region_name])
    waiting[:] = [action for action in waiting if action.instance_id != instance.id]
    if group := getattr(instance, "autoscaling_group", None):
        _report("EC2 Instance Terminate Successful", group, instance.id, StatusCode="InProgress")


def apply() -> None:
    """Lays the corrections over moto's Auto Scaling."""
    lay(_Group, FakeAutoScalingGroup)
    lay(_Backend, AutoScalingBackend)
    lay(_Response, AutoScalingResponse)
    ec2.on_end = _ended
