"""Tag values are understood, or they are a finding; never a guess."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_fleet.tag import Mode, Tags, wish

MAIL = frozenset({25})


@pytest.mark.parametrize(
    ("value", "mode", "ports"),
    [
        (None, Mode.ABSENT, {25}),
        ("enabled", Mode.ENABLED, {25}),
        (" enabled ", Mode.ENABLED, {25}),
        ("audit", Mode.AUDIT, {25}),
        ("disabled", Mode.DISABLED, {25}),
        ("25 587", Mode.ENABLED, {25, 587}),
        ("2525", Mode.ENABLED, {2525}),
        ("", Mode.UNCLEAR, {25}),
        ("Enabled", Mode.UNCLEAR, {25}),
        ("true", Mode.UNCLEAR, {25}),
        ("25,587", Mode.UNCLEAR, {25}),
        ("25 enabled", Mode.UNCLEAR, {25}),
        ("0", Mode.UNCLEAR, {25}),
        ("65536", Mode.UNCLEAR, {25}),
        ("٢٥", Mode.UNCLEAR, {25}),
    ],
)
def test_each_value_has_one_meaning(value, mode, ports):
    told = wish(Tags(value), MAIL)
    assert (told.mode, told.ports) == (mode, frozenset(ports))


@given(st.text(max_size=255))
def test_every_text_is_a_wish_and_only_an_unclear_one_is_a_finding(value):
    told = wish(Tags(value), MAIL)
    assert (told.mode is Mode.UNCLEAR) == bool(told.finding)
    assert all(1 <= port <= 65535 for port in told.ports)
    assert "\n" not in told.finding
