"""Puts into moto what AWS lets nobody choose: the ids of instances, and the lifecycle states that they are found in."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from moto.autoscaling.models import autoscaling_backends
from moto.ec2.models import instances as ec2

from local.strict.warm_pool import adopt
from local.strict.watch import one_at_a_time

STATES = ("Pending", "Pending:Wait", "Pending:Proceed", "InService", "Standby", "EnteringStandby", "Detaching",
          "Terminating", "Terminating:Wait", "Terminating:Proceed", "Warmed:Stopped", "Warmed:Running",
          "Warmed:Pending:Wait", "Quarantined")  # fmt: skip


@contextmanager
def instance_ids(*ids: str) -> Iterator[None]:
    """While it lasts, the next instances launched bear these ids, in this order."""
    left, random = list(ids), ec2.random_instance_id
    ec2.random_instance_id = lambda: left.pop(0) if left else random()
    try:
        yield
    finally:
        ec2.random_instance_id = random


def in_state(group: str, states: Mapping[str, str], region: str, account: str) -> None:
    """Has members of a group be found in these lifecycle states; only those in service stay with its balancers.

    Those in a state `Warmed:*` are in its warm pool, not in the group.
    """
    with one_at_a_time:
        backend = autoscaling_backends[account][region]
        found = backend.autoscaling_groups[group]
        for member in found.instance_states:
            member.lifecycle_state = states.get(member.instance.id, member.lifecycle_state)
        if warm := [member for member in found.instance_states if member.lifecycle_state.startswith("Warmed:")]:
            adopt(found, warm)
        backend.update_attached_elbs(group)
