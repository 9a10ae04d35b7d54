"""What must hold at every instant of a storm, and how everything must stand once it is over."""

from __future__ import annotations

from typing import Any

from local.strict import Call
from smtp_fleet.fleet import HOOK_NAME
from tests.smtp_fleet.world import LAG, SETTINGS
from tests.storm.befalls import OTHER, OURS, SECOND
from tests.storm.forecast import READS
from tests.storm.hosts import Hosts

PORT = 25


class BrokenLaw(BaseException):
    """A balancer sends what somebody behind it does not expect, or something was touched that is none of ours.

    No `except Exception` of the code that is watched may catch it.
    """


class Law:
    """Watches an account: where a balancer sends, its data plane's lag included, every instance in service expects.

    Outside the law, as the design has it, is an instance that came past our hook to a balancer that was sending:
    launched while the hook was not there, attached with its group, or registered or edited by hand; until it expects
    again.
    """

    def __init__(self, account: Any, hosts: Hosts) -> None:
        self._account = account
        self._hosts = hosts
        self._sent_until: dict[str, float] = {}
        self._since: dict[str, float] = {}
        self._behind: dict[str, set[str]] = {}
        self._theirs: dict[str, set[str]] = {}
        self._past_us: dict[str, float] = {}

    def watch(self) -> None:
        """Raises BrokenLaw."""
        now = self._account.clock.now
        for name, balancer in self._account.elb.balancers.items():
            sends = SETTINGS.policy_name in balancer.on.get(PORT, ())
            if sends:
                self._since.setdefault(name, now)
                self._sent_until[name] = now + LAG
            elif self._sent_until.get(name, 0) <= now:
                self._since.pop(name, None)
            behind, before = set(balancer.instances), self._behind.get(name, set())
            if name in self._since:
                for instance in [i for i in behind - before if self._came_past_us(i, self._since[name])]:
                    self.excuse(instance)
                self._check(name, behind)
            self._behind[name] = behind
            self._theirs[name] = set(balancer.on.get(PORT, ())) - {SETTINGS.policy_name}

    def excuse(self, instance: str, seconds: float = 0) -> None:
        """Somebody took an instance past us: it stands outside the law for a while, and on until it expects."""
        self._past_us[instance] = self._account.clock.now + seconds

    def _came_past_us(self, instance: str, since: float) -> bool:
        """Whether it was launched past our hook, when the balancer sent already; before that we have to wait for it."""
        for group in self._account.autoscaling.groups.values():
            if slot := group.slots.get(instance):
                return HOOK_NAME not in slot.held and slot.began >= since
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
        self._keep_what_others_set(call)
        others = {OTHER, *self._account.autoscaling.groups[OTHER].slots}
        if others & set(touched):
            raise BrokenLaw(f"{call.operation} touches {touched}, which nobody tagged")

    def _keep_what_others_set(self, call: Call) -> None:
        """Raises BrokenLaw where a policy of others was taken off; `call` has taken effect."""
        if call.operation == "SetLoadBalancerPoliciesForBackendServer" and not call.error:
            lost = self._theirs.get(call.params["LoadBalancerName"], set()) - set(call.params["PolicyNames"])
            if lost:
                raise BrokenLaw(f"the policies {lost} of others were taken off {call.params['LoadBalancerName']}")

    # ---- the end

    def complaints(self, wanted: str) -> list[str]:
        """What is not as it should be, where `wanted` is the tag's value; none: all is right."""
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
