"""What others change while a balancer sends: where to look for it, and what to say of what was found."""

from __future__ import annotations

from smtp_fleet.actions import RecordAttachment
from smtp_fleet.evidence import REMEMBERED, Speaks
from smtp_fleet.fleet import Attachment, Fleet, Member
from smtp_fleet.view import View

TUG_OF_WAR = 3
"""How often something of ours has to vanish until it is called a tug of war."""

LATELY = 86_400
"""Seconds after which it no longer counts that a policy was attached."""


def to_be_looked_at(view: View) -> tuple[Member, ...]:
    """The serving members that are known to expect, but were last asked anything more than the check interval ago."""
    due = view.fleet.now - view.settings.check_interval
    return tuple(m for m in view.speaking(Speaks.PROXY) if not m.waits and m.record.asked_at <= due)


def serving(fleet: Fleet) -> tuple[Member, ...]:
    """The members that may take traffic now."""
    return tuple(m for m in fleet.members if m.serves and not m.waits)


def mismatched(view: View) -> tuple[Member, ...]:
    """The serving members that are known to speak plainly, where somebody sends."""
    return tuple(m for m in serving(view.fleet) if m.record.speaks(view.port) is Speaks.PLAIN)


def findings(view: View) -> tuple[str, ...]:
    """The serving members that were found not to expect what they are sent, and those that somebody keeps undoing."""
    mismatch = [
        f"live mismatch: {m.machine.instance_id} takes traffic on instance port {view.port} "
        f"and does not expect the header{_by(m)}"
        for m in mismatched(view)
    ]
    tugs = [fought_over(m) for m in serving(view.fleet) if _is_fought_over(view, m)]
    return (*mismatch, *tugs, *([_over_policy(view)] if _lately(view).times > TUG_OF_WAR else []))


def vanished_again(view: View) -> str:
    """What to say where the policy is gone from where it was attached for the third time; empty where it is not.

    Once the balancers are known off it has been put up with: the refusal that follows from it decides when to go on.
    """
    gone = _lately(view).times >= TUG_OF_WAR and not view.known_off
    return _over_policy(view) if gone else ""


def overwritten_again(view: View) -> Member | None:
    """Of the members fought over that were just found overwritten once more, the one most often; asked since, none is.

    To repair it at each look would keep its mail out from every overwriting to the look after it, for ever, and bounce
    it where our guard goes, too. The header of all is less than that.
    """
    undone = [m for m in mismatched(view) if _is_fought_over(view, m) and m.record.overwritten_at == m.record.asked_at]
    return max(undone, key=lambda m: m.record.overwritten, default=None)


def fought_over(m: Member) -> str:
    """What to say of a member that somebody keeps undoing."""
    instance = m.machine.instance_id
    return f"tug of war: {instance} keeps being configured otherwise{_by(m)}: have its owner leave it to us"


def attaching(view: View) -> RecordAttachment:
    """What the ledger is to know once the policy is attached; a call that failed is nobody's tug of war."""
    return RecordAttachment(view.port, _lately(view).times + 1, view.fleet.now)


def _is_fought_over(view: View, m: Member) -> bool:
    return m.record.overwritten >= TUG_OF_WAR and view.fleet.now < m.record.overwritten_at + REMEMBERED


def _lately(view: View) -> Attachment:
    found = view.fleet.attachments.get(view.port)
    return found if found and view.fleet.now < found.at + LATELY else Attachment(0, 0)


def _over_policy(view: View) -> str:
    names = " ".join(b.name for b in view.feeding)
    return f"tug of war: the policy on instance port {view.port} of {names} keeps vanishing: have its owner add it"


def _by(m: Member) -> str:
    return f" (its files bear the marks of {m.record.owner})" if m.record.owner else ""
