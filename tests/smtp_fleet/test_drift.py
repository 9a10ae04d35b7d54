"""What others change while a balancer sends: found by looking again, repaired in the safe order, and named."""

import json
from dataclasses import replace

import pytest

from local.strict import ssm as agents
from smtp_fleet.actions import Refuse, Send, SetPolicies
from smtp_fleet.evidence import REMEMBERED, Answer, Ask, Machine, Record, Verb, answered, asked
from smtp_fleet.outcome import Outcome
from smtp_fleet.tag import tags as read
from smtp_fleet.tag import wish
from tests.smtp_fleet.search import start
from tests.smtp_fleet.test_events import sample
from tests.smtp_fleet.test_law import settle
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


def test_a_postfix_that_keeps_being_overwritten_is_repaired_twice_and_then_put_up_with_ever_longer():
    """From the third time on the header goes: its mail is not to wait from each overwriting to the look after it."""
    world = start(live=True)
    settle(world)
    waits = []
    for n in range(1, 7):
        assert world.balancers["mx-1"].sends(25)
        world.instances["i-0"].expects = frozenset()
        world.now += HOUR
        for action in plan(world.fleet(), SETTINGS).actions:
            world.do(action)
        while world.queue:
            world.run(0)
        while world.answers:
            world.answer(0)
        decision = plan(world.fleet(), SETTINGS)
        refused = [a for a in decision.actions if isinstance(a, Refuse)]
        taken_off = [a for a in decision.actions if isinstance(a, SetPolicies)]
        repairing = [a for a in decision.actions if isinstance(a, Send) and a.ask.verb is Verb.EXPECT]
        assert [bool(refused), bool(taken_off), bool(repairing)] == [n >= 3, n >= 3, n < 3]
        assert ("tug of war: i-0" in str(decision.findings)) == (n >= 3)
        waits += [a.until - world.now for a in refused]
        settle(world)
        assert world.attachments[25].times == 1
    assert waits == [300, 600, 1200, 2400]
    assert not any("tug of war: the policy" in finding for finding in plan(world.fleet(), SETTINGS).findings)


@pytest.mark.parametrize(
    ("how", "taken_off"),
    [
        ("", True),
        ("audit", False),
        ("paused", False),
        ("contradicted", False),
        ("asked since", False),
        ("takes no traffic", False),
    ],
)
def test_it_is_put_up_with_only_where_something_may_change_and_mail_waits_and_nobody_repairs_it(how, taken_off):
    record = serving(verb=Verb.EXPECT, ago=4 * HOUR).record
    for n in range(2):
        record = repaired(looked(record, "plain", ago=(4 - n) * HOUR))
    record = looked(record, "plain", ago=HOUR)
    if how == "asked since":
        record = asked(record, replace(EXPECT, epoch=record.ask.epoch + 1), NOW, "sweep")
    member = replace(serving(), record=record, serves=how != "takes no traffic")
    f = fleet(balancer(sends=True), tag="audit" if how == "audit" else "enabled", groups=[group()], members=[member])
    if how == "contradicted":
        disabled = wish(read({SETTINGS.tag_key: "disabled"}, SETTINGS.tag_key), {25})
        f = replace(f, balancers=(*f.balancers, balancer(name="mx-2")), wishes={**f.wishes, "mx-2": disabled})
    actions = plan(f, replace(SETTINGS, paused=how == "paused")).actions
    assert any(isinstance(a, SetPolicies | Refuse) for a in actions) == taken_off


def test_letting_go_on_request_is_nobody_s_overwriting():
    record = asked(serving(verb=Verb.EXPECT).record, Ask(Verb.EXPECT, frozenset(), NOW), NOW, "test")
    record = answered(record, Answer(NOW, Outcome.OK, plain=frozenset({25})))
    assert record.overwritten == 0


def test_a_host_s_marks_stay_known_where_an_answer_is_lost():
    record = looked(Record(Machine("i-1", "vol-1")), "proxy", owner="salt")
    ask = Ask(Verb.LOOK, frozenset({25}), NOW + 9)
    assert answered(asked(record, ask, NOW, "test"), Answer(ask.epoch, Outcome.LOST)).owner == "salt"


def test_a_policy_that_keeps_vanishing_is_fought_for_three_times_and_then_ever_more_seldom():
    """From the third time on it is refused for a while, so that nobody expects what nobody sends meanwhile."""
    world = start(live=True)
    settle(world)
    waits = []
    for n in range(1, 7):
        assert world.balancers["mx-1"].sends(25)
        assert world.attachments[25].times == n
        world.balancers["mx-1"] = replace(world.balancers["mx-1"], backend={25: ()})
        decision = plan(world.fleet(), SETTINGS)
        refused = [a for a in decision.actions if isinstance(a, Refuse)]
        assert bool(refused) == (n >= 3)
        waits += [a.until - world.now for a in refused]
        assert not any(isinstance(a, SetPolicies) for a in decision.actions)
        assert ("tug of war" in str(decision.findings)) == (n >= 3)
        settle(world)
    assert waits == [300, 600, 1200, 2400]
    assert any("tug of war: the policy" in finding for finding in plan(world.fleet(), SETTINGS).findings)
    world.now += 86_400
    assert not any("tug of war" in finding for finding in plan(world.fleet(), SETTINGS).findings)


def test_switching_it_off_and_on_is_no_tug_of_war():
    world = start(live=True)
    for _ in range(5):
        world.tags["mx-1"] = "enabled"
        settle(world)
        assert world.attachments[25].times == 1
        world.tags["mx-1"] = "disabled"
        settle(world)
        assert world.attachments == {}


@pytest.mark.parametrize(
    ("tags", "whose", "line"),
    [
        (
            {"aws:cloudformation:stack-name": "mail"},
            "CloudFormation",
            'Policies: [{PolicyName: EnableProxyProtocol, PolicyType: ProxyProtocolPolicyType, InstancePorts: ["25"], '
            'Attributes: [{Name: ProxyProtocol, Value: "true"}]}]',
        ),
        (
            {"managed-by": "Terraform"},
            "Terraform",
            'resource "aws_proxy_protocol_policy" "smtp" { load_balancer = "mx-1", instance_ports = ["25"] }',
        ),
        (
            {"kubernetes.io/cluster/prod": "owned"},
            "Kubernetes",
            'service.beta.kubernetes.io/aws-load-balancer-proxy-protocol: "*"',
        ),
    ],
)
def test_a_balancer_that_others_describe_is_served_and_its_owner_is_told_what_to_add(tags, whose, line):
    key = SETTINGS.tag_key
    f = fleet(balancer())
    decision = plan(replace(f, wishes={"mx-1": wish(read({key: "enabled", **tags}, key), {25})}), SETTINGS)
    assert decision.reason == "nobody behind it: attaching"
    assert decision.findings == (
        f"load balancer mx-1 is managed by {whose}, which may undo the policy; once it is on, add there: {line}",
    )
    assert plan(replace(f, wishes={"mx-1": wish(read(tags, key), {25})}), SETTINGS).findings == ()


def test_the_log_says_who_took_a_policy_off(stack):
    stack.balancer()
    stack.wake("mx-1")
    taken = sample("set-load-balancer-policies")
    stack.mind().wake({"m": taken}, "me")
    [calls] = [keys["calls"] for phrase, keys in stack.said if keys.get("calls")]
    who, at = taken["detail"]["userIdentity"]["arn"], taken["detail"]["eventTime"]
    assert calls == [f"SetLoadBalancerPoliciesForBackendServer by {who} at {at}"]


class Chef:
    """A fleet of one on strict AWS, in service, whose Postfix somebody else configures, too."""

    def __init__(self, stack):
        self.stack, self.speaks = stack, "plain"
        agents.executor = self.answers
        stack.balancer()
        stack.group()
        for pause in (0, SETTINGS.settle, 0):
            stack.now += pause
            self.rounds(1)
        [self.instance] = stack.scale(1)
        agents.register_agent(self.instance)
        self.rounds(4)
        assert stack.states() == {self.instance: "InService"}

    def answers(self, instance_id, content, parameters, command_id):
        verb = parameters["Verb"][0]
        if verb == "expect":
            self.speaks = "plain" if parameters["Ports"][0] == "none" else "proxy"
        verdict = {"contract": 1, "verb": verb, "epoch": int(parameters["Epoch"][0]), "class": "ok",
                   "reason": "", "ports": {"25": self.speaks}, "owner": "chef"}  # fmt: skip
        return agents.Answer("Success", "Success", 0, json.dumps(verdict) + "\n")

    def rounds(self, count):
        for _ in range(count):
            self.stack.now += 1
            self.stack.wake()
            self.stack.hand().work(self.stack.received("asks"))
            agents.drain(5)

    def overwrites(self):
        """What is said from when it undoes us until the interval's look, and what follows from that, is over."""
        before = len(self.stack.said)
        self.speaks = "plain"
        self.stack.now += HOUR
        self.rounds(4)
        return self.stack.said[before:]


def test_an_overwritten_postfix_is_found_by_the_sweep_and_repaired(stack):
    """The whole way on strict AWS: in service, overwritten by configuration management, looked at, repaired."""
    chef = Chef(stack)
    said = chef.overwrites()
    assert chef.speaks == "proxy"
    asked_for = [keys["asked"] for phrase, keys in said if phrase == "command sent"]
    assert [" look " in ask for ask in asked_for] == [True, False]
    findings = [keys["finding"] for phrase, keys in said if phrase == "finding"]
    assert findings == [
        f"live mismatch: {chef.instance} takes traffic on instance port 25 and does not expect the header"
        " (its files bear the marks of chef)"
    ]
    assert "finding is over" in [phrase for phrase, keys in said]


def test_one_that_keeps_being_overwritten_takes_the_policy_off_for_a_while(stack):
    """The third time on strict AWS: the balancer is off, the instance is left alone, and later both are on again."""
    chef = Chef(stack)
    for _ in range(2):
        chef.overwrites()
        assert (stack.policies(), chef.speaks) == ({25: [SETTINGS.policy_name]}, "proxy")
    said = chef.overwrites()
    assert (stack.policies(), chef.speaks) == ({}, "plain")
    assert "overwritten again: balancer off" in [phrase for phrase, keys in said]
    [tug] = {keys["finding"] for phrase, keys in said if phrase == "finding" and "tug of war" in keys["finding"]}
    assert f"{chef.instance} keeps being configured otherwise (its files bear the marks of chef)" in tug
    for pause in (300 + SETTINGS.settle, SETTINGS.settle):  # the refusal; then, until every launch is held again
        stack.now += pause
        chef.rounds(4)
    assert (stack.policies(), chef.speaks) == ({25: [SETTINGS.policy_name]}, "proxy")
