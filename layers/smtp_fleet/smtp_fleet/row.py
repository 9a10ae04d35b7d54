"""What one instance port wants of its fleet, before all ports of the fleet are put together."""

from __future__ import annotations

from dataclasses import dataclass

from smtp_fleet import launch
from smtp_fleet.actions import CONTINUE, Refuse, SetPolicies
from smtp_fleet.evidence import Speaks
from smtp_fleet.fleet import Member
from smtp_fleet.view import View


@dataclass(frozen=True)
class Row:
    """What one instance port wants: who is asked what, who may pass, how hooks end, what is set."""

    reason: str
    look: tuple[Member, ...] = ()
    expect: tuple[Member, ...] = ()
    let_go: tuple[Member, ...] = ()
    admit: tuple[Member, ...] = ()
    hooks: str = ""
    reject: tuple[Member, ...] = ()
    hold: tuple[Member, ...] = ()
    attach: tuple[SetPolicies, ...] = ()
    detach: tuple[SetPolicies, ...] = ()
    refuse: Refuse | None = None
    clear: bool = False
    not_yet: bool = False
    again_in: int = 0
    findings: tuple[str, ...] = ()


def standing_down(view: View, reason: str, findings: tuple[str, ...] = ()) -> Row:
    """A port that stays off for now: once the balancers have settled, its launches pass unless known to expect."""
    if view.settled_in:
        return Row(reason, not_yet=True, again_in=view.settled_in, findings=findings)
    pass_on = launch.waiting(view.speaking(Speaks.PLAIN, Speaks.UNKNOWN))
    return Row(reason, admit=pass_on, hooks="" if view.held_back else CONTINUE, findings=findings)


def attaching(view: View) -> tuple[SetPolicies, ...]:
    """The policy beside those of others, on each silent balancer; a fitting policy of any name is reused."""
    ours, actions = view.settings.policy_name, []
    for b in view.silent:
        fitting = ours if ours in b.proxy_policies else min(b.proxy_policies, default="")
        policies = (*b.on(view.port), fitting or ours)
        actions.append(SetPolicies(b.name, view.port, policies, sends=True, create="" if fitting else ours))
    return tuple(actions)
