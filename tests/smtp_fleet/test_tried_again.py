"""What is tried again begins anew: retagged, refused, vanished, overtaken; and nobody defers mail without a bound."""

import json
import re
from dataclasses import replace

import pytest

from local.strict import ssm as agents
from smtp_fleet import events, rows
from smtp_fleet.actions import SetPolicies
from smtp_fleet.autoscaling import Groups
from smtp_fleet.elb import LoadBalancers
from smtp_fleet.events import Where, where
from smtp_fleet.evidence import Answer, Ask, Verb, answered, asked
from smtp_fleet.fleet import Group, LoadBalancer, Refusal, Root, member
from smtp_fleet.outcome import Outcome
from smtp_fleet.plan import plan
from smtp_fleet.tag import Tags, wish
from tests.smtp_fleet.test_changes import EXPECTING, SENDING, live
from tests.smtp_fleet.test_plan import LOOK, NOW, OURS, acts, balancer, fleet, group, one, serving, told
from tests.smtp_fleet.world import LAG, SETTINGS, SMTP

ADD_TAGS = {
    "source": "aws.elasticloadbalancing",
    "detail": {"eventName": "AddTags", "requestParameters": {"loadBalancerNames": ["mx-1"]}},
}
ASK_FIRST = replace(SETTINGS, live_cutover="ask")


def test_a_second_balancer_is_attached_only_when_every_launch_is_held():
    """Its group may have a launch that began before our hook was on it."""
    world = live(SENDING)
    world.balancers["mx-2"], world.tags["mx-2"] = LoadBalancer("mx-2", (SMTP,)), "enabled"
    world.groups["mx"] = replace(world.groups["mx"], balancers=frozenset({"mx-1", "mx-2"}))
    world.groups["two"] = Group("two", frozenset({"mx-2"}))
    world.launch("i-9", "two", begun=True)
    for _ in range(6):
        world.step(1)
    assert not world.sends("mx-2")
    world.passes(LAG)
    assert world.broken_law() == []
    for _ in range(30):
        world.step(31)
    assert world.sends("mx-2")
    assert world.broken_law() == []


@pytest.mark.parametrize("held_back", ["audit", "paused", "refused", ""])
def test_held_back_or_refused_no_further_balancer_is_attached(held_back, monkeypatch):
    silent = replace(balancer(), name="mx-2")
    found = fleet(balancer(sends=True), silent, members=[serving(verb=Verb.EXPECT)])
    if held_back == "refused":
        monkeypatch.setattr(rows, "refusals", lambda *_: ("a reason",))
    changes = {held_back: True} if held_back in ("audit", "paused") else {}
    attached = acts(plan(found, replace(SETTINGS, **changes)), SetPolicies)
    assert bool(attached) is (held_back == "")


@pytest.mark.parametrize("since", ["off and on again", "a refusal that expired"])
def test_a_go_dies_with_its_plan(since):
    look = serving(verb=Verb.LOOK)
    first = fleet(balancer(), groups=[group()], members=[look], off=NOW - 100)
    [code] = re.findall(r"Value=(\w+)", " ".join(plan(first, ASK_FIRST).findings))
    gone = replace(first, wishes={"mx-1": wish(Tags("enabled", code), SETTINGS.mail_ports)})
    assert plan(gone, ASK_FIRST).reason != "ready: waiting for go"
    fresh = replace(gone, members=(serving(verb=Verb.LOOK, ago=5),))
    again = {
        "off and on again": replace(fresh, off_since={("mx-1", 25): NOW - 70}),
        "a refusal that expired": replace(fresh, refusals={25: Refusal("the budget", 1, NOW - 20)}),
    }
    assert plan(again[since], ASK_FIRST).reason == "ready: waiting for go"


def test_only_a_call_of_somebody_tags_anew():
    assert where(ADD_TAGS).retagged == {"mx-1"}
    again = where(events.wake(Where("AddTags", balancers=frozenset({"mx-1"}))))
    assert again.retagged == frozenset()
    kept = where(events.wake(where(ADD_TAGS)))  # a busy lease sends the wake again
    assert kept.retagged == {"mx-1"}
    assert where(
        {"source": "smtp-fleet", "detail": {"balancers": [], "cause": "x", "retagged": ["mx-9", 1]}}
    ).retagged == (frozenset())


def refuses(instance_id, content, parameters, command_id):
    verdict = {"contract": 1, "verb": parameters["Verb"][0], "epoch": int(parameters["Epoch"][0]), "class": "refused",
               "reason": "two listeners", "ports": {"25": "plain"}}  # fmt: skip
    return agents.Answer("Failed", "Failed", 12, json.dumps(verdict))


def test_tagged_anew_after_a_refusal_it_is_looked_at_again_and_once(stack):
    """The mended instance is asked, not judged by what it said before; and our own wakes do not tag anew."""
    healthy, agents.executor = agents.executor, refuses
    stack.balancer()
    stack.group()
    for instance in stack.scale(1):
        agents.register_agent(instance)
    for _ in range(4):
        stack.wake("mx-1")
        stack.hand().work(stack.received("asks"))
        assert agents.drain(5)
        stack.now += 10
    assert "cutover refused" in stack.phrases()
    agents.executor = healthy
    stack.said.clear()
    stack.mind().wake({"m": ADD_TAGS}, "me")
    assert stack.phrases()[-1] == "asking whether they could"
    assert len(stack.received("asks")) == 1
    for _ in range(3):
        stack.now += 1
        stack.mind().wake({"m": events.wake(Where("AddTags", balancers=frozenset({"mx-1"})))}, "me")
    assert "cutover refused" not in stack.phrases()


def test_where_a_policy_vanished_and_an_agent_is_dead_mail_is_deferred_no_longer_than_the_budget():
    world = live(SENDING)
    world.deaf.add("i-1")
    world.balancers["mx-1"] = replace(world.balancers["mx-1"], backend={25: ()})
    world.sent_until["mx-1", 25] = world.now + LAG
    for _ in range(40):
        world.step(31)
    assert not world.sends()
    assert not world.expecting()["i-0"]


def looked_at_and_expecting(*names):
    answer = {"ask": LOOK, "asked_at": NOW - 5, "answered": LOOK.epoch, "outcome": Outcome.OK, "proxy": frozenset({25})}
    return [one(name, waits=False, **answer) for name in names]


def test_where_all_expect_already_no_go_is_waited_for():
    off = balancer(policies=frozenset({OURS}), proxy_policies=frozenset({OURS}))
    found = fleet(off, groups=[group()], members=looked_at_and_expecting("i-1", "i-2"), off=NOW - 30)
    assert plan(found, ASK_FIRST).reason == "balancer second"


def test_who_expects_while_nobody_sends_is_named():
    unseen = serving("i-2", verb=Verb.LOOK, ago=20, plain=frozenset(), answered=0, outcome=None)
    decision = told(balancer(), groups=[group()], members=[*looked_at_and_expecting("i-1"), unseen], off=NOW - 100)
    assert decision.reason == "asking whether they could"
    assert "i-1 expects the header on port 25, and nobody sends it: its mail is deferred" in decision.findings
    assert decision.again_in == SETTINGS.cutover_budget - 5 + 1


def test_one_that_was_told_to_expect_is_undone_though_it_was_looked_at_since():
    """It carried the command out; its answer was lost, and so was the command to let go."""
    world = live(EXPECTING)
    world.instances["i-1"].expects = frozenset({25})
    for _ in range(400):
        world.step(10)
        world.queue = [each for each in world.queue if each[0].instance_id != "i-1"]
        ask = world.records[world.machine("i-1")].ask
        if ask and ask.verb is Verb.LOOK:
            break
    world.tags["mx-1"] = "audit"
    world.deaf.clear()
    for _ in range(60):
        world.step(31)
    assert not world.expecting()["i-1"]


def test_what_a_machine_was_told_counts_until_it_is_known_to_have_let_go():
    expect, none = Ask(Verb.EXPECT, frozenset({25}), 5), Ask(Verb.EXPECT, frozenset(), 6)
    record = asked(one().record, expect, 1, "")
    looked = asked(record, Ask(Verb.LOOK, frozenset({25}), 7), 2, "")
    assert (record.told, looked.told) == ({25}, {25})

    assert answered(looked, Answer(7, Outcome.OK, plain=frozenset({25}))).told == frozenset()
    assert asked(record, none, 3, "").told == {25}
    assert answered(asked(record, none, 3, ""), Answer(6, Outcome.OK)).told == frozenset()
    assert answered(asked(record, none, 3, ""), Answer(6, Outcome.FAILED)).told == {25}


@pytest.mark.parametrize("outcome", [Outcome.NOT_READY, Outcome.OLDER_EPOCH])
def test_who_puts_us_off_again_and_again_is_named(outcome):
    def findings(tries):
        m = one(waits=False, ask=LOOK, asked_at=NOW - 5, answered=LOOK.epoch, outcome=outcome, tries=tries)
        return told(balancer(), groups=[group()], members=[m]).findings

    assert findings(2) == ()
    assert "i-1 is asked again and again and is not ready" in findings(3)[0]


def test_a_call_that_fails_is_no_tug_of_war(stack, monkeypatch):
    stack.balancer()

    def throttled(*_):
        raise RuntimeError("Rate exceeded")

    with monkeypatch.context() as patched:
        patched.setattr(LoadBalancers, "apply", throttled)
        for _ in range(4):
            stack.wake("mx-1")
            stack.now += 30
    stack.wake("mx-1")
    assert stack.policies() == {25: [OURS]}


@pytest.mark.parametrize(("hooked_since", "serves"), [(100, False), (101, True), (0, True)])
def test_a_launch_that_began_before_our_hook_was_there_is_not_held_by_it(hooked_since, serves):
    """It waits for somebody else's hook, and goes into service when that one ends."""
    held = replace(group(), hooked_since=hooked_since)
    assert member("Pending:Wait", held, False, Root("vol-1", 100), one().record).serves is serves


def test_the_asks_of_a_try_are_newer_than_the_tag(stack):
    """`hasten` lets a refusal end now, so that evidence has to be newer than that."""
    refusals = {25: Refusal("two listeners", 3, stack.now + 500)}
    assert stack.ledger.hasten("mx-1", refusals, stack.now) == {25: Refusal("two listeners", 0, stack.now)}
    assert stack.ledger.cutovers("mx-1", [25])[0] == {25: Refusal("two listeners", 0, stack.now)}


def test_the_answers_of_instances_in_no_group_are_looked_for():
    """An ended command names its instance, and nothing tells of which balancer one in no group is."""
    alone = replace(serving("i-1"), group="")
    assert told(balancer(), members=[alone]).again_in == 10
    out = replace(serving("i-1", verb=Verb.LOOK, answered=0, outcome=None, plain=frozenset()), group="")
    assert told(balancer(), members=[out]).again_in == 10
    grouped = serving("i-1", verb=Verb.LOOK, answered=0, outcome=None, plain=frozenset())
    assert told(balancer(), members=[grouped], groups=[group("CONTINUE")]).again_in != 10


def test_a_group_that_is_being_deleted_is_none(stack, monkeypatch):
    """It has a status only while it is being deleted (API reference, AutoScalingGroup)."""
    pages = [{"AutoScalingGroups": [{"AutoScalingGroupName": "mx", "Status": "Delete in progress"}]}]
    paginator = type("Paginator", (), {"paginate": lambda self, **_: pages})
    monkeypatch.setattr(stack.client("autoscaling"), "get_paginator", lambda name: paginator())
    assert Groups(stack.client("autoscaling")).all() == []
