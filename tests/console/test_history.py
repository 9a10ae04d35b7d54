"""Where evidence is missing, and what of the history is wanted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.history import Gap, gaps
from tests.console.entries import NOW, entry

INTERVAL = 3600.0


def seen(*hours, speaks="25=proxy", **changes):
    return [entry(at=NOW + 3600 * hour, speaks=speaks, **changes) for hour in hours]


def test_two_check_intervals_without_evidence_are_a_gap():
    assert gaps(seen(0, 2, 4.1), NOW + 3600 * 5, INTERVAL, {}) == (Gap("i-1", NOW + 7200, NOW + 3600 * 4.1, ("mx-1",)),)


@pytest.mark.parametrize(
    ("entries", "watched", "found"),
    [
        (seen(0), {"i-1": NOW}, 1),
        (seen(0), {}, 0),  # gone
        (seen(0, 1, 2, 3, 4), {"i-1": NOW}, 0),
        (seen(0, 1, 2, 3, 4, outcome="lost"), {"i-1": NOW}, 1),  # nothing of this proves anything
        ([], {"i-1": NOW}, 1),  # never looked at
        ([], {"i-1": NOW + 3600 * 4}, 0),  # just launched
        (seen(0, speaks="25=plain") + seen(4), {}, 0),  # let go, and switched on again
    ],
)
def test_what_is_a_gap_and_what_is_none(entries, watched, found):
    assert len(gaps(entries, NOW + 3600 * 5, INTERVAL, watched)) == found


@given(st.lists(st.floats(0, 100), max_size=12))
def test_gaps_are_exactly_the_long_spans_of_one_that_is_watched(hours):
    now = NOW + 3600 * 100
    times = sorted({NOW + 3600 * h for h in hours}) or [NOW]
    found = gaps([entry(at=at) for at in times] if hours else [], now, INTERVAL, {"i-1": NOW})
    long = [(a, b) for a, b in zip(times, [*times[1:], now], strict=True) if b - a > 2 * INTERVAL]
    assert [(g.begin, g.end) for g in found] == long
