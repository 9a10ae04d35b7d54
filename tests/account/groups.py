"""What there is of Auto Scaling: groups, instances, hooks, warm pools and lifecycle actions, and how it is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

LAUNCHING = "autoscaling:EC2_INSTANCE_LAUNCHING"
GROUP, POOL = "AutoScalingGroup", "WarmPool"


@dataclass(frozen=True)
class Hook:
    """A lifecycle hook: what it ends in by itself, and after how many seconds."""

    name: str
    transition: str
    default_result: str
    timeout: int

    @property
    def longest(self) -> int:
        """Seconds beyond which no heartbeat holds an instance."""
        return min(172_800, 100 * self.timeout)


@dataclass
class Action:
    """A lifecycle action: a hook, as it was when the launch began, that holds one instance."""

    group: Group
    slot: Slot
    hook: Hook
    token: str
    deadline: float
    latest: float


@dataclass
class Slot:
    """An instance of a group or of its warm pool.

    `began` is when it set out for service last (a launch, a way out of the pool, a new root volume); `hooks` are
    those that were on the group when the launch began; `shown` tells whether the API shows it already, and `held` by
    which hooks it was let into service, the last time that it went.
    """

    instance_id: str
    state: str
    hooks: tuple[Hook, ...]
    origin: str
    destination: str
    began: float
    shown: bool = False
    actions: list[Action] = field(default_factory=list)
    held: frozenset[str] = frozenset()

    @property
    def pooled(self) -> bool:
        """Whether it is in the warm pool."""
        return self.state.startswith("Warmed:")

    @property
    def counts(self) -> bool:
        """Whether it is a part of the capacity."""
        return not self.pooled and not self.ends and self.state not in ("Standby", "Detaching")

    @property
    def ends(self) -> bool:
        """Whether it is on its way out."""
        return "Terminat" in self.state

    @property
    def rests(self) -> bool:
        """Whether it is ready in the warm pool."""
        return self.state in ("Warmed:Stopped", "Warmed:Running")


@dataclass
class Pool:
    """A warm pool: at least so many, up to so many prepared in all, how they rest, and whether scaling in fills it."""

    minimum: int
    prepared: int
    state: str
    reuse: bool

    def size(self, desired: int) -> int:
        """How many instances are to rest in it."""
        return max(self.minimum, self.prepared - desired)


@dataclass
class Group:
    """An Auto Scaling group."""

    name: str
    minimum: int
    maximum: int
    desired: int
    balancers: list[str]
    targets: list[str]
    slots: dict[str, Slot] = field(default_factory=dict)
    hooks: dict[str, Hook] = field(default_factory=dict)
    pool: Pool | None = None
    template: dict[str, str] = field(default_factory=dict)
    deleting: bool = False

    @property
    def arn(self) -> str:
        """Its name, for events."""
        return f"arn:aws:autoscaling:us-east-1:123456789012:autoScalingGroup:0:autoScalingGroupName/{self.name}"

    def actions(self) -> list[Action]:
        """The lifecycle actions that are not over."""
        return [action for slot in self.slots.values() for action in slot.actions]

    def capacity(self) -> int:
        """How many instances it has that count."""
        return sum(slot.counts for slot in self.slots.values())

    def described(self) -> dict[str, Any]:
        """As DescribeAutoScalingGroups tells of it; the warm pool's instances are not among its own."""
        told = {
            "AutoScalingGroupName": self.name,
            "MinSize": self.minimum,
            "MaxSize": self.maximum,
            "DesiredCapacity": self.desired,
            "LoadBalancerNames": list(self.balancers),
            "TargetGroupARNs": list(self.targets),
            "Instances": [
                {"InstanceId": slot.instance_id, "LifecycleState": slot.state}
                for slot in self.slots.values()
                if slot.shown and not slot.pooled
            ],
        }
        if self.template:
            told["LaunchTemplate"] = dict(self.template)
        if self.pool:
            told["WarmPoolConfiguration"] = {"MinSize": self.pool.minimum, "PoolState": self.pool.state}
        return told | ({"Status": "Delete in progress"} if self.deleting else {})


def described_hook(group: str, hook: Hook) -> dict[str, Any]:
    """As DescribeLifecycleHooks tells of a hook."""
    return {
        "LifecycleHookName": hook.name,
        "AutoScalingGroupName": group,
        "LifecycleTransition": hook.transition,
        "HeartbeatTimeout": hook.timeout,
        "GlobalTimeout": hook.longest,
        "DefaultResult": hook.default_result,
    }
