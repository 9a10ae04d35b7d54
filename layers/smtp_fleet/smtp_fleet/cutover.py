"""The rows of a live fleet: instances take traffic, nobody sends the header yet, and it is wanted.

Look, expect, attach: each on fresh evidence, the last two within a budget, and all undone where one of them fails.
While Postfix expects what nobody sends, senders defer; the budget bounds that.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from smtp_fleet import launch
from smtp_fleet.actions import ABANDON, Refuse
from smtp_fleet.evidence import Speaks
from smtp_fleet.fleet import Member
from smtp_fleet.outcome import CANNOT, Outcome
from smtp_fleet.row import Row, attaching, standing_down
from smtp_fleet.view import View

BACK_OFF, LONGEST_BACK_OFF = 300, 3600
"""Seconds for which the first refusal holds, and for which any does at most; each one doubles the last."""


def live(view: View) -> Row:
    """The next step of the cutover, computed from what is there: it may have been begun by anybody, at any time."""
    serving = tuple(m for m in view.fleet.members if m.serves)
    if not view.known_off:
        return Row("noting that nobody sends", not_yet=True, again_in=1)
    why = _failure(view, serving)
    if why:
        return refusing(view, why)
    unseen = tuple(m for m in serving if not _seen(view, m))
    if unseen:
        row = standing_down(view, "asking whether they could", _deferring(view, serving))
        waits = [seconds for seconds in (row.again_in, _left(view, _begun(view, serving))) if seconds]
        return replace(row, look=unseen, not_yet=True, again_in=min(waits, default=0))
    begun, not_expecting = _begun(view, serving), _not_expecting(view, serving)
    # Where all expect already, as when a policy was removed by hand, to wait for a go would only defer mail.
    if view.settings.live_cutover == "ask" and not_expecting and not _has_go(view, serving):
        if begun:
            return refusing(view, "the fleet changed under its go")
        return _ready(view, serving)
    held_in = launch.all_held_in(view.fleet, view.settings.settle)
    if held_in:
        row = Row("waiting until every launch is held", hooks=ABANDON, not_yet=True, again_in=held_in)
        return replace(row, let_go=_relieved(view, serving) if not_expecting else ())
    if not_expecting:
        left = _left(view, begun or view.fleet.now)
        return Row("Postfix first", expect=not_expecting, hooks=ABANDON, not_yet=True, again_in=left)
    return Row("balancer second", hooks=ABANDON, attach=attaching(view))


def undoing(view: View, reason: str, findings: tuple[str, ...] = ()) -> Row:
    """A cutover that may not go on is undone once nobody can be sending any more; then the fleet is as it was."""
    undo = tuple(m for m in view.fleet.members if not m.pooled and may_expect(view, m))
    row = standing_down(view, f"{reason}: undoing a half-done cutover" if undo else reason, findings)
    return replace(row, let_go=() if view.settled_in else undo, not_yet=row.not_yet or bool(undo))


def may_expect(view: View, m: Member) -> bool:
    """Whether a machine expects, or was asked to and is not known to have let go; what is edited is not ours."""
    speaks = m.record.speaks(view.port)
    told = speaks is Speaks.UNKNOWN and view.port in m.record.told
    return not m.stays(view.port) and (speaks is Speaks.PROXY or told)


def _failure(view: View, serving: tuple[Member, ...]) -> str:
    """Why the cutover cannot go on, if so: an instance said no, or the budget is spent."""
    for m in serving:
        if view.is_fresh(m) and m.record.outcome in CANNOT:
            return f"{m.machine.instance_id} cannot expect the header: {m.record.reason}"
    begun = _begun(view, serving)
    late = [m.machine.instance_id for m in _not_expecting(view, serving)]
    # Where all expect at last, to attach ends the deferrals sooner than to undo.
    if begun and late and view.fleet.now > begun + view.settings.cutover_budget:
        return f"the budget of {view.settings.cutover_budget} s is spent; not expecting yet: {' '.join(late)}"
    return ""


def _not_expecting(view: View, serving: tuple[Member, ...]) -> tuple[Member, ...]:
    """The serving members of which it is not known by fresh evidence that they expect."""
    return tuple(m for m in serving if not (view.is_fresh(m) and m.record.speaks(view.port) is Speaks.PROXY))


def _begun(view: View, serving: tuple[Member, ...]) -> int:
    """Since when an instance may expect what nobody sends (seconds since 1970); 0: none does.

    Since it was asked to in this cutover; or, where it does so from before, since it was looked at. An epoch is no
    time: after one of a host whose clock was wrong it may lie a day ahead.
    """
    asked = [m.record.first_asked_at for m in serving if _is_asked(view, m)]
    before = [m.record.asked_at for m in _expecting_before(view, serving) if m.record.asked_at > view.floor]
    return min(asked + before, default=0)


def _expecting_before(view: View, serving: tuple[Member, ...]) -> tuple[Member, ...]:
    """The members that expect from before this cutover: somebody else took the policy off, or had set them so."""
    return tuple(m for m in serving if m.record.speaks(view.port) is Speaks.PROXY and not _is_asked(view, m))


def _relieved(view: View, serving: tuple[Member, ...]) -> tuple[Member, ...]:
    """Who expects from before lets go while all wait: for longer than the budget, so mail would be deferred in vain."""
    return () if view.settled_in else tuple(m for m in _expecting_before(view, serving) if may_expect(view, m))


def _deferring(view: View, serving: tuple[Member, ...]) -> tuple[str, ...]:
    return tuple(
        f"{m.machine.instance_id} expects the header on port {view.port}, and nobody sends it: its mail is deferred"
        for m in _expecting_before(view, serving)
    )


def _left(view: View, begun: int) -> int:
    """Seconds until the budget of a cutover is spent; 0: none has begun."""
    return max(1, begun + view.settings.cutover_budget - view.fleet.now + 1) if begun else 0


def _is_asked(view: View, m: Member) -> bool:
    return view.port in m.expected_ports and m.record.asked_at > view.floor


def _seen(view: View, m: Member) -> bool:
    """Whether a machine was looked at since the balancers were known off; one that was asked to expect had been."""
    return _is_asked(view, m) or (view.is_fresh(m) and m.record.outcome in (Outcome.OK, *CANNOT))


def refusing(view: View, why: str, before: int = 0) -> Row:
    """No cutover for a while, the longer the more often one was refused before."""
    return Row("cutover refused", refuse=refusal(view, why, before), not_yet=True, again_in=1, findings=(why,))


def refusal(view: View, why: str, before: int = 0) -> Refuse:
    """The next refusal of a port, after those that the ledger knows or `before` of them."""
    last = view.fleet.refusals.get(view.port)
    times = max(before, last.times if last else 0) + 1
    wait = min(LONGEST_BACK_OFF, BACK_OFF * 2 ** min(times - 1, 10))
    return Refuse(view.port, why, times, view.fleet.now + wait)


def _ready(view: View, serving: tuple[Member, ...]) -> Row:
    """All could: say how to go, and let launches pass meanwhile."""
    names = [b.name for b in view.silent]
    seconds = view.settings.settle + view.settings.cutover_budget
    go = f"Key={view.settings.tag_key}-go,Value={go_code(view, serving)}"
    command = f"aws elb add-tags --load-balancer-names {names[0]} --tags {go}"
    told = f"ready: {len(serving)} of {len(serving)} could expect the header; within {seconds} s after: {command}"
    return standing_down(view, "ready: waiting for go", (told,))


def _has_go(view: View, serving: tuple[Member, ...]) -> bool:
    code = go_code(view, serving)
    return any(view.fleet.wishes[b.name].go == code for b in view.feeding)


def go_code(view: View, serving: tuple[Member, ...]) -> str:
    """The name of this very plan: another port, balancer, instance or root volume is another, and so is another try."""
    parts = [str(view.port), str(view.floor), *(b.name for b in view.feeding)]
    parts += [f"{m.machine.instance_id}/{m.machine.volume}" for m in serving]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:12]
