"""What others change while a balancer sends: found by looking again, repaired in the safe order, and named."""

import json
from dataclasses import replace

import pytest

from local.strict import ssm as agents
from smtp_fleet.actions import Send
from smtp_fleet.evidence import REMEMBERED, Answer, Ask, Machine, Outcome, Record, Verb, answered, asked
from tests.smtp_fleet.test_plan import EXPECT, LOOK, MX1, NOW, balancer, fleet, group, one, plan, serving, told
from tests.smtp_fleet.world import SETTINGS

HOUR = SETTINGS.check_interval


def test_after_the_interval_an_instance_that_expects_is_looked_at_again():
    due, fresh = serving(verb=Verb.EXPECT, ago=HOUR), serving("i-2", Verb.EXPECT, ago=HOUR - 1)
    decision = told(balancer(sends=True), groups=[group()], members=[due, fresh])
    assert decision.actions == (Send(LOOK, (MX1,)),)
    assert (decision.reason, decision.not_yet) == ("on", False)


def test_a_look_that_is_out_is_not_sent_again():
    out = one(waits=False, ask=LOOK, asked_at=NOW - 5, proxy=frozenset({25}))
    assert told(balancer(sends=True), groups=[group()], members=[out]).actions == ()


def test_a_look_that_nobody_answered_is_repeated_after_the_interval_and_accuses_nobody():
    lost = serving(verb=Verb.LOOK, ago=HOUR, outcome=Outcome.LOST, plain=frozenset(), proxy=frozenset({25}))
    decision = told(balancer(sends=True), groups=[group()], members=[lost])
    assert decision.actions == (Send(LOOK, (MX1,)),)
    assert decision.findings == ()


def test_where_nobody_sends_nobody_is_looked_at_for_the_interval():
    due = serving(verb=Verb.LOOK, ago=HOUR)
    assert not [a for a in told(balancer(), tag="audit", members=[due]).actions if isinstance(a, Send)]


def looked(record, speaks, ago=0, owner=""):
    """The record once it was looked at, `ago` seconds before now, and found to speak so."""
    ask = Ask(Verb.LOOK, frozenset({25}), (record.ask.epoch if record.ask else 0) + 1)
    ports = {speaks: frozenset({25})}
    answer = Answer(ask.epoch, Outcome.OK, owner=owner, **ports)
    return answered(asked(record, ask, NOW - ago, "sweep"), answer)


def repaired(record):
    ask = replace(EXPECT, epoch=record.ask.epoch + 1)
    answer = Answer(ask.epoch, Outcome.OK, frozenset({25}), owner=record.owner)
    return answered(asked(record, ask, record.asked_at, "sweep"), answer)


def test_one_that_was_overwritten_is_asked_at_once_and_named_with_its_overwriter():
    record = looked(serving(verb=Verb.EXPECT, ago=HOUR).record, "plain", owner="puppet")
    decision = told(balancer(sends=True), groups=[group()], members=[replace(serving(), record=record)])
    [send] = decision.actions
    assert (send.ask.verb, send.ask.ports, send.machines) == (Verb.EXPECT, frozenset({25}), (MX1,))
    [finding] = decision.findings
    assert finding.startswith("live mismatch: i-1 takes traffic on instance port 25 and does not expect the header")
    assert "puppet" in finding


@pytest.mark.parametrize(("times", "tug"), [(2, False), (3, True)])
def test_the_third_time_it_is_a_tug_of_war(times, tug):
    record = serving(verb=Verb.EXPECT, ago=4 * HOUR).record
    for n in range(times):
        record = repaired(looked(record, "plain", ago=(4 - n) * HOUR, owner="ansible"))
    f = fleet(balancer(sends=True), groups=[group()], members=[replace(serving(), record=record)])
    said = [finding for finding in plan(f, SETTINGS).findings if "tug of war: i-1" in finding]
    assert bool(said) == tug
    assert not tug or "ansible" in said[0]
    later = replace(f, now=NOW + REMEMBERED)
    assert [finding for finding in plan(later, SETTINGS).findings if "tug of war" in finding] == []


def test_letting_go_on_request_is_nobody_s_overwriting():
    record = asked(serving(verb=Verb.EXPECT).record, Ask(Verb.EXPECT, frozenset(), NOW), NOW, "test")
    record = answered(record, Answer(NOW, Outcome.OK, plain=frozenset({25})))
    assert record.overwritten == 0


def test_a_host_s_marks_stay_known_where_an_answer_is_lost():
    record = looked(Record(Machine("i-1", "vol-1")), "proxy", owner="salt")
    ask = Ask(Verb.LOOK, frozenset({25}), NOW + 9)
    assert answered(asked(record, ask, NOW, "test"), Answer(ask.epoch, Outcome.LOST)).owner == "salt"


def test_an_overwritten_postfix_is_found_by_the_sweep_and_repaired(stack):
    """The whole way on strict AWS: in service, overwritten by configuration management, looked at, repaired."""
    speaks = dict.fromkeys(("25",), "plain")

    def host(instance_id, content, parameters, command_id):
        if parameters["Verb"][0] == "expect":
            speaks["25"] = "proxy"
        verdict = {"contract": 1, "verb": parameters["Verb"][0], "epoch": int(parameters["Epoch"][0]), "class": "ok",
                   "reason": "", "ports": dict(speaks), "owner": "chef"}  # fmt: skip
        return agents.Answer("Success", "Success", 0, json.dumps(verdict) + "\n")

    def round_():
        stack.now += 1
        stack.wake()
        stack.hand().work(stack.received("asks"))
        agents.drain(5)

    agents.executor = host
    stack.balancer()
    stack.group()
    for pause in (0, SETTINGS.settle, 0):
        stack.now += pause
        round_()
    [instance] = stack.scale(1)
    agents.register_agent(instance)
    for _ in range(4):
        round_()
    assert stack.states() == {instance: "InService"}
    before = len(stack.said)
    speaks["25"] = "plain"
    stack.now += HOUR
    for _ in range(4):
        round_()
    assert speaks == {"25": "proxy"}
    asked_for = [keys["ask"] for phrase, keys in stack.said[before:] if phrase == "command sent"]
    assert ["LOOK" in ask for ask in asked_for] == [True, False]
    findings = [keys["finding"] for phrase, keys in stack.said[before:] if phrase == "finding"]
    assert findings == [
        f"live mismatch: {instance} takes traffic on instance port 25 and does not expect the header"
        " (its files bear the marks of chef)"
    ]
    assert "finding is over" in stack.phrases()[before:]
