"""What must hold at every instant of a storm, and how everything must stand once it is over."""

from __future__ import annotations

from typing import Any

from local.strict import Call
from smtp_fleet.fleet import HOOK_NAME
from tests.smtp_fleet.world import LAG, SETTINGS
from tests.storm.befalls import OTHER, OURS, SECOND
from tests.storm.hosts import Hosts

READS = ("Describe", "List", "Get", "BatchGet")
PORT = 25


class BrokenLaw(AssertionError):
    """A balancer sends what somebody behind it does not expect, or something was touched that is none of ours."""


class Law:
    """Watches an account: where a balancer sends, its data plane's lag included, every instance in service expects.

    Outside the law, as the design has it, is an instance that came to a sending balancer past our hook: launched before
    the hook was there, or attached with its group; until it expects for the first time.
    """

    def __init__(self, account: Any, hosts: Hosts) -> None:
        self._account = account
        self._hosts = hosts
        self._sent_until: dict[str, float] = {}
        self._sends: dict[str, bool] = {}
        self._behind: dict[str, set[str]] = {}
        self._past_us: dict[str, float] = {}

    def watch(self) -> None:
        """Raises BrokenLaw."""
        now = self._account.clock.now
        for name, balancer in self._account.elb.balancers.items():
            sends = SETTINGS.policy_name in balancer.on.get(PORT, ())
            if self._sends.get(name) and not sends:
                self._sent_until[name] = now + LAG
            self._sends[name] = sends
            behind, before = set(balancer.instances), self._behind.get(name, set())
            if sends or self._sent_until.get(name, 0) > now:
                for instance in [i for i in behind - before if not self._came_by_our_hook(i)]:
                    self.excuse(instance)
                self._check(name, behind)
            self._behind[name] = behind

    def excuse(self, instance: str, seconds: float = 0) -> None:
        """Somebody took an instance past us: it stands outside the law for a while, and on until it expects."""
        self._past_us[instance] = self._account.clock.now + seconds

    def _came_by_our_hook(self, instance: str) -> bool:
        for group in self._account.autoscaling.groups.values():
            if slot := group.slots.get(instance):
                return HOOK_NAME in slot.held
        return False

    def _check(self, name: str, behind: set[str]) -> None:
        for instance in sorted(behind):
            if PORT in self._hosts[instance].expects:
                if self._past_us.get(instance, 0) <= self._account.clock.now:
                    self._past_us.pop(instance, None)
            elif instance not in self._past_us and self._account.ec2.is_running(instance):
                raise BrokenLaw(f"{name} sends to {instance}, which does not expect it")

    def judge(self, call: Call) -> None:
        """Raises BrokenLaw where a function writes to what is outside the tag."""
        if call.operation.startswith(READS) or call.caller == "operator" or call.service in ("dynamodb", "sqs"):
            return
        touched = [call.params.get(key) for key in ("LoadBalancerName", "AutoScalingGroupName")]
        touched += call.params.get("InstanceIds", ())
        others = {OTHER, *self._account.autoscaling.groups[OTHER].slots}
        if others & set(touched):
            raise BrokenLaw(f"{call.operation} touches {touched}, which nobody tagged")

    # ---- the end

    def complaints(self, wanted: str, stack: Any) -> list[str]:
        """What is not as it should be once all is over, where `wanted` is the tag's value; none: all is right."""
        elb, groups = self._account.elb.balancers, self._account.autoscaling.groups
        group, on = groups.get(OURS), wanted == "enabled"
        ours = [elb[name] for name in (OURS, SECOND) if name in elb]
        rests = any(slot.pooled for slot in group.slots.values()) if group else False
        found = []
        for balancer in ours:
            sends = SETTINGS.policy_name in balancer.on.get(PORT, ())
            if sends != on:
                found.append(f"{balancer.name} {'sends' if sends else 'does not send'}, and is tagged {wanted}")
            alone = [i for i in balancer.instances if not group or i not in group.slots]
            for instance in [i for i in alone if self._account.ec2.is_running(i)]:
                if (PORT in self._hosts[instance].expects) != on and not self._hosts[instance].theirs:
                    found.append(f"{instance}, registered by hand, {'does not expect' if on else 'still expects'}")
            if not on and not rests and SETTINGS.policy_name in balancer.policies:
                found.append(f"{balancer.name} still has our policy")
        if group:
            found += self._of_group(group, on and any(b.name in group.balancers for b in ours), rests)
        found += [f"{OTHER} was touched" for _ in [0] if elb[OTHER].on or elb[OTHER].policies or groups[OTHER].hooks]
        for name, queue in stack.queues.items():
            found += [f"a message waits for the {name} for ever: {m.body}" for m in queue.messages.values()]
            found += [f"dead without a fault: {m.body}" for m in queue.dead if m.spoiled < m.receives - 1]
        return found

    def _of_group(self, group: Any, on: bool, rests: bool) -> list[str]:
        found = []
        for instance, slot in group.slots.items():
            host = self._hosts[instance]
            if slot.pooled:
                found += [f"{instance} waits for ever as {slot.state}" for _ in [0] if slot.actions]
            elif slot.state not in ("InService", "Standby"):
                found.append(f"{instance} is {slot.state} for ever")
            elif (PORT in host.expects) != on and not host.theirs:
                found.append(f"{instance} {'does not expect' if on else 'still expects'} the header")
        if on != (HOOK_NAME in group.hooks) and (on or not rests):
            found.append(f"our hook is {'not on' if on else 'still on'} {group.name}")
        return found
