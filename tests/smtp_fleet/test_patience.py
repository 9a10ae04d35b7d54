"""Who waits is looked at in moments that all share, soon at first and then ever more seldom."""

from hypothesis import given
from hypothesis import strategies as st

from smtp_fleet.patience import LADDER, LONGEST_STEP, next_look, phase

NOW = st.integers(1_700_000_000, 1_900_000_000)
WAITED = st.integers(0, 10_000)


@given(NOW, WAITED, st.text())
def test_the_next_look_is_near_and_never_at_once(now, waited, name):
    assert 1 <= next_look(now, waited, phase(name)) <= LONGEST_STEP
    if waited < 60:
        assert next_look(now, waited, phase(name)) <= 10


@given(NOW, st.integers(0, 29), WAITED, WAITED, st.text())
def test_all_of_a_stack_meet_at_the_moments_of_those_that_wait_longest(now, later, one, other, name):
    """Whoever is looked at seldom is looked at when the others are: every step divides the longest."""
    shift = phase(name)
    moments = {at + next_look(at, 10_000, shift) for at in (now, now + later)}
    for moment in moments:
        assert (moment - shift) % LONGEST_STEP == 0
        assert all((moment - shift) % step == 0 for _, step in LADDER)
    shortest = min(step for _, step in LADDER)
    assert abs(next_look(now, one, shift) - next_look(now, other, shift)) % shortest == 0


def test_stacks_do_not_all_look_in_the_same_moment():
    assert len({phase(f"https://sqs/{n}/asks") for n in range(50)}) > 10
