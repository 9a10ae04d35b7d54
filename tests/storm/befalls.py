"""What a decision does: faults are armed, and operators act on an account as they do on AWS.

Each public method is a decision's `what`. Whoever is meant by a number is the so-manieth of those there, if any.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from smtp_fleet import events
from smtp_fleet.evidence import COMMAND_WAIT
from smtp_fleet.fleet import HOOK_NAME
from tests.account.account import Pace
from tests.smtp_fleet.world import SETTINGS
from tests.storm.hosts import Hosts
from tests.storm.stack import Stack
from tests.storm.weather import PATIENCE, Fault, Weather

OURS, SECOND, OTHER = "mx-1", "mx-2", "other"
LISTENER = {"Protocol": "tcp", "LoadBalancerPort": 25, "InstanceProtocol": "tcp", "InstancePort": 25}
FATES = {"lost": ((),), "twice": ((0, 3),), "late": ((20,), (0,), (70,)), "very late": ((900,), (5,), (400, 0))}
"""What becomes of what is sent, in turns: one delivery per delay in seconds."""

USUAL = Pace(
    hidden=3, described=2, pending=12, proceed=2, terminating=20, replacing=30, starting=15, shown=2, tagged=4, burst=5
)
PACES = {
    "usual": USUAL,
    "at once": Pace(burst=5),
    "slow": replace(
        USUAL, hidden=45, described=20, pending=60, proceed=10, terminating=90, replacing=90, shown=8, tagged=60
    ),
}


class Befalls:
    """Everything that can befall one stack on one account."""

    def __init__(self, account: Any, stack: Stack, weather: Weather, hosts: Hosts, excuse: Callable[..., None]) -> None:
        self._account = account
        self._excuse = excuse
        self._stack = stack
        self._weather = weather
        self._hosts = hosts
        names = ("elb", "autoscaling", "ec2")
        self._elb, self._autoscaling, self._ec2 = (account.client(name) for name in names)
        self.agents: list[float] = []
        self.fates: dict[str, tuple[float, str, list[int]]] = {}
        self.sick_images: list[tuple[float, str]] = []

    # ---- calls

    def _arm(self, faults: list[Fault], strike: Any, seconds: float = PATIENCE, stays: bool = False) -> None:
        faults.append(Fault(self._account.clock.now + seconds, strike, stays))

    def fail(self, operation: str, code: str) -> None:
        """The next call of an operation fails."""
        self._arm(self._weather.before_call[operation], self._weather.fails(code))

    def outage(self, operation: str, code: str, seconds: int) -> None:
        """Every call of an operation fails for a while."""
        self._arm(self._weather.before_call[operation], self._weather.fails(code), seconds, stays=True)

    def lose_answer(self, operation: str) -> None:
        """The next call of an operation takes effect, and times out."""
        self._arm(self._weather.after_call[operation], self._weather.no_answer)

    def send_twice(self, operation: str) -> None:
        """The SDK sends the next call of an operation again, for it heard nothing; the second answer is told."""
        self._arm(self._weather.again[operation], lambda service, operation: None)

    def take_long(self, operation: str, seconds: int) -> None:
        """The next call of an operation takes so long; the function may reach its limit."""
        self._arm(self._weather.before_call[operation], self._weather.takes(seconds))

    def kill(self, operation: str, when: str) -> None:
        """The function dies before or after the next call of an operation."""
        faults = self._weather.before_call if when == "before" else self._weather.after_call
        self._arm(faults[operation], self._weather.kills)

    def meanwhile(self, operation: str, what: str, *args: Any) -> None:
        """Just before the next call of an operation something else happens."""
        self._arm(self._weather.before_call[operation], lambda *_: self.befall(what, args))

    def rain(self, every: int, seconds: int) -> None:
        """For a while every so-manieth call fails, or the function dies at it."""
        self._weather.rain = (self._account.clock.now + seconds, every)

    def pace(self, name: str) -> None:
        """AWS is slower than usual, or at once."""
        self._account.pace = PACES[name]

    def quota(self, most: int, seconds: int) -> None:
        """For a while no more invocations than these may be pending."""
        account, clock = self._account, self._account.clock
        account.pace = replace(account.pace, quota=most)
        clock.at(clock.now + seconds, lambda: setattr(account, "pace", replace(account.pace, quota=10**9)))

    def leave_keys(self) -> None:
        """The next BatchGetItem leaves a key unprocessed."""
        self._arm(self._weather.shorten, lambda *_: None)

    def turn(self, function: str) -> None:
        """A function runs, if it has anything to do: beside one that is under way."""
        if len(self._stack.runs) < 2:
            self._stack.invoke(function)

    # ---- events, messages, agents, hosts

    def events(self, fate: str, seconds: int) -> None:
        """For a while events are lost, repeated or late."""
        self.fates["events"] = (self._account.clock.now + seconds, fate, [0])

    def messages(self, fate: str, seconds: int) -> None:
        """For a while the functions' own messages are lost, repeated or late."""
        self.fates["messages"] = (self._account.clock.now + seconds, fate, [0])

    def fate(self, kind: str) -> Iterable[float]:
        """The delays with which one event or message arrives; nothing: it is lost."""
        until, fate, turn = self.fates.get(kind, (0, "", [0]))
        if until <= self._account.clock.now:
            return (0,)
        turn[0] += 1
        return FATES[fate][turn[0] % len(FATES[fate])]

    def agent_late(self, seconds: int) -> None:
        """The agent of the next instance that starts comes late."""
        self.agents.append(seconds)

    def agent_lost(self, which: int, seconds: int) -> None:
        """An agent loses its connection for a while."""
        for instance in self._some(which, lambda slot: True):
            if instance in self._account.ssm.nodes:
                self._account.ssm.register(instance, "ConnectionLost")
                clock = self._account.clock
                clock.at(clock.now + seconds, partial(self._account.ssm.register, instance))

    def command(self, how: str, which: int) -> None:
        """The next command to an instance goes wrong."""
        for instance in self._some(which, lambda slot: True):
            self._hosts[instance].next.append(how)

    def sick(self, which: int, how: str, seconds: int) -> None:
        """A host is sick for a while: it does nothing, and says why."""
        for instance in self._some(which, lambda slot: True):
            host, clock = self._hosts[instance], self._account.clock
            host.sick = how
            clock.at(clock.now + seconds, partial(setattr, host, "sick", ""))

    def sick_image(self, how: str, seconds: int) -> None:
        """For a while every instance that is launched is sick, for good."""
        self.sick_images.append((self._account.clock.now + seconds, how))

    def clear(self) -> None:
        """The storm is over: nothing goes wrong any more that is not under way, and the sick are well."""
        self.agents.clear()
        self.fates.clear()
        self.sick_images.clear()
        self._hosts.recover()
        self.pace("usual")
        self.detach_targets()

    def forged(self, queue: str, what: str) -> None:
        """A message comes that nobody of ours has sent: unknown, or one that names what is none of its business."""
        group = self._account.autoscaling.groups.get(OURS)
        instance = next(iter(group.slots if group else ()), "i-00000000")
        told = {"instance": instance, "volume": self._hosts.volume_of(instance), "asked_at": 0, "group": OURS}
        body = {
            "garbage": "{",
            "unknown": json.dumps({"source": "aws.s3", "detail": {}}),
            "of others": json.dumps(events.wake(events.Where("forged", frozenset({OTHER}), frozenset({OTHER})))),
            "of nobody": json.dumps(events.wake(events.Where("forged", frozenset({"gone"}), frozenset({"gone"})))),
            **{kind: json.dumps({"kind": kind, "machines": [told]}) for kind in ("admit", "reject", "ask")},
        }[what]
        self._account.sqs.put(queue, body, forged=True)

    # ---- operators

    def befall(self, what: str, args: tuple[Any, ...]) -> None:
        """Carry a decision out; what AWS refuses an operator does not happen."""
        for run in self._stack.runs:
            run.spoiled = True  # it may be right no more about what it has read
        try:
            getattr(self, what)(*args)
        except ClientError:
            return

    def tag(self, value: str) -> None:
        """The balancers are tagged."""
        for name in (OURS, SECOND):
            if name in self._account.elb.balancers:
                self._elb.add_tags(LoadBalancerNames=[name], Tags=[{"Key": SETTINGS.tag_key, "Value": value}])

    def untag(self) -> None:
        """Somebody takes the tag off."""
        self._elb.remove_tags(LoadBalancerNames=[OURS], Tags=[{"Key": SETTINGS.tag_key}])

    def _group(self) -> Any:
        return self._account.autoscaling.groups.get(OURS)

    def _some(self, which: int, fits: Any) -> list[str]:
        """The so-manieth instance that fits, as a list of at most one."""
        group = self._group()
        found = [i for i, slot in group.slots.items() if slot.shown and fits(slot)] if group else []
        return [found[which % len(found)]] if found else []

    def scale_out(self, count: int) -> None:
        """The group grows."""
        if group := self._group():
            wanted = min(8, group.desired + count)
            self._autoscaling.set_desired_capacity(AutoScalingGroupName=OURS, DesiredCapacity=wanted)

    def scale_in(self, count: int) -> None:
        """The group shrinks."""
        if group := self._group():
            wanted = max(0, group.desired - count)
            self._autoscaling.set_desired_capacity(AutoScalingGroupName=OURS, DesiredCapacity=wanted)

    def terminate(self, which: int) -> None:
        """An instance is terminated through its group, and replaced."""
        for instance in self._some(which, lambda slot: not slot.ends):
            self._autoscaling.terminate_instance_in_auto_scaling_group(
                InstanceId=instance, ShouldDecrementDesiredCapacity=False
            )

    def die(self, which: int) -> None:
        """An instance ends without its group."""
        for instance in self._some(which, lambda slot: not slot.ends):
            self._ec2.terminate_instances(InstanceIds=[instance])

    def remove_policy(self) -> None:
        """Somebody takes all policies off instance port 25."""
        self._elb.set_load_balancer_policies_for_backend_server(LoadBalancerName=OURS, InstancePort=25, PolicyNames=[])

    def add_policy_of_others(self) -> None:
        """Somebody puts a policy of his own beside whatever is on instance port 25."""
        self._elb.create_load_balancer_policy(
            LoadBalancerName=OURS, PolicyName="theirs", PolicyTypeName="BackendServerAuthenticationPolicyType"
        )
        on = self._account.elb.balancers[OURS].on.get(25, [])
        self._elb.set_load_balancer_policies_for_backend_server(
            LoadBalancerName=OURS, InstancePort=25, PolicyNames=list(dict.fromkeys([*on, "theirs"]))
        )

    def remove_hook(self) -> None:
        """Somebody deletes our hook: who waits is abandoned."""
        self._autoscaling.delete_lifecycle_hook(AutoScalingGroupName=OURS, LifecycleHookName=HOOK_NAME)

    def standby(self, which: int) -> None:
        """An instance steps aside."""
        for instance in self._some(which, lambda slot: slot.state == "InService"):
            self._autoscaling.enter_standby(
                AutoScalingGroupName=OURS, InstanceIds=[instance], ShouldDecrementDesiredCapacity=True
            )

    def back(self, which: int) -> None:
        """An instance comes back from standby."""
        for instance in self._some(which, lambda slot: slot.state == "Standby"):
            self._autoscaling.exit_standby(AutoScalingGroupName=OURS, InstanceIds=[instance])

    def detach_instance(self, which: int) -> None:
        """An instance leaves its group, and lives on."""
        for instance in self._some(which, lambda slot: slot.state == "InService"):
            self._autoscaling.detach_instances(
                AutoScalingGroupName=OURS, InstanceIds=[instance], ShouldDecrementDesiredCapacity=True
            )

    def heartbeat(self, which: int) -> None:
        """Somebody gives an instance that waits more time."""
        for instance in self._some(which, lambda slot: slot.state.endswith("Pending:Wait")):
            self._autoscaling.record_lifecycle_action_heartbeat(
                AutoScalingGroupName=OURS, LifecycleHookName=HOOK_NAME, InstanceId=instance
            )

    def warm_pool(self, size: int, state: str, reuse: bool) -> None:
        """The group gets a warm pool."""
        self._autoscaling.put_warm_pool(
            AutoScalingGroupName=OURS, MinSize=size, MaxGroupPreparedCapacity=size, PoolState=state,
            InstanceReusePolicy={"ReuseOnScaleIn": reuse},
        )  # fmt: skip

    def no_warm_pool(self) -> None:
        """The warm pool goes, with who is in it."""
        self._autoscaling.delete_warm_pool(AutoScalingGroupName=OURS, ForceDelete=True)

    def replace_root(self, which: int) -> None:
        """An instance gets a new root volume, by its group."""
        for instance in self._some(which, lambda slot: slot.state == "InService"):
            self._account.autoscaling.lifecycle.replace_root(instance, 40)

    def new_image(self, version: str) -> None:
        """The group launches another image from now on."""
        self.sick_images.clear()
        told = {"LaunchTemplateId": "lt-00000000000000001", "Version": version}
        self._autoscaling.update_auto_scaling_group(AutoScalingGroupName=OURS, LaunchTemplate=told)

    def delete_group(self) -> None:
        """The group is deleted with all that is in it."""
        self._autoscaling.delete_auto_scaling_group(AutoScalingGroupName=OURS, ForceDelete=True)

    def create_group(self, desired: int) -> None:
        """A group of the same name comes."""
        self._autoscaling.create_auto_scaling_group(
            AutoScalingGroupName=OURS, MinSize=0, MaxSize=20, DesiredCapacity=desired, LoadBalancerNames=[OURS],
            AvailabilityZones=["us-east-1a"],
        )  # fmt: skip

    def detach_balancer(self) -> None:
        """The group leaves its balancer."""
        self._autoscaling.detach_load_balancers(AutoScalingGroupName=OURS, LoadBalancerNames=[OURS])

    def attach_balancer(self) -> None:
        """The group comes back to its balancer, with whoever is in service."""
        for instance in self._group().slots if self._group() else ():
            self._excuse(instance, COMMAND_WAIT)  # it may be told just now to let go
        self._autoscaling.attach_load_balancers(AutoScalingGroupName=OURS, LoadBalancerNames=[OURS])

    def edit(self, which: int) -> None:
        """Somebody sets a host's Postfix back by hand."""
        for instance in self._some(which, lambda slot: slot.state == "InService"):
            self._hosts[instance].expects = frozenset()
            self._excuse(instance)

    def register_by_hand(self) -> None:
        """An instance that left its group comes behind the balancer."""
        grouped = {i for group in self._account.autoscaling.groups.values() for i in group.slots}
        alone = [i for i in self._account.ec2.instances if i not in grouped and self._account.ec2.is_running(i)]
        for instance in alone[:1]:
            self._excuse(instance)
            self._elb.register_instances_with_load_balancer(LoadBalancerName=OURS, Instances=[{"InstanceId": instance}])

    def attach_targets(self) -> None:
        """A network load balancer feeds the same instance port."""
        told = self._account.client("elbv2").create_target_group(Name="targets", Port=25)
        arns = [group["TargetGroupArn"] for group in told["TargetGroups"]]
        self._autoscaling.attach_load_balancer_target_groups(AutoScalingGroupName=OURS, TargetGroupARNs=arns)

    def detach_targets(self) -> None:
        """No network load balancer feeds it any more."""
        if (group := self._group()) and group.targets:
            arns = list(group.targets)
            self._autoscaling.detach_load_balancer_target_groups(AutoScalingGroupName=OURS, TargetGroupARNs=arns)

    def second_balancer(self, value: str) -> None:
        """Another balancer comes before the same group."""
        self._elb.create_load_balancer(
            LoadBalancerName=SECOND, AvailabilityZones=["us-east-1a"], Listeners=[LISTENER],
            Tags=[{"Key": SETTINGS.tag_key, "Value": value}],
        )  # fmt: skip
        self._autoscaling.attach_load_balancers(AutoScalingGroupName=OURS, LoadBalancerNames=[SECOND])

    def delete_second_balancer(self) -> None:
        """The other balancer goes."""
        self._autoscaling.detach_load_balancers(AutoScalingGroupName=OURS, LoadBalancerNames=[SECOND])
        self._elb.delete_load_balancer(LoadBalancerName=SECOND)
