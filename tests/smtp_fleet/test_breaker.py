"""Launches that fail one after the other are stopped, not looped; a fleet is never drained by what is given up."""

from dataclasses import replace

import pytest

from smtp_fleet.actions import Admit, CloseBreaker, Hold, RecordBreaker, Refuse, Reject, Send, SetPolicies
from smtp_fleet.breaker import ONE_EACH
from smtp_fleet.evidence import ASK_WAIT
from smtp_fleet.fleet import Breaker
from smtp_fleet.outcome import HELD, HOPELESS, Outcome
from smtp_fleet.plan import plan
from tests.smtp_fleet.test_plan import EXPECT, NOW, SETTINGS, acts, balancer, fleet, group, one

OPEN = Breaker(("i-7", "i-8", "i-9"), NOW - 10, "", "two listeners")


def failing(instance="i-1", outcome=Outcome.REFUSED, **record):
    answer = {"ask": EXPECT, "asked_at": NOW, "answered": NOW, "outcome": outcome, "reason": "two listeners"}
    return one(instance, **(answer | record))


def sending(*members, breaker=None, groups=None, **settings):
    found = fleet(balancer(sends=True), groups=groups or [group()], members=list(members))
    breakers = {"mx": breaker} if breaker else {}
    return plan(replace(found, breakers=breakers), replace(SETTINGS, **settings))


def good(instance="i-5"):
    return one(instance, ask=EXPECT, asked_at=NOW, answered=NOW, outcome=Outcome.OK, proxy=frozenset({25}))


def test_of_many_that_fail_at_once_three_are_given_up_and_the_others_held():
    serving = replace(good("i-0"), waits=False)
    decision = sending(serving, *(failing(f"i-{n}") for n in range(1, 6)))
    assert [a.machine.instance_id for a in acts(decision, Reject)] == ["i-1", "i-2", "i-3"]
    assert [a.machine.instance_id for a in acts(decision, Hold)] == ["i-4", "i-5"]
    [record] = acts(decision, RecordBreaker)
    assert record.breaker == Breaker(("i-1", "i-2", "i-3"), NOW, "", "two listeners")


def test_the_ledger_knows_of_it_before_anybody_is_given_up():
    """A crash in between counts one too many, and never one too few."""
    kinds = [type(action) for action in sending(failing()).actions]
    assert kinds.index(RecordBreaker) < kinds.index(Reject)


def test_one_that_is_given_up_already_is_counted_once():
    decision = sending(failing("i-9"), good("i-0"), breaker=replace(OPEN, given_up=("i-9",)))
    assert [a.machine.instance_id for a in acts(decision, Reject)] == ["i-9"]
    assert acts(decision, RecordBreaker) == []


def test_an_open_breaker_is_said_with_its_reason_and_holds_the_launches():
    decision = sending(failing(), replace(good("i-0"), waits=False), breaker=OPEN)
    assert acts(decision, Reject) == []
    assert [a.machine.instance_id for a in acts(decision, Hold)] == ["i-1"]
    assert (
        "the breaker of group mx is open: 3 launches in a row were given up, the last because two listeners; "
        "the others are held"
    ) in decision.findings


def test_a_held_launch_is_held_on_long_before_its_hook_ends_and_not_at_each_wake():
    third = SETTINGS.hook_timeout // 3
    serving = replace(good("i-0"), waits=False)
    held = [acts(sending(failing(held_at=NOW - ago), serving, breaker=OPEN), Hold) for ago in (third - 1, third)]
    assert [len(each) for each in held] == [0, 1]
    assert sending(failing(), serving, breaker=OPEN).again_in == third


def test_each_hour_one_is_given_up_all_the_same():
    late = replace(OPEN, at=NOW - ONE_EACH)
    decision = sending(failing("i-1"), failing("i-2"), replace(good("i-0"), waits=False), breaker=late)
    assert [a.machine.instance_id for a in acts(decision, Reject)] == ["i-1"]
    [record] = acts(decision, RecordBreaker)
    assert record.breaker.given_up == ("i-8", "i-9", "i-1")


def test_a_good_launch_closes_it():
    decision = sending(good(), breaker=OPEN)
    kinds = [type(action) for action in decision.actions]
    assert kinds.index(CloseBreaker) < kinds.index(Admit)


def test_another_launch_configuration_closes_it_and_its_launches_count_anew():
    newer = replace(group(), configuration="lt-1 2")
    decision = sending(failing(), replace(good("i-0"), waits=False), breaker=OPEN, groups=[newer])
    assert acts(decision, CloseBreaker) == [CloseBreaker("mx")]
    assert [a.breaker.given_up for a in acts(decision, RecordBreaker)] == [("i-1",)]
    assert len(acts(decision, Reject)) == 1
    assert not any("breaker" in finding for finding in decision.findings)
    kinds = [type(action) for action in decision.actions]
    assert kinds.index(CloseBreaker) < kinds.index(RecordBreaker)


def test_launches_fail_and_nobody_expects_so_the_balancer_goes_off_and_stays_off_for_a_while():
    decision = sending(failing(), breaker=OPEN)
    assert decision.reason == "nobody expects and launches fail: balancer off"
    [off] = acts(decision, SetPolicies)
    assert (off.sends, off.policies) == (False, ())
    [refuse] = acts(decision, Refuse)
    assert (refuse.until, refuse.why) == (
        NOW + 300,
        "no instance expects the header on instance port 25, and launches fail",
    )
    kinds = [type(action) for action in decision.actions]
    assert kinds.index(Refuse) < kinds.index(SetPolicies)  # a crash in between must not attach again at once
    assert not acts(decision, Reject)
    assert acts(decision, CloseBreaker) == [CloseBreaker("mx")]  # a later try begins anew


KEPT_BY = {
    "one that expects": (failing(), replace(good("i-0"), waits=False)),
    "no launch at all": (),
    "no launch under way": (replace(failing(), waits=False),),
}


@pytest.mark.parametrize("kept_by", [*KEPT_BY, "audit", "paused", "another tag", "a closed breaker"])
def test_the_last_resort_is_the_last(kept_by):
    members = KEPT_BY.get(kept_by, (failing(),))
    held_back = {kept_by: True} if kept_by in ("audit", "paused") else {}
    found = fleet(balancer(sends=True), tag=None if kept_by == "another tag" else "enabled", groups=[group()],
                  members=list(members))  # fmt: skip
    breakers = {} if kept_by == "a closed breaker" else {"mx": OPEN}
    assert acts(plan(replace(found, breakers=breakers), replace(SETTINGS, **held_back)), SetPolicies) == []


def waiting(launched, asked, **record):
    return replace(one(ask=EXPECT, asked_at=NOW - asked, **record), launched_at=NOW - launched)


@pytest.mark.parametrize(
    ("member", "given_up"),
    [
        (waiting(launched=720, asked=ASK_WAIT), True),
        (waiting(launched=720, asked=10, unheard=1), True),
        (waiting(launched=720, asked=10), False),  # asked for the first time, and just now
        (waiting(launched=719, asked=ASK_WAIT), False),
        (waiting(launched=720, asked=ASK_WAIT, command_id="c", sent_at=NOW - 10), False),
        (replace(waiting(launched=720, asked=ASK_WAIT), launched_at=0), False),  # EC2 does not show it yet
        (replace(waiting(launched=720, asked=ASK_WAIT), waits=False), False),  # it serves
    ],
)
def test_a_launch_without_an_agent_is_given_up_in_time(member, given_up):
    rejects = acts(sending(member, replace(good("i-0"), waits=False)), Reject)
    assert [(r.outcome, r.reason) for r in rejects] == (
        [(Outcome.ABSENT, "its agent did not come online within 720 s")] if given_up else []
    )


def test_to_hold_on_to_a_late_agent_is_a_setting():
    member = waiting(launched=1500, asked=ASK_WAIT)
    serving = replace(good("i-0"), waits=False)
    assert acts(sending(member, serving, agent_wait=2400), Reject) == []
    assert acts(sending(member, serving, agent_wait=2400), Send)


def test_a_launch_whose_agent_is_absent_is_asked_on_while_the_breaker_is_open():
    member = waiting(launched=800, asked=ASK_WAIT)
    decision = sending(member, replace(good("i-0"), waits=False), breaker=OPEN)
    assert [type(action) for action in decision.actions] == [Send, Hold]


def test_it_is_looked_at_again_when_a_launch_is_to_be_given_up():
    member = replace(one(), launched_at=NOW - 600)
    assert sending(member, replace(good("i-0"), waits=False)).again_in == 120
    assert sending(replace(member, launched_at=NOW), replace(good("i-0"), waits=False)).again_in == ASK_WAIT + 1


def test_the_classes_part_into_those_given_up_and_those_held():
    assert not HOPELESS & HELD
    assert Outcome.OK not in HOPELESS | HELD
