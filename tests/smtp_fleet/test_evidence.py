"""Which answers are believed, what an ask makes unknown, and how epochs fence."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_fleet.evidence import (
    ASK_WAIT,
    COMMAND_WAIT,
    Answer,
    Ask,
    Invocation,
    Machine,
    Record,
    Speaks,
    Standing,
    Verb,
    answered,
    asked,
    believe,
    next_epoch,
)
from smtp_fleet.outcome import RETRY_WAIT, Outcome

ASK = Ask(Verb.EXPECT, frozenset({25}), 1000)
MACHINE = Machine("i-1", "vol-1")


def verdict(**changes):
    return {
        "contract": 1,
        "verb": "expect",
        "epoch": 1000,
        "class": "ok",
        "reason": "",
        "ports": {"25": "proxy"},
    } | changes


def invocation(status="Success", details="Success", **changes):
    return Invocation("i-1", status, details, json.dumps(verdict(**changes)) + "\nnoise")


def test_a_verdict_of_the_asked_epoch_is_believed():
    assert believe(ASK, invocation()) == Answer(1000, Outcome.OK, proxy=frozenset({25}))


@pytest.mark.parametrize("changes", [{"epoch": 999}, {"epoch": "1000"}, {"verb": "look"}, {"contract": 2}])
def test_a_verdict_on_another_ask_proves_nothing(changes):
    told = believe(ASK, invocation(**changes))
    assert told is not None
    assert (told.outcome, told.proxy, told.plain) == (Outcome.LOST, frozenset(), frozenset())


@pytest.mark.parametrize("status", ["Pending", "InProgress", "Delayed", "Cancelling", "something new"])
def test_what_is_not_final_is_no_answer(status):
    assert believe(ASK, invocation(status)) is None


@pytest.mark.parametrize(
    ("status", "details", "outcome"),
    [
        ("TimedOut", "ExecutionTimedOut", Outcome.LOST),
        ("TimedOut", "DeliveryTimedOut", Outcome.LOST),
        ("Failed", "Undeliverable", Outcome.LOST),
        ("Cancelled", "Cancelled", Outcome.LOST),
        ("Failed", "Failed", Outcome.BUG),
        ("Success", "Success", Outcome.BUG),
    ],
)
def test_no_verdict_is_lost_or_our_bug_but_never_proof(status, details, outcome):
    told = believe(ASK, Invocation("i-1", status, details, "Segmentation fault"))
    assert told is not None
    assert (told.outcome, told.proxy, told.plain) == (outcome, frozenset(), frozenset())


def test_the_class_of_a_failed_command_is_kept_with_what_postfix_is():
    told = believe(
        ASK, invocation("Failed", "Failed", **{"class": "refused", "reason": "two listeners", "ports": {"25": "plain"}})
    )
    assert told == Answer(1000, Outcome.REFUSED, plain=frozenset({25}), reason="two listeners")


@given(st.text() | st.binary().map(lambda b: b.decode("latin-1")), st.sampled_from(["Success", "Failed", "TimedOut"]))
def test_no_output_can_make_believe_stumble_or_lie(output, status):
    told = believe(ASK, Invocation("i-1", status, "", output))
    assert told is not None
    assert not told.proxy


@given(
    st.recursive(
        st.none() | st.integers() | st.text() | st.floats(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_no_verdict_of_a_wrong_shape_makes_believe_stumble(ports):
    told = believe(ASK, invocation(ports=ports, reason=ports, stored=ports, **{"class": "ok"}))
    assert told is not None
    assert all(0 <= port < 100_000 for port in told.proxy | told.plain)


def test_only_an_ask_that_can_end_expecting_voids_a_known_expects():
    known = Record(MACHINE, proxy=frozenset({25, 587}), plain=frozenset({465}))
    again = asked(known, Ask(Verb.EXPECT, frozenset({25, 465}), 5), 0, "")
    assert [again.speaks(port) for port in (25, 587, 465)] == [Speaks.PROXY, Speaks.UNKNOWN, Speaks.UNKNOWN]
    looked = asked(known, Ask(Verb.LOOK, frozenset({25}), 5), 0, "")
    assert (looked.proxy, looked.plain) == (known.proxy, known.plain)


def test_a_host_that_met_an_ask_has_let_go_of_every_other_port():
    out = asked(Record(MACHINE), Ask(Verb.EXPECT, frozenset({587}), 5), 0, "")
    met = answered(out, Answer(5, Outcome.OK, proxy=frozenset({587})))
    assert [out.speaks(25), met.speaks(25), met.speaks(587)] == [Speaks.UNKNOWN, Speaks.PLAIN, Speaks.PROXY]
    assert answered(out, Answer(5, Outcome.EDITED, proxy=frozenset({25}))).speaks(25) is Speaks.PROXY


def test_what_a_verdict_tells_besides_is_kept_within_bounds():
    answer = believe(ASK, invocation(owner="puppet", detail="main.cf " * 100))
    assert (answer.owner, len(answer.detail)) == ("puppet", 500)
    assert believe(ASK, invocation(owner=7, detail=["x"])).owner == ""


def test_an_answer_to_an_earlier_ask_changes_nothing():
    now = asked(Record(MACHINE), ASK, 0, "")
    late = Answer(999, Outcome.OK, proxy=frozenset({25}))
    assert answered(now, late) == now
    assert answered(now, replace(late, epoch=1000)).speaks(25) is Speaks.PROXY


def test_where_a_machine_stands_with_its_ask():
    never = Record(MACHINE)
    out = asked(never, ASK, 100, "")
    sent = replace(out, command_id="c", sent_at=200)
    assert never.standing(100) is Standing.FREE
    assert (out.standing(100), out.standing(100 + ASK_WAIT)) == (Standing.OUT, Standing.FREE)
    assert (sent.standing(100 + ASK_WAIT), sent.standing(200 + COMMAND_WAIT)) == (Standing.OUT, Standing.FREE)
    lost, cannot, done = (answered(sent, Answer(1000, o)) for o in (Outcome.LOST, Outcome.REFUSED, Outcome.OK))
    assert (lost.standing(100), lost.standing(100 + RETRY_WAIT)) == (Standing.OUT, Standing.FREE)
    assert (cannot.standing(10**9), done.standing(100)) == (Standing.CANNOT, Standing.FREE)


PORTS = st.frozensets(st.sampled_from([25, 465, 587]))
ASKS = st.builds(Ask, st.sampled_from(Verb), PORTS, st.integers(1, 3000))
RECORDS = st.builds(Record, st.just(MACHINE), ask=st.none() | ASKS, stored=st.integers(0, 3000))


@given(st.sampled_from(Verb), PORTS, st.lists(RECORDS), st.integers(1, 2000))
def test_an_epoch_only_grows_unless_the_ask_is_the_newest_again(verb, ports, records, now):
    epoch = next_epoch(verb, ports, records, now)
    asks = [r.ask for r in records if r.ask]
    newest = max((a.epoch for a in asks), default=0)
    assert epoch > max((r.stored for r in records), default=0)
    assert epoch > newest or any((a.verb, a.ports, a.epoch) == (verb, ports, epoch) for a in asks)
    assert epoch >= newest


def test_a_hosts_epoch_from_the_far_future_is_not_believed():
    assert next_epoch(Verb.EXPECT, frozenset({25}), [Record(MACHINE, stored=10**9)], 1000) == 1000


def test_when_it_was_asked_first_stays_where_the_same_is_asked_again_and_is_new_with_a_new_epoch():
    first = asked(Record(MACHINE), ASK, 100, "")
    again = asked(first, ASK, 500, "")
    assert (first.first_asked_at, again.first_asked_at, again.asked_at) == (100, 100, 500)
    assert asked(again, replace(ASK, epoch=ASK.epoch + 1), 600, "").first_asked_at == 600
