"""What instances are asked, over all ports of a fleet together: one ask a machine, with the whole set of ports."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from smtp_fleet.actions import Send
from smtp_fleet.evidence import ASK_WAIT, Ask, Machine, Standing, Verb, next_epoch
from smtp_fleet.fleet import Fleet, Member
from smtp_fleet.outcome import retry_wait
from smtp_fleet.row import Row
from smtp_fleet.settings import MindSettings
from smtp_fleet.view import View

ALONE_WAIT = 10
"""Seconds after which the answers of instances in no group are looked for."""

ANY = -1
"""Evidence of any time will do."""


def sends(fleet: Fleet, views: list[View], rows: list[Row]) -> tuple[Send, ...]:
    """The asks to send now, equal ones together; a machine that is to change is not looked at besides."""
    change: dict[Member, set[int]] = {}
    look: dict[Member, set[int]] = {}
    after: dict[Machine, int] = {}
    for view, row in zip(views, rows, strict=True):
        for m in row.expect:
            change.setdefault(m, _whole_set(m)).add(view.port)
        for m in row.let_go:
            change.setdefault(m, _whole_set(m)).discard(view.port)
        for m in row.look:
            look.setdefault(m, set()).add(view.port)
        for m in (*row.expect, *row.look):
            after[m.machine] = max(after.get(m.machine, ANY), _newer_than(view, m in row.look))
    wanted = [(m, Verb.EXPECT, ports) for m, ports in change.items()]
    wanted += [(m, Verb.LOOK, ports) for m, ports in look.items() if m not in change]
    records = [m.record for m in fleet.members]
    # Found once for all that are asked the same: it takes a look at every member.
    epoch = cache(lambda verb, ports, since: next_epoch(verb, ports, records, fleet.now, since))
    asks: dict[Ask, list[Machine]] = {}
    for m, verb, ports in sorted(wanted, key=lambda each: each[0].machine):
        # What an instance could not do is asked again each check interval: it may have been mended meanwhile.
        since = after.get(m.machine, ANY)
        tried = m.record.asked_at > max(since, fleet.now - views[0].settings.check_interval)
        if _is_to_be_asked(fleet, m, verb, frozenset(ports), tried):
            ask = Ask(verb, frozenset(ports), epoch(verb, frozenset(ports), since))
            asks.setdefault(ask, []).append(m.machine)
    return tuple(Send(ask, tuple(machines)) for ask, machines in asks.items())


def repeats(fleet: Fleet, rows: list[Row]) -> list[int]:
    """The seconds after which asks that ended without a usable answer are due again."""
    asked = [m.record for row in rows for m in (*row.look, *row.expect, *row.let_go)]
    out = [record for record in asked if record.outcome and record.standing(fleet.now) is Standing.OUT]
    return [record.asked_at + retry_wait(record.tries) - fleet.now for record in out]


def unannounced(fleet: Fleet, sends: Iterable[Send], rows: list[Row]) -> list[int]:
    """The seconds after which to look for answers that no event points at: those of instances in no group."""
    asked = {machine for send in sends for machine in send.machines}
    waited_for = [m for row in rows for m in (*row.look, *row.expect, *row.let_go) if not m.group]
    out = [m for m in waited_for if m.machine in asked or m.record.standing(fleet.now) is Standing.OUT]
    return [ALONE_WAIT for _ in out[:1]]


def deadlines(fleet: Fleet, sends: Iterable[Send], settings: MindSettings) -> list[int]:
    """The seconds after which it is known of these asks which were in vain, and which launches are given up on."""
    asked = {machine for send in sends for machine in send.machines}
    launches = [m.launched_at for m in fleet.members if m.waits and m.machine in asked and m.launched_at]
    late = [at + settings.agent_wait - fleet.now for at in launches]
    return [ASK_WAIT + 1 for _ in sorted(asked)[:1]] + [seconds for seconds in late if seconds > 0]


def _newer_than(view: View, look: bool) -> int:
    """Evidence for attaching has to be fresh; while somebody sends only that of a look, or to let go, any is good."""
    if not view.sending:
        return view.floor
    return view.fleet.now - view.settings.check_interval if look else ANY


def _whole_set(m: Member) -> set[int]:
    """The ports that an ask must name lest it end anything; one that was only looked at may expect, too."""
    return set(m.expected_ports | m.record.proxy)


def _is_to_be_asked(fleet: Fleet, m: Member, verb: Verb, ports: frozenset[int], tried: bool) -> bool:
    """A new ask goes out at once; the same again only when the last one is neither out nor lately met with a refusal.

    A look never overtakes an ask that is out: it would hide what was asked.
    """
    last, standing = m.record.ask, m.record.standing(fleet.now)
    same = last is not None and (last.verb, last.ports) == (verb, ports)
    refused = standing is Standing.CANNOT and tried
    waits = standing is Standing.OUT and (same or verb is Verb.LOOK)
    return bool(m.machine.volume) and not waits and not (same and refused)
