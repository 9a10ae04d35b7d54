"""Whatever a kill leaves, on the way in or out, a look puts back."""

import pytest

from tests.document.states import BACK, IN, OUT, SAID, bytes_of
from tests.document.tripwire import worth_a_kill


@pytest.mark.parametrize("ports", [IN, OUT], ids=["expecting", "letting go"])
def test_what_a_kill_leaves_is_put_back_by_a_look(ask, machine, proven, steps, kill, ports):
    settled = 1 + next(number for number, step in enumerate(steps[ports], 1) if step.settles)
    state = OUT
    for number in worth_a_kill(steps[ports]):
        if state != BACK[ports]:
            ask("expect", BACK[ports])
        kill(ports, number)
        state = ports if number >= settled else BACK[ports]  # a change that was proven stays
        assert ask("look").said == SAID[state], steps[ports][number - 1]
        assert bytes_of(machine) == proven[state], steps[ports][number - 1]
