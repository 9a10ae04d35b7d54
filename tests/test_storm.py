"""After any storm, one sweep after it is over, everything is as it should be; and the law held all the while."""

from collections import Counter
from functools import partial

import pytest

from smtp_fleet import cutover
from smtp_fleet.view import View
from tests.account.wire import documented
from tests.storm.errors import GENERIC, LIES, called, honest
from tests.storm.forecast import forecast
from tests.storm.play import Storm
from tests.storm.run import each, sky, told
from tests.storm.shrink import shrink

SEEDS, CHUNK = 512, 32
CHUNKS = [range(first, first + CHUNK) for first in range(0, SEEDS, CHUNK)]
DEAF = [range(first, first + CHUNK) for first in (0, CHUNK)]


@pytest.fixture(scope="module")
def ends():
    """The end of each storm, as it comes."""
    with sky() as pool:
        yield {seeds: pool.submit(each, seeds) for seeds in CHUNKS}


@pytest.mark.parametrize("seeds", CHUNKS, ids="{0.start} to {0.stop}".format)
def test_one_sweep_after_the_storm_all_is_as_it_should_be(ends, seeds):
    ended = ends[seeds].result()
    assert [end.seed for end in ended] == list(seeds)
    stories = [end.story for end in ended if end.story]
    assert not stories, stories[0]


def test_without_a_single_event_the_sweeps_alone_lead_there():
    """What befalls the stacks of these seeds is the same; nothing but sweeps, and what it tells itself, wakes it."""
    with sky() as pool:
        ended = [end for found in pool.map(partial(each, deaf=True), DEAF) for end in found]
    stories = [end.story for end in ended if end.story]
    assert not stories, stories[0]
    assert len(ended) == sum(map(len, DEAF))


def test_each_call_that_is_granted_is_struck_many_times(ends):
    struck = sum((end.struck for future in ends.values() for end in future.result()), Counter())
    assert {operation for _, operation in called()} <= struck.keys()
    assert struck.total() > 10 * SEEDS


def test_a_seed_gives_the_same_story_each_time():
    first, second = (Storm(forecast(11)).run() for _ in range(2))
    assert first.told == second.told
    assert len(first.told) > 100


@pytest.mark.parametrize(("service", "operation"), called())
def test_each_documented_error_is_told_unless_it_would_be_a_lie(service, operation):
    assert set(GENERIC) <= set(honest(service, operation))
    assert set(documented(service, operation)) <= set(honest(service, operation)) | LIES.keys()


def test_a_balancer_that_goes_first_is_caught_and_its_story_is_short(monkeypatch):
    monkeypatch.setattr(cutover, "_not_expecting", lambda view, serving: ())
    seed, decisions, played = first_wrong()
    story = told(seed, decisions, played)
    assert "which does not expect it" in story
    assert len(story.partition("\n\n")[0].splitlines()) < len(decisions) / 3


def test_a_mind_that_does_not_wait_for_the_data_plane_is_caught(monkeypatch):
    monkeypatch.setattr(View, "settled_in", 0)
    *_, played = first_wrong()
    assert "which does not expect it" in played.wrong[-1]


def first_wrong():
    for seed in range(SEEDS):
        decisions = forecast(seed)
        played = Storm(decisions).run()
        if played.wrong:
            return seed, decisions, played
    raise AssertionError(f"no storm of {SEEDS} finds it")


@pytest.mark.parametrize("guilty", [{3}, {0, 7}, {2, 3, 11}, set(range(12))])
def test_a_story_is_shrunk_to_what_it_takes(guilty):
    assert set(shrink(range(12), guilty.issubset)) == guilty
