"""The ledger keeps every record exactly, and nobody overwrites what he has not read."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smtp_fleet.evidence import Ask, Machine, Record, Verb, asked
from smtp_fleet.fleet import Breaker
from smtp_fleet.ledger import Superseded
from smtp_fleet.outcome import Outcome

PORTS = st.frozensets(st.integers(1, 65535), max_size=4)
NUMBER = st.integers(0, 2**40)
TEXT = st.text(max_size=20)
RECORDS = st.builds(
    Record,
    machine=st.builds(Machine, st.from_regex("i-[0-9a-f]{8}", fullmatch=True), st.just("vol-1")),
    ask=st.none() | st.builds(Ask, st.sampled_from(Verb), PORTS, st.integers(1, 2**40)),
    asked_at=NUMBER,
    cause=TEXT,
    command_id=TEXT,
    sent_at=NUMBER,
    answered=NUMBER,
    outcome=st.none() | st.sampled_from(Outcome),
    reason=TEXT,
    stored=NUMBER,
    proxy=PORTS,
    plain=PORTS,
    admitted=st.booleans(),
    owner=TEXT,
    told=PORTS,
    **dict.fromkeys(("overwritten", "overwritten_at", "unheard", "tries", "admitted_at", "held_at"), NUMBER),
)
MACHINE = Machine("i-1", "vol-1")
BREAKER = Breaker(("i-1", "i-2"), 200, "lt-1 7", "two listeners")


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(RECORDS)
def test_every_record_comes_back_as_it_was_written(stack, record):
    [old] = stack.ledger.records([record.machine]).values()
    stack.ledger.write(old, record)
    assert stack.ledger.records([record.machine]) == {record.machine: record}


def test_who_read_an_older_record_may_not_write(stack):
    empty = Record(MACHINE)
    first = asked(empty, Ask(Verb.EXPECT, frozenset({25}), 1), 1, "")
    stack.ledger.write(empty, first)
    for stale in (empty, replace(first, command_id="other")):
        with pytest.raises(Superseded):
            stack.ledger.write(stale, replace(stale, admitted=True))
    assert stack.ledger.records([MACHINE]) == {MACHINE: first}


def test_more_than_a_hundred_records_are_read(stack, calls):
    machines = [Machine(f"i-{n}", "vol-1") for n in range(130)]
    for machine in machines:
        stack.ledger.write(Record(machine), replace(Record(machine), admitted=True))
    calls.clear()
    assert all(record.admitted for record in stack.ledger.records(machines).values())
    assert calls == ["dynamodb:BatchGetItem"] * 2


def test_the_first_time_seen_off_stays(stack):
    stack.ledger.record_off("mx-1", 25, 100)
    stack.ledger.record_off("mx-1", 25, 200)
    assert stack.ledger.off_since([("mx-1", 25), ("mx-2", 25)]) == {("mx-1", 25): 100}
    stack.ledger.forget_off("mx-1", 25)
    assert stack.ledger.off_since([("mx-1", 25)]) == {}


def test_the_breaker_of_a_group_is_kept_until_it_is_closed(stack):
    stack.ledger.record_hook("mx", 100)
    stack.ledger.record_breaker("mx", BREAKER)
    assert stack.ledger.groups(["mx", "web"]) == ({"mx": 100}, {"mx": BREAKER})
    stack.ledger.close_breaker("mx")
    assert stack.ledger.groups(["mx"]) == ({"mx": 100}, {})


def test_one_lease_at_a_time(stack):
    assert stack.ledger.take_lease("a", 100, 10)
    assert not stack.ledger.take_lease("b", 110, 10)
    stack.ledger.give_back_lease("b")
    assert not stack.ledger.take_lease("b", 110, 10)
    assert stack.ledger.take_lease("b", 111, 10)
    stack.ledger.give_back_lease("a")
    assert not stack.ledger.take_lease("a", 111, 10)
    stack.ledger.give_back_lease("b")
    assert stack.ledger.take_lease("a", 111, 10)
