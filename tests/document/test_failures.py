"""Wherever a step fails, on the way in or out, the host ends in one of the two proven states, and says in which."""

import pytest

from tests.document.states import BACK, IN, OUT, SAID, bytes_of


def serves(machine, dial, header, state, number):
    """Is a client served as it should be: under the name in its header, or greeted with none."""
    client = dial(header=header(port=20_000 + number) if state == IN else "")
    greeted = client.line().startswith("220")
    client.close()
    return greeted and (state == OUT or machine.await_log(f"CONNECT from [203.0.113.9]:{20_000 + number} "))


@pytest.mark.parametrize("ports", [IN, OUT], ids=["expecting", "letting go"])
def test_a_failure_at_any_step_ends_in_a_proven_state_that_is_told(
    ask, machine, trip, proven, steps, dial, header, ports
):
    classes, state = set(), OUT
    for number, step in enumerate(steps[ports], 1):
        if state != BACK[ports]:
            ask("expect", BACK[ports])
        trip.fail(number)
        answer = ask("expect", ports)
        trip.disarm()
        classes.add(answer.verdict["class"])
        state = ports if answer.verdict["class"] == "ok" else BACK[ports]
        assert answer.verdict["ports"].get("25", SAID[state][1]["25"]) == SAID[state][1]["25"], step
        assert answer.verdict["changed"] is (state == ports), step
        assert bytes_of(machine) == proven[state], step
        assert serves(machine, dial, header, state, number), step
        if machine.run(["sh", "-c", "ls -d /var/lib/smtp-fleet/*/pending"]).returncode == 0:
            assert ask("look").said == SAID[state], step  # what it said stays so, whatever it still remembers
            assert bytes_of(machine) == proven[state], step
    assert classes == {"ok", "failed", "broken"}
