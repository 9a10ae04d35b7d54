"""How the fleets stand, in numbers: what is counted of one fleet, and what a round tells of all."""

import json
from dataclasses import astuple, fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.strict import ssm as agents
from smtp_fleet import gauges
from smtp_fleet.actions import Plan
from smtp_fleet.evidence import Verb
from smtp_fleet.fleet import Breaker, Fleet, Listener
from smtp_fleet.gauges import Tally
from smtp_fleet.observe import Observer
from smtp_fleet.sqs import Queue
from tests.smtp_fleet.test_mind import broken, fleet_with_launch
from tests.smtp_fleet.test_plan import NOW, balancer, fleet, group, one, serving
from tests.smtp_fleet.world import SETTINGS, SMTP

EXPECTS, PLAIN, UNKNOWN = serving(verb=Verb.EXPECT), serving("i-2", Verb.LOOK), serving("i-3")


def tally(*arguments, **keywords):
    return gauges.tally(fleet(*arguments, groups=[group()], **keywords), SETTINGS)


@pytest.mark.parametrize(
    ("tag", "sends", "members", "right"),
    [
        ("enabled", True, [EXPECTS], True),
        ("enabled", True, [], True),
        ("enabled", True, [EXPECTS, one("i-9")], True),  # it waits, and takes no traffic
        ("enabled", True, [EXPECTS, PLAIN], False),
        ("enabled", True, [EXPECTS, UNKNOWN], False),
        ("enabled", False, [], False),
        ("enabled", False, [EXPECTS], False),
        ("25", True, [EXPECTS], True),
        ("587", True, [EXPECTS], False),
        ("587", False, [PLAIN], True),  # it has no such listener
        ("disabled", False, [PLAIN, UNKNOWN], True),
        ("disabled", False, [EXPECTS], False),
        ("disabled", True, [EXPECTS], False),
        ("audit", False, [UNKNOWN], True),
        ("audit", True, [EXPECTS], True),
        ("audit", True, [PLAIN], False),
        ("what?", True, [EXPECTS], False),
        (None, True, [EXPECTS], False),
    ],
)
def test_a_balancer_is_right_that_is_as_its_tag_asks_and_whose_instances_go_along(tag, sends, members, right):
    assert tally(balancer(sends), tag=tag, members=members).right == right


def test_each_port_that_the_tag_asks_for_has_to_be_right():
    both = balancer(True, listeners=(SMTP, Listener(587, "TCP", 587, "TCP")))
    assert tally(both, tag="25 587", members=[EXPECTS]).right == 0
    assert tally(both, tag="25", members=[EXPECTS]).right == 1


def test_those_that_send_and_those_that_expect_are_counted():
    silent = replace(balancer(), name="mx-2")
    told = tally(balancer(True), silent, members=[EXPECTS, PLAIN, UNKNOWN])
    assert (told.sending, told.expecting) == (1, 1)


def test_an_instance_that_is_wrong_on_two_ports_is_one_mismatch():
    policies = frozenset({"EnableProxyProtocol"})
    on = dict.fromkeys((25, 587), tuple(policies))
    both = balancer(True, listeners=(SMTP, Listener(587, "TCP", 587, "TCP")), backend=on)
    record = replace(PLAIN.record, plain=frozenset({25, 587}))
    assert tally(both, tag="25 587", members=[replace(PLAIN, record=record), UNKNOWN]).mismatched == 1
    assert tally(balancer(), members=[PLAIN]).mismatched == 0  # nobody sends


def test_the_oldest_wait_is_that_of_a_launch_and_not_of_one_that_left_a_running_warm_pool():
    launched = [replace(one(f"i-{ago}"), launched_at=NOW - ago) for ago in (5, 700, SETTINGS.hook_timeout + 1)]
    told = tally(balancer(True), members=[*launched, EXPECTS])
    assert (told.waiting, told.longest_wait) == (3, 700)
    assert tally(balancer(True), members=[one()]).longest_wait == 0  # EC2 does not show yet when it was launched


def test_one_that_is_held_waits_for_longer_than_its_hook_allows():
    held = replace(one(held_at=NOW - 60), launched_at=NOW - 3 * SETTINGS.hook_timeout)
    assert tally(balancer(True), members=[held]).longest_wait == 3 * SETTINGS.hook_timeout


@pytest.mark.parametrize(("given_up", "is_open"), [(("i-1", "i-2"), 0), (("i-1", "i-2", "i-3"), 1)])
def test_a_breaker_that_is_open_is_counted(given_up, is_open):
    breakers = {"mx": Breaker(given_up, NOW, "")}
    found = gauges.tally(replace(fleet(balancer(True), groups=[group()]), breakers=breakers), SETTINGS)
    assert found.breakers == is_open


def test_a_group_that_left_its_fleet_is_counted_too():
    left = Fleet(NOW, (), {}, (group(),), (replace(one(), launched_at=NOW - 9), EXPECTS))
    assert gauges.tally(left, SETTINGS) == Tally(expecting=1, waiting=1, longest_wait=9)


NUMBERS = st.builds(Tally, *[st.integers(0, 9)] * len(fields(Tally)))


@given(NUMBERS, st.integers(0, 99), st.booleans())
def test_each_gauge_is_told_at_most_once_and_a_sweep_tells_all(seen, tagged, everything):
    told = [name for name, _, _ in gauges.told(seen, tagged, everything)]
    assert len(told) == len(set(told))
    every = {name for name, _, _ in gauges.told(Tally(), 0, everything=True)}
    alarming = {"LiveMismatches"} if seen.mismatched else set()
    alarming |= {"BreakerOpen"} if seen.breakers else set()
    assert set(told) == (every if everything else alarming)


@given(st.lists(NUMBERS), st.lists(NUMBERS))
def test_a_sweep_in_two_rounds_counts_what_it_would_in_one(one, other):
    assert gauges.total([gauges.carried(astuple(gauges.total(one))), *other]) == gauges.total([*one, *other])


@pytest.mark.parametrize("numbers", [(), (1, 2), tuple(range(20))])
def test_what_no_round_of_ours_has_left_counts_for_nothing(numbers):
    assert gauges.carried(numbers) == Tally()


def test_what_is_told_is_the_sum_and_of_waits_the_longest():
    seen = gauges.total([Tally(1, 2, 3, 4, 50, 6, 7), Tally(10, 20, 30, 40, 5, 60, 70)])
    told = gauges.told(seen, 99, everything=True)
    assert {name: (value, unit) for name, value, unit in told} == {
        "BalancersTagged": (99, "Count"),
        "BalancersRight": (22, "Count"),
        "BalancersSending": (11, "Count"),
        "InstancesExpecting": (33, "Count"),
        "LaunchesWaiting": (44, "Count"),
        "OldestLaunchWaiting": (50, "Seconds"),
        "LiveMismatches": (66, "Count"),
        "BreakerOpen": (77, "Count"),
    }


def counted(stack):
    """What was counted since last asked, by name; nothing is counted twice."""
    found = {name: value for name, value, _ in stack.counted}
    assert len(found) == len(stack.counted)
    stack.counted.clear()
    return found


def test_a_sweep_tells_of_all_fleets_as_it_found_them(stack):
    stack.balancer("mx-1")
    stack.balancer("mx-2", tag="what?")
    stack.balancer("web", tag=None)
    stack.wake()
    first = counted(stack)
    assert (first["BalancersTagged"], first["BalancersRight"], first["BalancersSending"]) == (2, 0, 0)
    stack.wake()
    second = counted(stack)
    assert (second["BalancersTagged"], second["BalancersRight"], second["BalancersSending"]) == (2, 1, 1)


def test_a_sweep_that_goes_on_in_another_round_tells_once_of_all(stack, monkeypatch):
    """The fleet at which it stopped is looked at again, and counted once."""
    for name in ("mx-1", "mx-2", "mx-3"):
        stack.balancer(name)
        stack.wake(name)
    stack.ledger.record_off("mx-2", 25, stack.now)  # it sends, so there is something to do
    stack.balancer("mx-4")
    stack.counted.clear()
    sent = []
    monkeypatch.setattr(Queue, "send", lambda queue, messages, delay=0: sent.extend(messages))
    real = Observer.fleet

    def the_second_takes_long(observer, part, *more):
        stack.left = 0 if part[0].name == "mx-2" else stack.left
        return real(observer, part, *more)

    monkeypatch.setattr(Observer, "fleet", the_second_takes_long)
    assert stack.wake() == set()
    assert counted(stack) == {}
    monkeypatch.setattr(Observer, "fleet", real)
    stack.left = 100
    [again] = [json.loads(json.dumps(body)) for body in sent if body["detail-type"] == "Scheduled Event"]
    assert again["detail"]["begin"] == "mx-2"
    assert stack.mind().wake({"m": again}, "me") == set()
    told = counted(stack)
    assert (told["BalancersTagged"], told["BalancersRight"], told["BalancersSending"]) == (4, 3, 3)


def test_no_other_round_tells_of_a_part_as_if_it_were_all(stack):
    stack.balancer("mx-1")
    stack.wake("mx-1")
    stack.counted.clear()
    stack.wake("mx-1")
    assert counted(stack) == {}


def test_a_balancer_whose_fleet_broke_is_counted_and_not_right(stack, monkeypatch):
    for name in ("mx-1", "mx-2"):
        stack.balancer(name)
        stack.wake(name)
    stack.counted.clear()
    monkeypatch.setattr("smtp_fleet.mind.plan", lambda f, _: broken() if f.name == "mx-1" else Plan("on"))
    assert stack.wake() == {"m"}
    told = counted(stack)
    assert (told["BalancersTagged"], told["BalancersRight"]) == (2, 1)


def test_a_launch_that_waits_is_told_with_its_age(stack):
    [instance] = fleet_with_launch(stack)
    launched = stack.client("ec2").describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    stack.now = int(launched["LaunchTime"].timestamp()) + 123
    stack.counted.clear()
    stack.wake()
    told = counted(stack)
    assert (told["LaunchesWaiting"], told["OldestLaunchWaiting"], told["InstancesExpecting"]) == (1, 123, 0)


def test_a_mismatch_is_told_by_whichever_round_meets_it(stack):
    """It is mended before the next sweep."""
    [instance] = fleet_with_launch(stack)
    agents.register_agent(instance)
    for _ in range(2):
        stack.wake("mx-1")
        stack.hand().work(stack.received("asks"))
        assert agents.drain(5)
    agents.executor = lambda *told: answering("plain", *told)
    stack.now += SETTINGS.check_interval + 1
    stack.wake("mx-1")
    stack.hand().work(stack.received("asks"))
    assert agents.drain(5)
    agents.executor = lambda *told: answering("proxy", *told)
    stack.counted.clear()
    stack.wake("mx-1")
    assert counted(stack) == {"Configured": 1, "LiveMismatches": 1}
    stack.hand().work(stack.received("asks"))
    assert agents.drain(5)
    stack.wake("mx-1")
    assert counted(stack) == {"Configured": 1}
    stack.wake()
    assert counted(stack)["LiveMismatches"] == 0


def answering(speaks, instance_id, content, parameters, command_id):
    verdict = {"contract": 1, "verb": parameters["Verb"][0], "epoch": int(parameters["Epoch"][0]), "class": "ok",
               "reason": "", "ports": {"25": speaks}}  # fmt: skip
    return agents.Answer("Success", "Success", 0, json.dumps(verdict) + "\n")
