"""What befalls the instances of a group, in the order in which AWS does it: launch, wait, service, pool, end."""

from __future__ import annotations

from functools import partial
from itertools import count
from typing import TYPE_CHECKING

from local.strict import Happening
from tests.account.groups import GROUP, LAUNCHING, POOL, Action, Group, Slot

if TYPE_CHECKING:
    from tests.account.account import Account


class Lifecycle:
    """The instances of all groups on their ways."""

    def __init__(self, account: Account, groups: dict[str, Group]) -> None:
        self._account = account
        self._groups = groups
        self._tokens = count(1)

    # ---- as many as are wanted

    def fill(self, group: Group) -> None:
        """Launch what is missing, and end what is too many."""
        if group.deleting:
            return
        for slot in [s for s in group.slots.values() if s.counts][: max(0, group.capacity() - group.desired)]:
            self._step_down(group, slot)
        while group.capacity() < group.desired:
            rested = next((slot for slot in group.slots.values() if slot.rests and not slot.actions), None)
            if rested:
                self._wake(group, rested)
            else:
                self._launch(group, GROUP)
        if group.pool:
            self._fill_pool(group, group.pool.size(group.desired))

    def _fill_pool(self, group: Group, size: int) -> None:
        pooled = [slot for slot in group.slots.values() if slot.pooled and not slot.ends]
        for slot in pooled[: max(0, len(pooled) - size)]:
            self.terminate(group, slot)
        for _ in range(size - len(pooled)):
            self._launch(group, POOL)

    def _launch(self, group: Group, destination: str) -> None:
        instance = self._account.ec2.run()
        state = "Pending" if destination == GROUP else "Warmed:Pending"
        clock, pace = self._account.clock, self._account.pace
        slot = Slot(instance.instance_id, state, _launch_hooks(group), "EC2", destination, clock.now)
        group.slots[slot.instance_id] = slot
        clock.after(pace.hidden, lambda: setattr(slot, "shown", True))
        clock.after(pace.hidden + pace.pending, partial(self._hold, group, slot, state))

    def _wake(self, group: Group, slot: Slot) -> None:
        """One that rests leaves the warm pool, and waits at the hooks again, with new tokens."""
        self._set_out(group, slot, "Pending", POOL)
        self._account.ec2.change(slot.instance_id, "running")
        wait = self._account.pace.pending + self._account.pace.starting
        self._account.clock.after(wait, partial(self._hold, group, slot, "Pending"))

    def _set_out(self, group: Group, slot: Slot, state: str, origin: str) -> None:
        slot.state, slot.origin, slot.destination = state, origin, GROUP
        slot.hooks, slot.began = _launch_hooks(group), self._account.clock.now

    def replace_root(self, instance_id: str, seconds: float) -> None:
        """An instance in service gets another root volume, and waits at the launch hooks again before it serves."""
        for group in self._groups.values():
            slot = group.slots.get(instance_id)
            if slot and slot.state == "InService" and not group.deleting:
                self._account.elb.deregister(group.balancers, [instance_id])
                self._set_out(group, slot, "ReplacingRootVolume", GROUP)
                self._account.clock.after(seconds, partial(self._with_new_root, group, slot))

    def _with_new_root(self, group: Group, slot: Slot) -> None:
        if self._is(group, slot, "ReplacingRootVolume"):
            self._account.ec2.replace_root(slot.instance_id)
            slot.state = "Pending"
            self._hold(group, slot, "Pending")

    # ---- at the hooks

    def _is(self, group: Group, slot: Slot, state: str) -> bool:
        return group.slots.get(slot.instance_id) is slot and slot.state == state

    def _hold(self, group: Group, slot: Slot, state: str) -> None:
        if not self._is(group, slot, state):
            return
        if not slot.hooks:
            slot.held = frozenset()
            self._proceed(group, slot)
            return
        slot.state, now = f"{state}:Wait", self._account.clock.now
        for hook in slot.hooks:
            token = f"00000000-0000-4000-8000-{next(self._tokens):012x}"
            action = Action(group, slot, hook, token, now + hook.timeout, now + hook.longest)
            slot.actions.append(action)
            self._account.clock.at(action.deadline, partial(self._expire, action))
            detail = {"LifecycleActionToken": token, "LifecycleHookName": hook.name, "LifecycleTransition": LAUNCHING}
            self._report("EC2 Instance-launch Lifecycle Action", group, slot, **detail)

    def beat(self, action: Action) -> None:
        """A heartbeat: the action's time begins anew."""
        action.deadline = min(self._account.clock.now + action.hook.timeout, action.latest)
        self._account.clock.at(action.deadline, partial(self._expire, action))

    def _expire(self, action: Action) -> None:
        if action in action.slot.actions and action.deadline <= self._account.clock.now:
            self.complete(action, action.hook.default_result)

    def complete(self, action: Action, result: str) -> None:
        """End an action; the last one lets the instance go on, and one that is abandoned ends the instance."""
        group, slot = action.group, action.slot
        if action not in slot.actions:
            return
        if result == "ABANDON":
            self.terminate(group, slot)
            return
        slot.actions.remove(action)
        if not slot.actions:
            slot.held = frozenset(hook.name for hook in slot.hooks)
            self._proceed(group, slot)

    # ---- in service, or at rest

    def _proceed(self, group: Group, slot: Slot) -> None:
        slot.state = "Warmed:Pending:Proceed" if slot.pooled else "Pending:Proceed"
        self._account.clock.after(self._account.pace.proceed, partial(self._arrive, group, slot, slot.state))

    def _arrive(self, group: Group, slot: Slot, state: str) -> None:
        if not self._is(group, slot, state):
            return
        slot.shown = True
        if slot.pooled:
            self._rest(group, slot)
        else:
            slot.state = "InService"
            self._account.elb.register(group.balancers, [slot.instance_id])
        # StatusCode "InProgress" is what recorded events of a finished launch carry.
        self._report("EC2 Instance Launch Successful", group, slot, StatusCode="InProgress")

    def _rest(self, group: Group, slot: Slot) -> None:
        state = group.pool.state if group.pool else "Stopped"
        slot.state = f"Warmed:{state}"
        self._account.ec2.change(slot.instance_id, "running" if state == "Running" else "stopped")

    # ---- the end

    def _step_down(self, group: Group, slot: Slot) -> None:
        """Scaling in: to the warm pool where it takes back, else the end."""
        pool = group.pool
        if not pool or not pool.reuse or slot.state != "InService":
            self.terminate(group, slot)
            return
        self._account.elb.deregister(group.balancers, [slot.instance_id])
        slot.origin, slot.destination, slot.state = GROUP, POOL, "Warmed:Pending"
        self._account.clock.after(self._account.pace.terminating, partial(self._back_in_pool, group, slot))

    def _back_in_pool(self, group: Group, slot: Slot) -> None:
        if self._is(group, slot, "Warmed:Pending"):
            self._rest(group, slot)
            self._report("EC2 Instance Terminate Successful", group, slot, StatusCode="InProgress")

    def terminate(self, group: Group, slot: Slot) -> None:
        """An instance goes, from wherever it is; nobody waits for its actions any more."""
        if slot.ends:
            return
        slot.actions.clear()
        self._account.elb.deregister(group.balancers, [slot.instance_id])
        slot.state = "Warmed:Terminating" if slot.pooled else "Terminating"
        self._account.clock.after(self._account.pace.terminating, partial(self._account.ec2.end, slot.instance_id))
        self._account.clock.after(self._account.pace.replacing, partial(self.fill, group))

    def ended(self, instance_id: str) -> None:
        """An instance was terminated, by its group or by anybody."""
        for group in list(self._groups.values()):
            slot = group.slots.pop(instance_id, None)
            if slot:
                slot.actions.clear()
                self._account.elb.deregister(group.balancers, [instance_id])
                self._report("EC2 Instance Terminate Successful", group, slot, StatusCode="InProgress")
                self.buried(group)
                self._account.clock.after(self._account.pace.replacing, partial(self.fill, group))

    def buried(self, group: Group) -> None:
        """A group that is deleted is gone with the last of its instances."""
        if group.deleting and not group.slots:
            self._groups.pop(group.name, None)

    def _report(self, detail_type: str, group: Group, slot: Slot, **detail: str) -> None:
        detail |= {"AutoScalingGroupName": group.name, "EC2InstanceId": slot.instance_id}
        if "LifecycleHookName" in detail or POOL in (slot.origin, slot.destination):
            detail |= {"Origin": slot.origin, "Destination": slot.destination}
        where = f"arn:aws:ec2:us-east-1:123456789012:instance/{slot.instance_id}"
        self._account.happens(Happening("aws.autoscaling", detail_type, detail, (group.arn, where)))


def _launch_hooks(group: Group) -> tuple:
    return tuple(hook for hook in group.hooks.values() if hook.transition == LAUNCHING)
