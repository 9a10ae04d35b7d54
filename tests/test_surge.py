"""A thousand launches in ten seconds: few commands, nobody lost, and nearly as soon as anybody could."""

from collections import Counter
from functools import partial

import pytest

from smtp_fleet import hand
from smtp_fleet.hand import Hand
from smtp_fleet.ssm import BATCH
from tests.account.clock import Clock
from tests.storm.run import sky
from tests.storm.stack import Killed
from tests.surge.lambdas import Turns
from tests.surge.surge import COMMAND, Launch, Surge, ended, share

LAUNCHES, SECONDS = 1_000, 10
CALLS = 2 * LAUNCHES // BATCH
"""Twice as many as full commands would be: who registers late shares a command with few."""

LATER = 1.15
"""The factor by which waits may exceed those of a sender who knows everything."""


@pytest.fixture(scope="module")
def surge():
    """The surge, in a process in which it is the same each time."""
    with sky(1) as pool:
        yield pool.submit(ended, LAUNCHES, SECONDS).result()


def test_every_instance_is_configured_and_in_service(surge):
    assert surge.launches == LAUNCHES
    assert (surge.lost, surge.dead) == ((), 0)
    assert min(surge.configured) > 0
    assert min(surge.in_service) > 0


def test_few_commands_are_sent(surge):
    assert LAUNCHES / BATCH <= surge.sent <= CALLS


@pytest.mark.parametrize("part", [0.5, 0.99, 1])
def test_nobody_waits_much_longer_than_anybody_must(surge, part):
    assert 1 <= share(surge.configured, part) / share(surge.bound, part) <= LATER


def test_a_command_for_each_is_caught(monkeypatch):
    """Less than a tenth of the launches spend more calls than all may; most are told to come again."""
    monkeypatch.setattr(hand, "BATCH", 1)
    assert ended(LAUNCHES // 12, SECONDS).sent > CALLS


def test_an_instance_that_is_dropped_is_caught(monkeypatch):
    dropped = "i-00000000000000003"
    end = Hand._end
    monkeypatch.setattr(Hand, "_end", lambda self, entry: entry.machine.instance_id == dropped or end(self, entry))
    assert ended(5, SECONDS).lost == (dropped,)


def test_the_same_numbers_give_the_same_story():
    first, second = (ended(30, SECONDS, seed=7) for _ in range(2))
    assert first == second
    assert first != ended(30, SECONDS, seed=8)


def test_the_bound_is_fifty_to_a_call_and_calls_by_their_rate():
    surge = Surge(0, SECONDS)
    surge.launches = {str(n): Launch(began=0, online=10) for n in range(351)}
    assert Counter(surge.bound()) == {
        10 + COMMAND: 5 * BATCH,
        11 + COMMAND: BATCH,
        12 + COMMAND: BATCH,
        13 + COMMAND: 1,
    }


def test_whoever_wakes_first_has_the_turn():
    clock, told = Clock(0), []
    turns = Turns(clock)

    def walk(step):
        for _ in range(2):
            turns.sleep(step)
            told.append((step, clock.now))

    for step in (3, 2):
        clock.at(0, partial(turns.begin, partial(walk, step), ends=9))
    clock.advance(10)
    assert told == [(2, 2), (3, 3), (2, 4), (3, 6)]


def test_who_sleeps_past_the_end_is_killed():
    turns = Turns(Clock(0))
    with pytest.raises(Killed):
        turns.begin(partial(turns.sleep, 2), ends=1)
