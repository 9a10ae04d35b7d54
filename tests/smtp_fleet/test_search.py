"""The law over every short history, and the search shown to be able to find what breaks it.

Each mutant takes one thing away that the design rests on; the search must find a history in which mail would bounce.
"""

from dataclasses import replace

import pytest

from smtp_fleet import launch, rows
from smtp_fleet.row import Row, attaching
from smtp_fleet.view import View
from tests.smtp_fleet import world as worlds
from tests.smtp_fleet.search import Limits, search, start

STATES = 20_000
NOTHING_GOES_WRONG = Limits(
    tags=0, launches=0, terminations=0, replacements=0, vanished=0, lost=0, repeated=0, crashes=0
)


@pytest.mark.parametrize("live", [False, True])
def test_the_law_holds_in_every_short_history(live):
    result = search(start(live), Limits(), STATES)
    assert result.found is None
    assert result.states == STATES


def balancer_first(patch):
    patch(rows.cutover, "live", lambda view: Row("on", attach=attaching(view)))


def admit_anybody_while_sending(patch):
    real = rows._protecting
    patch(rows, "_protecting", lambda view, no: replace(real(view, no), admit=launch.waiting(view.fleet.members)))


def protection_ends_with_the_tag(patch):
    """An untagged balancer is taken for none of ours, though it sends: its group looks like one that left its fleet."""
    fleet, orphans = worlds.World.fleet, worlds.World.orphans

    def left(world):
        gone = (
            {n: replace(g, balancers=frozenset()) for n, g in world.groups.items()}
            if world.tags == {"mx-1": None}
            else {}
        )
        return replace(world, groups=world.groups | gone)

    patch(worlds.World, "fleet", lambda world: fleet(left(world)))
    patch(worlds.World, "orphans", lambda world: orphans(left(world)))


def nothing_has_to_settle(patch):
    patch(View, "settled_in", 0)


def no_admitted_mark(patch):
    real = worlds.World.do

    def do(world, action, cause=""):
        before = dict(world.records)
        real(world, action, cause)
        if isinstance(action, worlds.Admit):
            world.records = before

    patch(worlds.World, "do", do)


ONE_LAUNCH = replace(NOTHING_GOES_WRONG, launches=1)
FLIP = replace(ONE_LAUNCH, tags=2, tag_values=("enabled", "disabled"))
MUTANTS = [
    (balancer_first, True, NOTHING_GOES_WRONG),
    (admit_anybody_while_sending, False, ONE_LAUNCH),
    (protection_ends_with_the_tag, False, replace(ONE_LAUNCH, tags=1, tag_values=(None,))),
    (nothing_has_to_settle, False, FLIP),
    (no_admitted_mark, False, FLIP),
]


@pytest.mark.parametrize(("mutant", "live", "limits"), MUTANTS, ids=[m.__name__ for m, _, _ in MUTANTS])
def test_the_search_finds_what_breaks_the_law(mutant, live, limits, monkeypatch):
    mutant(monkeypatch.setattr)
    found = search(start(live), limits, 2 * STATES).found
    assert found is not None
    print(f"{mutant.__name__}, {len(found.story)} steps:", *found.story, *found.broken, sep="\n  ")
