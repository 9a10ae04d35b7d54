"""A live fleet under a load of mail: whatever is done to it, nothing bounces, nothing is lost or doubled.

Some acts of `make story STORY=live-cutover`, and one of `STORY=unheard`, with fewer senders and messages.
"""

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from local.acts import ACTS
from local.cutover import PARAMETERS, LiveFleet
from local.region import Region
from local.timeline import Recording, draw

HEARD = ("on", "overwritten", "off")
UNHEARD = ("killed",)


@pytest.fixture(scope="module")
def told():
    """The outcomes of the acts, in order; each act itself fails unless it ends in the state that it is to end in."""
    with Region(Path("template.yaml"), PARAMETERS) as region:
        fleet = LiveFleet(region, senders=10, around=20)
        try:
            fleet.build()
            outcomes = {name: fleet.play(ACTS[name].play) for name in HEARD}
            with fleet.without_events():
                yield outcomes | {name: fleet.play(ACTS[name].play) for name in UNHEARD}
        finally:
            fleet.close()


@pytest.mark.parametrize("name", HEARD + UNHEARD)
def test_no_message_came_to_harm(told, name):
    outcome = told[name]
    assert (outcome.tally.bounced, outcome.lost, outcome.doubled) == ([], [], [])
    assert len(outcome.tally.delivered) >= 40


def test_the_order_is_postfix_first_and_balancer_second_and_back_again(told):
    said = [phase.said for name in ("on", "off") for phase in told[name].phases if phase.who == "mind"]
    order = ["asking whether they could", "Postfix first", "balancer second", "on"]
    order += ["switching off: balancer first", "switching off: Postfix second", "off"]
    assert [step for step in dict.fromkeys(said) if step in order] == order


@pytest.mark.parametrize("name", ["on", "off"])
@pytest.mark.parametrize("kind", ["DATA", "idle"])
def test_a_session_that_was_open_survives(told, name, kind):
    assert told[name].sessions[kind].startswith("250 ")


def test_what_was_overwritten_deferred_and_was_found_and_repaired(told):
    said = " ".join(phase.said for phase in told["overwritten"].phases)
    assert told["overwritten"].tally.deferrals
    assert "live mismatch" in said
    assert "(is over)" in said


def test_an_unknown_story_is_told_in_one_line():
    command = [sys.executable, "-m", "local.stories", "nosuch"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "STORY=nosuch: no such story; there is: live-cutover unheard\n"


def test_the_timeline_shows_each_delivery_deferral_and_phase():
    phases = [(1.0, "mind", "Postfix first"), (2.0, "balancer", "mx-1 with the header")]
    picture = draw(Recording([0.1, 0.2, 3.0], [1.5], phases, 6.0, "settle 3 s"))
    texts = [text.text for text in ElementTree.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")]
    assert {"Postfix first", "HAProxy sends the header"} <= set(texts)
    assert any("3 messages, 1 deferrals, longest wait 6.0 s" in text for text in texts)
    assert [text for text in texts if text in ("1", "2")] == ["2", "1"]  # the most in one bin, of either
