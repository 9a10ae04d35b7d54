"""What follows from a fleet: a plan as a value, decided by rows of which the first that fits wins.

Pure and total: the same fleet always gives the same plan, and carrying a plan out never breaks the law that where a
balancer sends the header, Postfix expects it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from smtp_fleet import launch
from smtp_fleet.actions import (
    ABANDON,
    CONTINUE,
    Action,
    Admit,
    DeleteHook,
    DeletePolicy,
    Forget,
    ForgetOff,
    Plan,
    PutHook,
    RecordOff,
    Reject,
    Send,
    SetPolicies,
)
from smtp_fleet.evidence import HOPELESS, RETRY_WAIT, Ask, Machine, Outcome, Record, Speaks, Standing, Verb, next_epoch
from smtp_fleet.fleet import Fleet, Group, Member
from smtp_fleet.refusals import refusals
from smtp_fleet.settings import MindSettings
from smtp_fleet.tag import Mode
from smtp_fleet.view import Direction, View


@dataclass(frozen=True)
class Row:
    """What one instance port wants: who is asked to speak what, who may pass, how hooks end, what is set."""

    reason: str
    expect: tuple[Member, ...] = ()
    let_go: tuple[Member, ...] = ()
    admit: tuple[Member, ...] = ()
    hooks: str = ""
    reject: tuple[Member, ...] = ()
    attach: tuple[SetPolicies, ...] = ()
    detach: tuple[SetPolicies, ...] = ()
    clear: bool = False
    not_yet: bool = False
    again_in: int = 0
    findings: tuple[str, ...] = ()


def plan(fleet: Fleet, settings: MindSettings) -> Plan:
    """The next step of a fleet, over all its instance ports together."""
    views = [View(fleet, port, settings) for port in fleet.ports(settings)]
    rows = [decide(view) for view in views]
    hooks = _hooks(fleet, rows, settings)
    if hooks and any(row.attach for row in rows):
        rows = [replace(row, reason="the hook first", attach=(), not_yet=True) if row.attach else row for row in rows]
    actions: tuple[Action, ...] = (
        *_offs(views),
        *hooks,
        *(action for row in rows for action in (*row.detach, *row.attach)),
        *_asks(fleet, views, rows),
        *(Reject(m.machine, m.group, m.record.reason) for m in dict.fromkeys(m for row in rows for m in row.reject)),
        *(Admit(m.machine, m.group, m.launched_at) for m in launch.admitted_by_all([row.admit for row in rows])),
        *(_clear(fleet, settings) if rows and all(row.clear for row in rows) else ()),
    )
    return Plan(
        reason="; ".join(dict.fromkeys(row.reason for row in rows)) or "no mail listener",
        actions=actions,
        not_yet=any(row.not_yet for row in rows),
        again_in=min(_waits(fleet, rows), default=0),
        findings=tuple(dict.fromkeys(finding for row in rows for finding in row.findings)),
    )


def decide(view: View) -> Row:
    """The row of one instance port, with what is odd about it; audit mode and pause keep it from changing anything."""
    against = refusals(view.fleet, view.port, view.settings)
    row = _row(view, bool(against))
    row = replace(row, findings=(*view.findings(), *against, *row.findings))
    if not view.held_back or view.sending:
        return row
    return _standing_down(view, f"{view.held_back}: {row.reason}", row.findings)


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
            return _standing_down(view, "no direction is asked for")


def _protecting(view: View, refused: bool) -> Row:
    """Somebody sends: every member must expect, and only those that do may pass."""
    on = Row("on", admit=launch.waiting(view.speaking(Speaks.PROXY)), hooks=ABANDON)
    not_expecting = view.speaking(Speaks.PLAIN, Speaks.UNKNOWN)
    cannot = tuple(m for m in not_expecting if m.record.standing(view.fleet.now) is Standing.CANNOT)
    if cannot:
        others = tuple(m for m in not_expecting if m not in cannot)
        named = tuple(f"{m.machine.instance_id} cannot expect the header: {m.record.reason}" for m in cannot)
        reason = "an instance cannot expect the header"
        reject = tuple(m for m in launch.waiting(cannot) if m.record.outcome in HOPELESS)
        return replace(on, reason=reason, expect=others, reject=reject, not_yet=True, findings=named)
    if not_expecting:
        return replace(on, reason="an instance does not expect the header yet", expect=not_expecting, not_yet=True)
    if view.silent and not refused and view.modes == {Mode.ENABLED}:
        return replace(on, reason="attaching to the rest", attach=_attach(view))
    return on


def _switching_on(view: View, refused: bool) -> Row:
    """Wanted, and nobody sends: Postfix first, balancer second."""
    fleet = view.fleet
    if refused:
        return _standing_down(view, "refused")
    if not fleet.groups and not fleet.members:
        return Row("nobody behind it: attaching", attach=_attach(view))
    if any(m.serves for m in fleet.members):
        # The cutover of a live fleet belongs here: look, expect, attach, on fresh evidence and within a budget.
        return replace(_standing_down(view, "not yet: instances already take traffic"), not_yet=True)
    held_in = max((launch.held_in(group, fleet.now, view.settings.settle) for group in fleet.groups), default=0)
    if held_in:
        return Row("waiting until every launch is held", hooks=ABANDON, not_yet=True, again_in=held_in)
    return Row("every launch is held: attaching", hooks=ABANDON, attach=_attach(view))


def _switching_off(view: View) -> Row:
    """Not wanted: balancer first, Postfix second, and only once the data plane has followed; then nothing is left."""
    if view.sending:
        wait = view.settings.settle
        return Row("switching off: balancer first", detach=_detach(view), not_yet=True, again_in=wait)
    if view.settled_in:
        return Row("waiting for the balancer to settle", not_yet=True, again_in=view.settled_in)
    concerned = [m for m in view.speaking(Speaks.PROXY, Speaks.UNKNOWN) if view.has_traces or m.record.ask]
    stuck = [m for m in concerned if m.record.standing(view.fleet.now) is Standing.CANNOT]
    findings = tuple(f"{m.machine.instance_id} was not let go: {m.record.reason}" for m in stuck)
    off = Row("off", admit=launch.waiting(view.speaking(Speaks.PLAIN)), findings=findings)
    # What others have edited, or had set before us, stays theirs: said, and not fought for.
    let_go = tuple(m for m in concerned if m.record.outcome is not Outcome.EDITED or view.port in m.expected_ports)
    if let_go:
        return replace(off, reason="switching off: Postfix second", let_go=let_go, hooks=CONTINUE, not_yet=True)
    return replace(off, clear=True)


def _standing_down(view: View, reason: str, findings: tuple[str, ...] = ()) -> Row:
    """A port that stays off for now: once the balancers have settled, its launches pass unless known to expect."""
    if view.settled_in:
        return Row(reason, not_yet=True, again_in=view.settled_in, findings=findings)
    pass_on = launch.waiting(view.speaking(Speaks.PLAIN, Speaks.UNKNOWN))
    return Row(reason, admit=pass_on, hooks="" if view.held_back else CONTINUE, findings=findings)


def _attach(view: View) -> tuple[SetPolicies, ...]:
    """The policy beside those of others, on each silent balancer; a fitting policy of any name is reused."""
    ours, actions = view.settings.policy_name, []
    for b in view.silent:
        fitting = ours if ours in b.proxy_policies else min(b.proxy_policies, default="")
        policies = (*b.on(view.port), fitting or ours)
        actions.append(SetPolicies(b.name, view.port, policies, sends=True, create="" if fitting else ours))
    return tuple(actions)


def _detach(view: View) -> tuple[SetPolicies, ...]:
    """The policies of others only, on each sending balancer."""
    kept = [(b.name, tuple(name for name in b.on(view.port) if name not in b.proxy_policies)) for b in view.sending]
    return tuple(SetPolicies(name, view.port, policies, sends=False) for name, policies in kept)


def _clear(fleet: Fleet, settings: MindSettings) -> tuple[Action, ...]:
    """What is left of us where all is off: hooks on which nobody waits, the unused policy, the machines' rows."""
    waited_for = {m.group for m in fleet.members if m.waits}
    hooks = [DeleteHook(g.name) for g in fleet.groups if g.hook and g.name not in waited_for]
    unused = [
        DeletePolicy(b.name, settings.policy_name)
        for b in fleet.balancers
        if settings.policy_name in b.proxy_policies and not any(settings.policy_name in on for on in b.backend.values())
    ]
    known = [Forget(m.machine) for m in fleet.members if m.record != Record(m.machine) and not m.waits]
    return (*hooks, *unused, *known)


def _offs(views: list[View]) -> tuple[Action, ...]:
    """What the ledger should know of when balancers went off, or no longer know."""
    seen = [(b, v, (b.name, v.port) in v.fleet.off_since) for v in views for b in v.feeding]
    forget = [ForgetOff(b.name, v.port) for b, v, known in seen if known and b.sends(v.port)]
    record = [RecordOff(b.name, v.port) for b, v, known in seen if not known and not b.sends(v.port)]
    fed = [ForgetOff(*g.off_key) for v in views[:1] for g in v.fleet.groups if g.off_key in v.fleet.off_since]
    return (*forget, *record, *fed)


def _hooks(fleet: Fleet, rows: list[Row], settings: MindSettings) -> tuple[PutHook, ...]:
    """The hooks to put: ABANDON on every group if any port says so; CONTINUE only where our hook is already."""
    asked_for = {row.hooks for row in rows}
    result = ABANDON if ABANDON in asked_for else CONTINUE if CONTINUE in asked_for else ""
    allowed = [g for g in fleet.groups if g.matches(settings.group_name_pattern)]
    due = [g for g in allowed if result == ABANDON or (result == CONTINUE and g.hook)]
    return tuple(
        PutHook(g.name, result, settings.hook_timeout, anew=not _holds(g, result))
        for g in due
        if not _hooked(g, result, settings.hook_timeout)
    )


def _holds(group: Group, result: str) -> bool:
    """Whether launches that wait already are known to wait under this result.

    AWS does not document that a changed default result reaches lifecycle actions that have begun, so it is taken not
    to: a launch that waits under CONTINUE may yet go into service by itself.
    """
    hook = group.hook
    return hook is not None and group.hooked_since > 0 and result in (CONTINUE, hook.default_result)


def _hooked(group: Group, result: str, timeout: int) -> bool:
    hook = group.hook
    return hook is not None and group.hooked_since > 0 and (hook.default_result, hook.timeout) == (result, timeout)


def _asks(fleet: Fleet, views: list[View], rows: list[Row]) -> tuple[Send, ...]:
    """One ask a machine, over all ports together: the whole set of ports that must speak PROXY after it."""
    wanted: dict[Machine, tuple[Member, set[int]]] = {}
    for view, row in zip(views, rows, strict=True):
        for m in row.expect:
            wanted.setdefault(m.machine, (m, _whole_set(m)))[1].add(view.port)
        for m in row.let_go:
            wanted.setdefault(m.machine, (m, _whole_set(m)))[1].discard(view.port)
    asks: dict[Ask, list[Machine]] = {}
    for machine, (m, ports) in sorted(wanted.items(), key=lambda item: item[0]):
        ask = _ask(fleet, m, frozenset(ports))
        if ask:
            asks.setdefault(ask, []).append(machine)
    return tuple(Send(ask, tuple(machines)) for ask, machines in asks.items())


def _waits(fleet: Fleet, rows: list[Row]) -> list[int]:
    """The planned waits that no event ends, in seconds: settling, and asks to be repeated."""
    asked = [m.record for row in rows for m in (*row.expect, *row.let_go)]
    repeats = [RETRY_WAIT for record in asked if record.outcome and record.standing(fleet.now) is Standing.OUT]
    return [row.again_in for row in rows if row.again_in] + repeats


def _whole_set(m: Member) -> set[int]:
    """The ports that an ask must name lest it end anything; one that was only looked at may expect, too."""
    return set(m.expected_ports | m.record.proxy)


def _ask(fleet: Fleet, m: Member, ports: frozenset[int]) -> Ask | None:
    """A new ask goes out at once; the same again only when the last one is neither out nor met with a refusal."""
    last, standing = m.record.ask, m.record.standing(fleet.now)
    if not m.machine.volume or (
        last and (last.verb, last.ports) == (Verb.EXPECT, ports) and standing is not Standing.FREE
    ):
        return None
    epoch = next_epoch(Verb.EXPECT, ports, [member.record for member in fleet.members], fleet.now)
    return Ask(Verb.EXPECT, ports, epoch)
