"""Storms over real parts: the template's rules, functions under AWS's runtime client, HAProxy, Postfix and mail.

Fewer than in memory (tests/test_storm.py), and nothing of it imitated but AWS.
"""

from collections import Counter
from pathlib import Path

import pytest

from local.cutover import PARAMETERS, LiveFleet
from local.invoke import hastened
from local.region import Region
from local.template import Template
from tests.storm.real import Storm

TEMPLATE = Path("template.yaml")
SEEDS = range(5)
SOON = {"VisibilityTimeout": "5"}
"""A message that a killed function held comes again after so many seconds, and not after minutes."""


@pytest.fixture(scope="module")
def storms():
    """What each storm came to; each fails by itself unless everything ends as its last tag asks for."""
    quickly = hastened(Template(TEMPLATE, PARAMETERS, "")) | {"AsksQueue": SOON, "WakesQueue": SOON}
    with Region(TEMPLATE, PARAMETERS, quickly) as region:
        fleet = LiveFleet(region, senders=6, around=10)
        try:
            fleet.build()
            played = [Storm(seed) for seed in SEEDS]
            yield [(storm, fleet.play(storm.play)) for storm in played]
        finally:
            fleet.close()


@pytest.mark.parametrize("seed", SEEDS)
def test_no_message_comes_to_harm_in_a_storm(storms, seed):
    _, outcome = storms[seed]
    assert (outcome.tally.bounced, outcome.lost, outcome.doubled) == ([], [], [])
    assert len(outcome.tally.delivered) >= 20


def test_the_storms_struck(storms):
    assert all(storm.has_raged for storm, _ in storms)
    assert len(sum((storm.struck for storm, _ in storms), Counter())) > 5
    assert {storm.ends for storm, _ in storms} == {"enabled", "disabled"}
