"""What follows from a fleet: a plan as a value, decided by rows of which the first that fits wins.

Pure and total: the same fleet always gives the same plan, and carrying a plan out never breaks the law that where a
balancer sends the header, Postfix expects it.
"""

from __future__ import annotations

from dataclasses import replace

from smtp_fleet import asks, breaker, drift, launch
from smtp_fleet.actions import (
    ABANDON,
    CONTINUE,
    Action,
    Admit,
    DeleteHook,
    DeletePolicy,
    Forget,
    ForgetAttachment,
    ForgetBalancer,
    ForgetOff,
    Hold,
    Plan,
    PutHook,
    Recall,
    RecordBalancer,
    RecordOff,
    Reject,
    Relent,
    Send,
)
from smtp_fleet.evidence import Record, Verb
from smtp_fleet.fleet import Fleet, Group, Member
from smtp_fleet.outcome import Outcome
from smtp_fleet.row import Row
from smtp_fleet.rows import decide
from smtp_fleet.settings import MindSettings
from smtp_fleet.tag import Mode
from smtp_fleet.view import Direction, View


def plan(fleet: Fleet, settings: MindSettings) -> Plan:
    """The next step of a fleet, over all its instance ports together."""
    views = [View(fleet, port, settings) for port in fleet.ports(settings)]
    rows, given_up = breaker.sort_out(fleet, [decide(view) for view in views])
    hooks = _hooks(fleet, rows, settings)
    # An admission that comes late would let in one that has left the pool since: the hand finds it recalled.
    recalls = tuple(Recall(m.machine) for m in fleet.members if m.pooled and m.record.admitted)
    if (hooks or recalls) and any(row.attach for row in rows):
        again = 1 if recalls else 0
        rows = [
            replace(row, reason="the hook first", attach=(), not_yet=True, again_in=again) if row.attach else row
            for row in rows
        ]
    ended = all(row.clear for row in rows) if rows else not _held_back(fleet, settings)
    admitted = launch.admitted_by_all([row.admit for row in rows] or [launch.waiting(fleet.members) if ended else ()])
    good = [m for m in admitted if any(view.sending for view in views)]
    held = launch.to_be_held(dict.fromkeys(m for row in rows for m in row.hold), fleet.now, settings.hook_timeout)
    sends = asks.sends(fleet, views, rows)
    off_for_now = any(row.refuse and row.detach for row in rows)
    actions: tuple[Action, ...] = (
        *_offs(views),
        *_recorded(fleet, sends, rows),
        *hooks,
        *recalls,
        *_detachments(views, rows),
        *(Relent(view.port) for view in views if view.sending and view.port in fleet.refusals),
        *(row.refuse for row in rows if row.refuse),
        *(action for row in rows for action in (*row.detach, *row.attach)),
        *(drift.attaching(view) for view, row in zip(views, rows, strict=True) if row.attach),
        *sends,
        *(breaker.forgetting(fleet) if off_for_now else breaker.closing(fleet, good)),
        *given_up,
        *(_reject(m) for m in dict.fromkeys(m for row in rows for m in row.reject)),
        *(Hold(m.machine, m.group) for m in held),
        *(Admit(m.machine, m.group, m.launched_at) for m in launch.to_be_admitted(admitted, fleet.now)),
        *(_clear(fleet, settings) if ended else ()),
    )
    waits = [row.again_in for row in rows if row.again_in] + asks.repeats(fleet, rows)
    waits += (
        asks.unannounced(fleet, sends, rows)
        + asks.deadlines(fleet, sends, settings)
        + [settings.hook_timeout // 3 for _ in held[:1]]
    )
    found = (*(finding for row in rows for finding in row.findings), *breaker.findings(fleet))
    return Plan(
        reason="; ".join(dict.fromkeys(row.reason for row in rows)) or "no mail listener",
        actions=actions,
        not_yet=any(row.not_yet for row in rows),
        again_in=min(waits, default=0),
        findings=tuple(dict.fromkeys(found)),
    )


def _held_back(fleet: Fleet, settings: MindSettings) -> bool:
    """Whether nothing may be changed, whatever the port; View.held_back says it of one."""
    return settings.audit or settings.paused or any(told.mode is Mode.AUDIT for told in fleet.wishes.values())


def _reject(m: Member) -> Reject:
    return Reject(m.machine, m.group, m.record.reason, m.record.outcome or Outcome.BUG)


def _clear(fleet: Fleet, settings: MindSettings) -> tuple[Action, ...]:
    """What is left of us where all is off: hooks on which nobody waits, the unused policy, the machines' rows."""
    waited_for = {m.group for m in fleet.members if m.waits}
    hooks = [DeleteHook(g.name) for g in fleet.groups if g.hook and g.name not in waited_for]
    unused = [
        DeletePolicy(b.name, settings.policy_name)
        for b in fleet.balancers
        if fleet.wishes[b.name].mode is not Mode.ABSENT  # without a tag it is not ours to touch
        and settings.policy_name in b.proxy_policies
        and not any(settings.policy_name in on for on in b.backend.values())
    ]
    if waited_for:  # what is forgotten while there is a hook would only be asked again
        return (*hooks, *unused)
    known = [Forget(m.machine) for m in fleet.members if m.record != Record(m.machine)]
    refused = [Relent(port) for port in sorted(fleet.refusals)]
    offs = [ForgetOff(*key) for key in fleet.off_since if key[0] in fleet.wishes]
    balancers = [ForgetBalancer(name) for name in sorted(fleet.recorded)]  # last: by it the rest is found after a crash
    return (*hooks, *unused, *known, *refused, *breaker.forgetting(fleet), *offs, *balancers)


def _recorded(fleet: Fleet, sends: tuple[Send, ...], rows: list[Row]) -> tuple[RecordBalancer, ...]:
    """The balancers to remember before instances behind them come to expect: their tags may vanish at any time."""
    if not (any(row.attach for row in rows) or any(send.ask.verb is Verb.EXPECT and send.ask.ports for send in sends)):
        return ()
    tagged = (b.name for b in fleet.balancers if fleet.wishes[b.name].mode is not Mode.ABSENT)
    return tuple(RecordBalancer(name) for name in tagged if name not in fleet.recorded)


def _offs(views: list[View]) -> tuple[Action, ...]:
    """What the ledger should know of when balancers went off, or no longer know."""
    concerned = [v for v in views if v.direction is not Direction.OFF or not v.is_clean]
    seen = [(b, v, (b.name, v.port) in v.fleet.off_since) for v in concerned for b in v.feeding]
    forget = [ForgetOff(b.name, v.port) for b, v, known in seen if known and b.sends(v.port)]
    record = [RecordOff(b.name, v.port) for b, v, known in seen if not known and not b.sends(v.port)]
    fed = [ForgetOff(*g.off_key) for v in views[:1] for g in v.fleet.groups if g.off_key in v.fleet.off_since]
    return (*forget, *record, *fed)


def _detachments(views: list[View], rows: list[Row]) -> tuple[Action, ...]:
    """What the ledger is to know no more of policies that are taken off by us."""
    known = [view.port for view, row in zip(views, rows, strict=True) if view.port in view.fleet.attachments]
    off = {view.port for view, row in zip(views, rows, strict=True) if row.detach or row.clear}
    return tuple(ForgetAttachment(port) for port in known if port in off)


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
