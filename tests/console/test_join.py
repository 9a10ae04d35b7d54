"""The history joined: Systems Manager's word where it still has one, the log's where not, and who made the call."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.history import Entry
from console.join import Line, join
from smtp_fleet.evidence import Ask, Verb
from tests.console.entries import ASK, NOW, answered, entry, sent, told


def test_an_entry_has_what_was_asked_why_and_what_came_of_it():
    assert entry() == Entry(
        at=NOW, instance="i-1", balancers=("mx-1",), verb="expect", ports="25,587", epoch=7, cause="launch", call="",
        outcome="ok", reason="", speaks="25=proxy 587=proxy", changed=True, seconds=12.3, status="Success",
        command="c-1",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "outcome", "failed", "evidence"),
    [
        ({"status": "InProgress", "output": "", "seconds": 0.0}, "under way", False, False),
        ({"status": "TimedOut", "details": "DeliveryTimedOut", "output": ""}, "lost", True, False),
        ({"status": "Failed", "output": "Segmentation fault"}, "bug", True, False),
        ({"verdict": {"class": "refused", "reason": "no Postfix"}}, "refused", True, True),
        ({"verdict": {"epoch": 6}}, "lost", True, False),
    ],
)
def test_only_an_answer_to_this_very_ask_is_evidence(changes, outcome, failed, evidence):
    [found] = join([told(ASK, **changes)], [], {})
    assert (found.outcome, found.is_failed, found.is_evidence) == (outcome, failed, evidence)


@given(
    st.sampled_from(Verb),
    st.frozensets(st.integers(1, 65535), max_size=3),
    st.integers(0, 10**12),
    st.text(max_size=20),
)
def test_what_the_hand_writes_into_a_comment_is_read_back(verb, ports, epoch, cause):
    ask = Ask(verb, ports, epoch)
    [found] = join([told(ask, cause)], [], {})
    assert (found.verb, found.epoch, cause.startswith(found.cause)) == (verb.value, epoch, True)
    assert found.ports.replace("none", "") == ",".join(map(str, sorted(ports)))


@given(st.text(), st.text())
def test_whatever_others_write_the_join_does_not_break(words, output):
    assert join([told(ASK, comment=words, output=output)], [], {}) == () or words.startswith("smtp-fleet ")
    [found] = join([told(ASK, output=output)], [], {})
    assert isinstance(found.changed, bool)


@given(st.permutations(range(6)))
def test_entries_come_oldest_first(order):
    every = [told(ASK, at=NOW + n, command=f"c-{n}") for n in order]
    assert [e.command for e in join(every, [], {})] == [f"c-{n}" for n in range(6)]


# ---- what was logged


def test_the_log_has_all_that_systems_manager_would_have_told():
    [kept] = join([], [sent(), answered()], {})
    assert kept == entry()


def test_what_systems_manager_tells_goes_before_what_was_logged():
    [found] = join([told(verdict={"class": "refused", "reason": "two listeners"})], [sent(), answered()], {})
    assert (found.outcome, found.reason, found.balancers) == ("refused", "two listeners", ("mx-1",))


def test_an_instance_that_is_gone_is_where_it_was_when_it_answered():
    [found] = join([told()], [answered(load_balancers=["mx-1", "mx-2"])], {"i-1": {"elsewhere"}})
    assert found.balancers == ("mx-1", "mx-2")


def test_a_command_without_an_answer_in_the_log_proves_nothing_and_accuses_nobody():
    one, other = join([], [sent(instances=("i-1", "i-2")), answered()], {})
    assert (one.outcome, other.outcome, other.is_failed, other.is_evidence) == ("ok", "unheard", False, False)
    assert other.at == NOW


@given(st.permutations([sent(), answered(), answered(), sent(instances=("i-2",), command="c-2")]))
def test_a_line_too_often_or_out_of_order_changes_nothing(lines):
    assert [(e.command, e.instance, e.outcome) for e in join([], lines, {})] == [
        ("c-1", "i-1", "ok"),
        ("c-2", "i-2", "unheard"),
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
KEYS = st.sampled_from([*answered().said, "instance_ids", "calls"])


@given(st.sampled_from([sent(), answered()]), st.dictionaries(KEYS, JSON, max_size=4))
def test_whatever_a_line_holds_the_join_does_not_break(line, changes):
    for found in join([told()], [Line(line.at, {**line.said, **changes})], {}):
        assert isinstance(found.outcome, str)


# ---- who made the call


def decided(call, at, balancers=("mx-1",)):
    return Line(at, {"message": "on", "load_balancers": [*balancers], "calls": [call], "cause": call.split()[0]})


def by(name, at="2033-05-18T03:33:00Z", call="AddTags"):
    return f"{call} by arn:aws:sts::123456789012:assumed-role/admin/{name} at {at}"


def test_the_call_that_caused_it_is_the_last_of_its_kind_on_its_balancer_before_it():
    lines = [
        decided(by("alice"), NOW - 300),
        decided(by("bob"), NOW - 60),
        decided(by("carol"), NOW + 60),
        decided(by("dan"), NOW - 30, ("mx-2",)),
        decided(by("erin", call="CreateLoadBalancer"), NOW - 10),
        answered(cause="AddTags"),
    ]
    [found] = join([told(cause="AddTags")], lines, {})
    assert (found.call, found.who) == (by("bob"), "AddTags by bob")


def test_what_follows_an_answer_has_the_call_that_the_answer_goes_back_to():
    one, other = told(cause="AddTags"), told(cause="answer", at=NOW + 60, command="c-2")
    found = join([one, other], [decided(by("bob"), NOW - 60)], {"i-1": {"mx-1"}})
    assert [(e.cause, e.who) for e in found] == [("AddTags", "AddTags by bob"), ("answer", "AddTags by bob")]
    later = [told(cause="sweep", at=NOW + 90, command="c-3"), told(cause="answer", at=NOW + 120, command="c-4")]
    found = join([one, other, *later], [decided(by("bob"), NOW - 60)], {"i-1": {"mx-1"}})
    assert [e.who for e in found[2:]] == ["sweep", "answer"]


def test_a_call_of_our_own_is_no_cause_but_what_came_of_one():
    one, other = told(cause="AddTags"), told(cause="PutLifecycleHook", at=NOW + 60, command="c-2")
    ours = by("fleet-mind", call="PutLifecycleHook")
    lines = [decided(by("bob"), NOW - 60), decided(ours, NOW + 30)]
    behind = {"i-1": {"mx-1"}}
    assert [e.who for e in join([one, other], lines, behind, {"fleet-mind"})] == ["AddTags by bob"] * 2
    assert join([one, other], lines, behind, {"another"})[1].call == ours
    assert join([other], lines, behind, {"fleet-mind"})[0].call == ours, "nothing is known to have gone before"


@pytest.mark.parametrize("cause", ["sweep", "launch", "answer"])
def test_what_no_call_caused_has_none(cause):
    [found] = join([told(cause=cause)], [decided(by("alice"), NOW - 300), answered(cause=cause)], {})
    assert (found.call, found.who) == ("", cause)
