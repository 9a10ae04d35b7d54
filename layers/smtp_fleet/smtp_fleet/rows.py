"""The rows of a plan: what one instance port wants, by which way it is to go; the first row that fits wins."""

from __future__ import annotations

from dataclasses import replace

from smtp_fleet import breaker, cutover, drift, launch
from smtp_fleet.actions import ABANDON, CONTINUE, Refuse, SetPolicies
from smtp_fleet.evidence import ASK_WAIT, Speaks, Standing
from smtp_fleet.fleet import Member
from smtp_fleet.outcome import HELD, HOPELESS, Outcome
from smtp_fleet.refusals import refusals
from smtp_fleet.row import Row, attaching
from smtp_fleet.tag import Mode
from smtp_fleet.view import Direction, View

PATIENCE = 3
"""Tries in vain after which an instance that puts us off is named."""

_PUT_OFF = (Outcome.NOT_READY, Outcome.OLDER_EPOCH)


def decide(view: View) -> Row:
    """The row of one instance port, with what is odd about it; audit mode and pause keep it from changing anything."""
    against = refusals(view.fleet, view.port, view.settings)
    row = _row(view, bool(against))
    row = replace(row, findings=(*view.findings(), *against, *row.findings, *_unheard(view, row)))
    if not view.held_back or view.sending:
        return row
    return cutover.undoing(view, f"{view.held_back}: {row.reason}", row.findings)


def _unheard(view: View, row: Row) -> tuple[str, ...]:
    """The members that a row waits for and that do not answer: it would wait for them for ever without a word.

    A host that expects and is looked at again is not waited for; of one just launched, EC2 may not show the volume yet.
    """
    waited_for = dict.fromkeys((*row.expect, *row.let_go, *(() if view.sending else row.look)))
    no_volume = [
        f"{m.machine.instance_id} cannot be asked: EC2 shows no root volume of it"
        for m in waited_for
        if not m.machine.volume and m.launched_at < view.fleet.now - ASK_WAIT
    ]
    silent = [
        f"{m.machine.instance_id} does not answer: is its agent online?"
        for m in waited_for
        if m.record.unheard and m.record.outcome in (None, Outcome.LOST)
    ]
    put_off = [
        f"{m.machine.instance_id} is asked again and again and is not ready: its last answer is in the command history"
        for m in waited_for
        if m.record.tries >= PATIENCE and not m.record.unheard and m.record.outcome in (None, *_PUT_OFF)
    ]
    return (*no_volume, *silent, *put_off)


def _row(view: View, refused: bool) -> Row:
    """The rows, by the direction that the port is to go."""
    match view.direction:
        case Direction.ON if view.sending:
            return _protecting(view, refused)
        case Direction.ON:
            return _switching_on(view, refused)
        case Direction.OFF:
            return _switching_off(view)
        case Direction.STAY:
            return cutover.undoing(view, "no direction is asked for")


def _protecting(view: View, refused: bool) -> Row:
    """Somebody sends: every member must expect, and only those that do may pass; now and then it is looked whether."""
    admit, odd = launch.waiting(view.speaking(Speaks.PROXY)), drift.findings(view)
    on = Row("on", admit=admit, hooks=ABANDON, look=drift.to_be_looked_at(view), findings=odd)
    not_expecting = view.speaking(Speaks.PLAIN, Speaks.UNKNOWN)
    if not view.held_back and view.modes == {Mode.ENABLED}:
        if breaker.nothing_left(view.fleet, view.port):
            return _last_resort(view, on)
        undone = drift.overwritten_again(view)
        if undone:
            return _put_up_with(view, on, undone)
    late = launch.given_up_on(not_expecting, view.fleet.now, view.settings.agent_wait)
    cannot = tuple(m for m in not_expecting if m.record.standing(view.fleet.now) is Standing.CANNOT)
    if cannot or late:
        named = tuple(f"{m.machine.instance_id} cannot expect the header: {m.record.reason}" for m in (*cannot, *late))
        reason = "an instance cannot expect the header"
        reject = (*(m for m in launch.waiting(cannot) if m.record.outcome in HOPELESS), *late)
        given_up = {m.machine for m in reject}
        others = tuple(m for m in not_expecting if m.machine not in given_up)
        hold = tuple(m for m in launch.waiting(cannot) if m.record.outcome in HELD)
        row = replace(on, reason=reason, expect=others, reject=reject, hold=hold, not_yet=True)
        return replace(row, findings=(*odd, *named))
    if not_expecting:
        return replace(on, reason="an instance does not expect the header yet", expect=not_expecting, not_yet=True)
    if view.silent and not refused and not view.held_back and view.modes == {Mode.ENABLED}:
        held_in = launch.all_held_in(view.fleet, view.settings.settle)
        if held_in:  # a group of the silent one may have launches that began before our hook
            return replace(on, reason="waiting until every launch is held", not_yet=True, again_in=held_in)
        return replace(on, reason="attaching to the rest", attach=attaching(view))
    return on


def _last_resort(view: View, on: Row) -> Row:
    """Launches fail, and nobody expects: the header goes, so that mail comes in again and none of it bounces."""
    why = f"no instance expects the header on instance port {view.port}, and launches fail"
    row = _off_for_now(view, on, cutover.refusal(view, why))
    return replace(row, reason="nobody expects and launches fail: balancer off", findings=(*on.findings, why))


def _put_up_with(view: View, on: Row, undone: Member) -> Row:
    """Somebody keeps overwriting a Postfix: the header goes, for longer each time, so that no mail waits for us."""
    refuse = cutover.refusal(view, drift.fought_over(undone), undone.record.overwritten - drift.TUG_OF_WAR)
    return replace(_off_for_now(view, on, refuse), reason="overwritten again: balancer off")


def _off_for_now(view: View, on: Row, refuse: Refuse) -> Row:
    """The header goes although it is wanted, and does not come back before the refusal expires."""
    wait = view.settings.settle
    return replace(on, detach=_detach(view), refuse=refuse, look=(), admit=(), not_yet=True, again_in=wait)


def _switching_on(view: View, refused: bool) -> Row:
    """Wanted, and nobody sends: Postfix first, balancer second."""
    fleet = view.fleet
    if refused:
        return cutover.undoing(view, "refused")
    if view.refused_for:
        return cutover.undoing(view, "refused", (view.fleet.refusals[view.port].why,))
    again = drift.vanished_again(view)
    if again:
        return cutover.refusing(view, again, fleet.attachments[view.port].times - drift.TUG_OF_WAR)
    if not fleet.groups and not fleet.members:
        return Row("nobody behind it: attaching", attach=attaching(view))
    if any(m.serves for m in fleet.members):
        return cutover.live(view)
    held_in = launch.all_held_in(fleet, view.settings.settle)
    if held_in:
        return Row("waiting until every launch is held", hooks=ABANDON, not_yet=True, again_in=held_in)
    return Row("every launch is held: attaching", hooks=ABANDON, attach=attaching(view))


def _switching_off(view: View) -> Row:
    """Not wanted: balancer first, Postfix second, and only once the data plane has followed; then nothing is left."""
    if view.sending:
        wait = view.settings.settle
        return Row("switching off: balancer first", detach=_detach(view), not_yet=True, again_in=wait)
    if view.is_clean:
        return Row("off", clear=True)
    if view.settled_in:
        return Row("waiting for the balancer to settle", not_yet=True, again_in=view.settled_in)
    concerned = [m for m in view.speaking(Speaks.PROXY, Speaks.UNKNOWN) if view.has_traces or m.record.ask]
    stuck = [m for m in concerned if m.record.standing(view.fleet.now) is Standing.CANNOT]
    findings = tuple(f"{m.machine.instance_id} was not let go: {m.record.reason}" for m in stuck)
    off = Row("off", admit=launch.waiting(view.speaking(Speaks.PLAIN)), findings=findings)
    # What others have edited, or had set before us, stays theirs: said, and not fought for.
    let_go = tuple(m for m in concerned if not m.stays(view.port))
    if let_go:
        return replace(off, reason="switching off: Postfix second", let_go=let_go, hooks=CONTINUE, not_yet=True)
    pooled = launch.left_in_pool(m for m in view.fleet.members if cutover.may_expect(view, m))
    if pooled:
        return replace(off, hooks=CONTINUE, findings=(*findings, *pooled))
    return replace(off, clear=True)


def _detach(view: View) -> tuple[SetPolicies, ...]:
    """The policies of others only, on each sending balancer."""
    kept = [(b.name, tuple(name for name in b.on(view.port) if name not in b.proxy_policies)) for b in view.sending]
    return tuple(SetPolicies(name, view.port, policies, sends=False) for name, policies in kept)
