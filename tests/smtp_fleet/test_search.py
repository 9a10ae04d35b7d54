"""The law over every short history, and the search shown to be able to find what breaks it.

Each mutant takes one thing away that the design rests on; the search must find a history in which mail would bounce,
or one after which somebody waits for ever.
"""

import json
from dataclasses import replace

import pytest

from smtp_fleet import launch, rows
from smtp_fleet import plan as plans
from smtp_fleet.actions import ForgetOff
from smtp_fleet.evidence import Speaks, Verb
from smtp_fleet.fleet import is_ending
from smtp_fleet.row import Row, attaching, standing_down
from smtp_fleet.view import View
from tests.smtp_fleet import world as worlds
from tests.smtp_fleet.search import NOTHING_GOES_WRONG, STARTS, Limits, search, switching_off

STATES, FAR = 15_000, 50_000
"""How many states to search of each start, and of a mutant at most."""


SEARCHED = [name for name in STARTS if "old answer" not in name]


@pytest.mark.parametrize("name", SEARCHED)
def test_the_law_holds_in_every_short_history_and_from_each_the_end_is_reached(name, capsys):
    result = search(STARTS[name](), Limits(), STATES, ends=True)
    with capsys.disabled():
        print(f"\n{name}: {result.states:,} states, {result.moves:,} moves, {result.depth} deep")
    assert result.found is None, result.found
    assert result.states == STATES


def test_the_law_holds_where_no_launch_can_expect_the_header_up_to_the_last_resort(monkeypatch):
    """Three launches are given up, the breaker opens, the header goes, and what is launched then comes in plain."""
    offs = []
    real = rows._last_resort
    monkeypatch.setattr(rows, "_last_resort", lambda *each: offs.append(1) or real(*each))
    world = STARTS["on, nobody in service"]()
    world.able = False
    result = search(world, replace(NOTHING_GOES_WRONG, launches=5, crashes=1, lost=1), FAR // 2)
    print(f"{result.states:,} states, {result.moves:,} moves, {result.depth} deep, last resort {len(offs):,} times")
    assert result.found is None, result.found
    assert offs


ONE_BY_ONE = replace(NOTHING_GOES_WRONG, under_way=1)
SMALL = [
    ("off, live", ONE_BY_ONE),
    ("off, registered by hand", ONE_BY_ONE),
    ("off, registered by hand", replace(ONE_BY_ONE, tags=1, tag_values=(None,))),
    ("on, live", replace(ONE_BY_ONE, tags=1, tag_values=(None, "disabled", "audit", "?"))),
    ("on, live", replace(ONE_BY_ONE, vanished=1)),
    ("on, registered by hand", replace(ONE_BY_ONE, vanished=1, tags=1, tag_values=(None,))),
    ("switching off", replace(ONE_BY_ONE, lost=1, crashes=1)),
]


@pytest.mark.parametrize(("name", "limits"), SMALL)
def test_a_small_world_is_searched_to_its_end(name, limits):
    """One command or answer on its way at a time: then there is no state that was not seen."""
    result = search(STARTS[name](), limits, FAR, ends=True)
    assert result.found is None, result.found
    assert result.closed
    print(f"{name}: all {result.states:,} states, {result.moves:,} moves, {result.depth} deep")


def balancer_first(patch):
    patch(rows.cutover, "live", lambda view: Row("on", attach=attaching(view)))


def admit_plain_while_attaching(patch):
    real = rows._switching_on

    def row(view, refused):
        found = real(view, refused)
        return replace(found, admit=launch.waiting(view.fleet.members)) if found.attach else found

    patch(rows, "_switching_on", row)


def protection_gone_with_the_tag(patch):
    patch(worlds.World, "is_ours", lambda world, balancer: world.tags[balancer.name] is not None)


def attach_at_once_while_launches_may_be_without_the_hook(patch):
    patch(launch, "all_held_in", lambda fleet, settle: 0)


def standby_not_counted(patch):
    patch(worlds, "is_ending", lambda state: state == "Standby" or is_ending(state))


def admit_plain_before_settling(patch):
    real = rows._switching_off

    def row(view):
        found = real(view)
        return replace(found, admit=launch.waiting(view.fleet.members)) if view.settled_in else found

    patch(rows, "_switching_off", row)


def no_admitted_mark(patch):
    patch(worlds.World, "_mark", lambda world, machine, admitted: None)


def root_volume_no_part_of_identity(patch):
    patch(worlds.World, "machine", lambda world, i: worlds.Machine(i, "vol"))


def attach_again_on_old_answers(patch):
    patch(View, "is_fresh", lambda view, m: m.record.is_answered)


def undo_together_with_clearing(patch):
    real = rows._switching_off

    def row(view):
        found = real(view)
        return replace(found, clear=True) if found.let_go else found

    patch(rows, "_switching_off", row)
    # That the balancer is off stays known: else it would have to be noted and all be looked at anew, which is safe.
    real_clear = plans._clear
    patch(plans, "_clear", lambda *each: tuple(a for a in real_clear(*each) if not isinstance(a, ForgetOff)))


def answer_without_epoch_check(patch):
    real = worlds.believe

    def believe(ask, invocation):
        verdict = json.loads(invocation.output or "{}")
        output = json.dumps(verdict | {"epoch": ask.epoch, "verb": ask.verb.value}) if verdict else ""
        return real(ask, replace(invocation, output=output))

    patch(worlds, "believe", believe)


def ask_sent_before_it_is_in_the_ledger(patch):
    real = worlds.World._send
    patch(worlds.World, "_send", lambda *each: [*real(*each)[-1:], *real(*each)[:-1]])


def abort_before_settling(patch):
    def undoing(view, reason, findings=()):
        undo = tuple(m for m in view.fleet.members if rows.cutover.may_expect(view, m))
        return replace(standing_down(view, reason, findings), let_go=undo)

    patch(rows.cutover, "undoing", undoing)


def no_fence_on_the_host(patch):
    patch(worlds.World, "is_fenced", lambda world, x, ask: False)


def fence_not_advanced_by_look(patch):
    real = worlds.World.store
    patch(worlds.World, "store", lambda world, x, ask: ask.verb is Verb.EXPECT and real(world, x, ask))


ONE_LAUNCH = replace(NOTHING_GOES_WRONG, launches=1)
FLIP = replace(NOTHING_GOES_WRONG, tags=2, tag_values=("enabled", "disabled"))
ON_AGAIN = replace(NOTHING_GOES_WRONG, tags=1, tag_values=("enabled",))
MUTANTS = [
    (balancer_first, "off, live", NOTHING_GOES_WRONG),
    (admit_plain_while_attaching, "off, nobody in service", ONE_LAUNCH),
    (protection_gone_with_the_tag, "on, nobody in service", replace(ONE_LAUNCH, tags=1, tag_values=(None,))),
    (attach_at_once_while_launches_may_be_without_the_hook, "off, nobody in service", ONE_LAUNCH),
    (standby_not_counted, "off, live", replace(NOTHING_GOES_WRONG, standbys=1)),
    (admit_plain_before_settling, "on, nobody in service", replace(FLIP, launches=1)),
    (no_admitted_mark, "off, nobody in service", replace(FLIP, launches=1)),
    (root_volume_no_part_of_identity, "on, live", replace(NOTHING_GOES_WRONG, replacements=1)),
    (attach_again_on_old_answers, "on, live", replace(NOTHING_GOES_WRONG, vanished=1, overwritten=1)),
    (undo_together_with_clearing, "switching off", ON_AGAIN),
    (answer_without_epoch_check, "switching off, an old answer still out", ON_AGAIN),
    (ask_sent_before_it_is_in_the_ledger, "switching off", replace(ON_AGAIN, crashes=1)),
    (abort_before_settling, "on, live", replace(NOTHING_GOES_WRONG, vanished=1, tags=1, tag_values=("?",))),
    (no_fence_on_the_host, "switching off", ON_AGAIN),
    (fence_not_advanced_by_look, "switching off", ON_AGAIN),
]


@pytest.mark.parametrize(("mutant", "name", "limits"), MUTANTS, ids=[m.__name__ for m, _, _ in MUTANTS])
def test_the_search_finds_what_breaks_the_law(mutant, name, limits, monkeypatch):
    world = STARTS[name]()
    mutant(monkeypatch.setattr)
    result = search(world, limits, FAR)
    assert result.found is not None, result
    print(f"{mutant.__name__}, {len(result.found.story)} steps, {result.states} states:")
    print(*result.found.story, *result.found.broken, sep="\n  ")


def test_the_search_finds_who_waits_for_ever(monkeypatch):
    """Who lets go: asked are only those known to expect, and a lost command leaves one deferring mail for ever."""
    real = View.speaking
    monkeypatch.setattr(
        View,
        "speaking",
        lambda view, *speaks: real(view, *([Speaks.PROXY] if speaks == (Speaks.PROXY, Speaks.UNKNOWN) else speaks)),
    )
    result = search(switching_off(), replace(NOTHING_GOES_WRONG, lost=1), STATES, ends=True)
    assert result.found is not None
    print(*result.found.story, *result.found.broken, sep="\n  ")
    assert "i-0 expects [25]" in result.found.broken


def test_the_search_finds_who_is_lost_sight_of(monkeypatch):
    """Nothing is written down of a balancer before its instances come to expect, and its tag vanishes."""
    monkeypatch.setattr(plans, "_recorded", lambda *_: ())
    limits = replace(NOTHING_GOES_WRONG, tags=1, tag_values=(None,))
    result = search(STARTS["off, registered by hand"](), limits, STATES, ends=True)
    assert result.found is not None
    print(*result.found.story, *result.found.broken, sep="\n  ")
    assert result.found.broken[0] == "i-0 expects [25]"
