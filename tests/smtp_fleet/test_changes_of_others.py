"""docs/changes.md, on strict AWS: what operators and other tools do while a fleet is switched over.

The whole mind and the hand, with agents that do what they are asked; the law is looked at after each write to a
balancer and after each command, with a data plane that follows late.
"""

import json
from collections import defaultdict

import pytest

from local.strict import observe
from local.strict import ssm as agents
from smtp_fleet import autoscaling
from tests.smtp_fleet.world import LAG, SETTINGS

OURS = "EnableProxyProtocol"
LOOKING, EXPECTING, SENDING = "asking whether they could", "Postfix first", "on"
PHASES = pytest.mark.parametrize("phase", [LOOKING, EXPECTING, SENDING])


class Hosts:
    """The instances behind an account's balancers, what they expect, and the law over them."""

    def __init__(self, stack):
        self.stack, self.expects, self.outside, self.sent, self.broken = stack, defaultdict(set), set(), {}, []
        agents.executor = self.answer

    def answer(self, instance_id, content, parameters, command_id):
        """An instance that does what it is asked, and tells what it speaks."""
        ports, verb = parameters["Ports"][0].replace("none", "").split(), parameters["Verb"][0]
        if verb == "expect":
            self.expects[instance_id] = set(ports)
        speaks = {port: "proxy" if port in self.expects[instance_id] else "plain" for port in (*ports, "25")}
        verdict = {"contract": 1, "verb": verb, "epoch": int(parameters["Epoch"][0]), "class": "ok", "reason": "",
                   "ports": speaks}  # fmt: skip
        return agents.Answer("Success", "Success", 0, json.dumps(verdict) + "\n")

    def obeys(self):
        """Nobody gets a header that it does not expect, but those that the law does not cover yet."""
        self.outside = {i for i in self.outside if "25" not in self.expects[i]}
        for b in self.stack.client("elb").describe_load_balancers()["LoadBalancerDescriptions"]:
            name = b["LoadBalancerName"]
            if any(each["InstancePort"] == 25 and each["PolicyNames"] for each in b["BackendServerDescriptions"]):
                self.sent[name] = self.stack.now
            if self.sent.get(name, 0) + LAG > self.stack.now:
                wrong = {i["InstanceId"] for i in b["Instances"] if "25" not in self.expects[i["InstanceId"]]}
                assert wrong - self.outside == set(), name

    def step(self, seconds=10):
        """A sweep, what follows from it, and some time; gives what the mind said."""
        said, stack = len(self.stack.said), self.stack
        with observe(
            lambda call: self.obeys() if call.operation == "SetLoadBalancerPoliciesForBackendServer" else None
        ):
            assert stack.wake() == set()
        self.obeys()
        assert stack.hand().work(stack.received("asks")) == set()
        assert agents.drain(5)
        self.obeys()
        stack.now += seconds
        return stack.phrases()[said:]

    def reach(self, reason, most=60):
        """Go on until the mind says this: nothing waits for ever."""
        for _ in range(most):
            if reason in self.step():
                return
        raise AssertionError(f"never {reason}: {self.stack.said[-1]}")

    def steps(self, count=14):
        for _ in range(count):
            self.step()

    def findings(self):
        """All that was ever found odd."""
        return [keys["finding"] for phrase, keys in self.stack.said if phrase == "finding"]

    def all_expect(self, *instances):
        return all(self.expects[i] == {"25"} for i in instances)


@pytest.fixture
def hosts(stack):
    return Hosts(stack)


def machine(stack, agent=True):
    """An instance of no group."""
    image = stack.client("ec2").describe_images()["Images"][0]["ImageId"]
    [instance] = stack.client("ec2").run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"]
    if agent:
        agents.register_agent(instance["InstanceId"])
    return instance["InstanceId"]


def register(stack, *instances, name="mx-1"):
    ids = [{"InstanceId": i} for i in instances]
    stack.client("elb").register_instances_with_load_balancer(LoadBalancerName=name, Instances=ids)


def deregister(stack, *instances, name="mx-1"):
    ids = [{"InstanceId": i} for i in instances]
    stack.client("elb").deregister_instances_from_load_balancer(LoadBalancerName=name, Instances=ids)


def untag(stack):
    stack.client("elb").remove_tags(LoadBalancerNames=["mx-1"], Tags=[{"Key": stack.settings.tag_key}])


def hooked(stack):
    return bool(stack.client("autoscaling").describe_lifecycle_hooks(AutoScalingGroupName="mx")["LifecycleHooks"])


def live(hosts, phase, grouped=True):
    """Two instances in service behind a tagged balancer, the cutover gone as far as `phase`."""
    stack = hosts.stack
    stack.balancer()
    if grouped:
        stack.group()
        instances = stack.scale(2)
        for instance in instances:
            agents.register_agent(instance)
    else:
        instances = [machine(stack), machine(stack)]
        register(stack, *instances)
    hosts.reach(phase)
    return instances


# ---- instances


@PHASES
@pytest.mark.parametrize("grouped", [True, False])
def test_one_registered_by_hand_is_asked_at_once(hosts, phase, grouped):
    """Behind a balancer that sends it is outside the law until it expects."""
    instances = live(hosts, phase, grouped)
    one = machine(hosts.stack)
    hosts.outside |= {one} if phase == SENDING else set()
    register(hosts.stack, one)
    if phase == SENDING:
        hosts.step()
        assert hosts.outside == set()
    hosts.reach("on")
    assert hosts.all_expect(one, *instances)


def test_one_registered_by_hand_without_an_agent_is_named(hosts):
    live(hosts, SENDING)
    one = machine(hosts.stack, agent=False)
    hosts.outside.add(one)
    register(hosts.stack, one)
    hosts.steps(40)
    assert f"{one} does not answer: is its agent online?" in hosts.findings()
    deregister(hosts.stack, one)
    hosts.reach("on")
    assert "finding is over" in hosts.stack.phrases()


@PHASES
def test_one_that_the_balancer_was_never_given_expects_as_well(hosts, phase):
    """SuspendProcesses AddToLoadBalancer: in service for its group, and registered by hand at any later time."""
    stack = hosts.stack
    stack.balancer()
    stack.group()
    first, second = stack.scale(2)
    for instance in (first, second):
        agents.register_agent(instance)
    deregister(stack, second)
    hosts.reach(phase)
    if phase == SENDING:
        assert hosts.all_expect(second)
    register(stack, second)
    hosts.reach("on")
    assert hosts.all_expect(first, second)


def test_the_instances_of_a_warm_pool_are_read_where_alone_they_are_told(stack):
    """DescribeWarmPool, in pages of 50; a group without a pool costs no call."""
    client, asked = stack.client("autoscaling"), []
    stack.group()
    stack.group("pooled")
    client.put_warm_pool(AutoScalingGroupName="pooled", MinSize=51)
    groups = autoscaling.Groups(client)
    found = {group.name: group for group in groups.all()}
    assert found["pooled"].states == {}
    with observe(lambda call: asked.append(call.operation)):
        assert groups.with_pool(found["mx"]) == found["mx"]
        assert asked == []
        states = groups.with_pool(found["pooled"]).states
    assert (len(states), {*states.values()}) == (51, {"Warmed:Stopped"})
    assert asked == ["DescribeWarmPool"] * 2


# ---- another balancer


@PHASES
def test_an_untagged_balancer_that_shares_an_instance_by_hand_is_found_by_the_sweep(hosts, phase):
    """It sends no header: its own clients are deferred, and nothing bounces."""
    stack = hosts.stack
    instances = live(hosts, phase)
    stack.balancer("old", tag=None)
    register(stack, instances[0], name="old")
    hosts.steps()
    assert "load balancer old, which is not tagged, also feeds instance port 25" in hosts.findings()
    assert stack.policies("old") == {}
    assert stack.policies() == ({25: [OURS]} if phase == SENDING else {})
    assert hosts.all_expect(*instances) == (phase == SENDING)
    assert any(hosts.expects.values()) == (phase == SENDING)
    deregister(stack, instances[0], name="old")
    hosts.reach("on")
    assert hosts.all_expect(*instances)


# ---- deleted, and there again


@PHASES
def test_a_balancer_that_is_deleted_leaves_its_group_as_it_was(hosts, phase):
    stack = hosts.stack
    live(hosts, phase)
    stack.client("elb").delete_load_balancer(LoadBalancerName="mx-1")
    hosts.steps()
    assert (hooked(stack), any(hosts.expects.values())) == (False, False)


def recreate(hosts, instances, tag="enabled"):
    """Deleted, and made anew under the same name, with the same group behind it."""
    stack = hosts.stack
    stack.client("elb").delete_load_balancer(LoadBalancerName="mx-1")
    stack.balancer(tag=tag)
    register(stack, *instances)


def attach(stack):
    """Somebody else's policy of our kind."""
    elb = stack.client("elb")
    elb.create_load_balancer_policy(
        LoadBalancerName="mx-1", PolicyName="theirs", PolicyTypeName="ProxyProtocolPolicyType",
        PolicyAttributes=[{"AttributeName": "ProxyProtocol", "AttributeValue": "true"}],
    )  # fmt: skip
    elb.set_load_balancer_policies_for_backend_server(LoadBalancerName="mx-1", InstancePort=25, PolicyNames=["theirs"])


@PHASES
def test_one_made_anew_under_its_name_is_switched_on_on_fresh_answers(hosts, phase):
    instances = live(hosts, phase)
    hosts.stack.now += LAG
    recreate(hosts, instances)
    since, said = hosts.stack.now, len(hosts.stack.said)
    hosts.step()
    if phase == SENDING:  # what the old one proved is worth nothing: known off from now on, and looked at again
        assert (hosts.stack.policies(), hosts.stack.ledger.off_since([("mx-1", 25)])) == ({}, {("mx-1", 25): since})
    hosts.reach("on")
    assert phase != SENDING or LOOKING in hosts.stack.phrases()[said:]
    assert hosts.all_expect(*instances)
    assert hosts.stack.policies() == {25: [OURS]}


def test_one_made_anew_that_sends_does_not_count_as_off_by_the_row_of_the_old(hosts):
    instances = live(hosts, EXPECTING)
    assert hosts.stack.ledger.off_since([("mx-1", 25)]) != {}
    hosts.outside |= set(instances)
    recreate(hosts, instances)
    attach(hosts.stack)
    hosts.step()
    assert hosts.stack.ledger.off_since([("mx-1", 25)]) == {}
    hosts.reach("on")
    assert hosts.all_expect(*instances)
    assert (hosts.stack.policies(), hosts.outside) == ({25: ["theirs"]}, set())


def test_one_made_anew_without_the_tag_is_none_of_ours_and_its_group_is_let_go_of(hosts):
    instances = live(hosts, SENDING)
    hosts.stack.now += LAG
    recreate(hosts, instances, tag=None)
    hosts.steps()
    assert hosts.stack.policies() == {}
    assert (hooked(hosts.stack), any(hosts.expects.values())) == (False, False)


# ---- the tag


@pytest.mark.parametrize("phase", [LOOKING, EXPECTING])
def test_a_tag_that_vanishes_before_it_sends_has_the_group_let_go_of(hosts, phase):
    live(hosts, phase)
    untag(hosts.stack)
    hosts.steps()
    assert (hooked(hosts.stack), any(hosts.expects.values()), hosts.stack.policies()) == (False, False, {})
    hosts.stack.tag("enabled")
    hosts.reach("on")


def rows(stack):
    """The kinds of row that are in the ledger and say anything."""
    items = stack.client("dynamodb").scan(TableName="ledger")["Items"]
    return {item["id"]["S"].partition("/")[0] for item in items if item.keys() - {"id"}}


@pytest.mark.parametrize("phase", [LOOKING, EXPECTING])
def test_a_tag_that_vanishes_before_it_sends_has_those_registered_by_hand_let_go_of(hosts, phase):
    """No hook tells of them: the ledger does."""
    live(hosts, phase, grouped=False)
    untag(hosts.stack)
    if phase == EXPECTING:
        assert hosts.stack.wake("mx-1") == set()
        assert hosts.stack.phrases()[-1] == "waiting for the balancer to settle"
    hosts.steps()
    assert (any(hosts.expects.values()), hosts.stack.policies()) == (False, {})
    assert "machine" not in rows(hosts.stack) or phase == LOOKING
    hosts.stack.tag("enabled")
    hosts.reach("on")


@pytest.mark.parametrize("grouped", [True, False], ids=["in a group", "registered by hand"])
def test_who_takes_off_the_tag_and_the_policy_by_hand_has_all_instances_let_go_of(hosts, grouped):
    live(hosts, SENDING, grouped)
    untag(hosts.stack)
    hosts.stack.client("elb").set_load_balancer_policies_for_backend_server(
        LoadBalancerName="mx-1", InstancePort=25, PolicyNames=[]
    )
    hosts.steps()
    assert (any(hosts.expects.values()), hosts.stack.policies()) == (False, {})
    assert rows(hosts.stack) == set()
    [balancer] = hosts.stack.client("elb").describe_load_balancers()["LoadBalancerDescriptions"]
    assert balancer["Policies"]["OtherPolicies"] == [OURS]  # without the tag nothing is touched there


def test_one_that_waits_for_its_agent_is_not_lost_sight_of(hosts):
    stack = hosts.stack
    instance, *_ = live(hosts, SENDING, grouped=False)
    untag(stack)
    stack.client("elb").set_load_balancer_policies_for_backend_server(
        LoadBalancerName="mx-1", InstancePort=25, PolicyNames=[]
    )
    agents.register_agent(instance, "ConnectionLost")
    hosts.steps()
    assert (hosts.expects[instance], stack.ledger.index().balancers) == ({"25"}, {"mx-1"})
    agents.register_agent(instance)
    hosts.steps(60)
    assert (hosts.expects[instance], stack.ledger.index().balancers) == (set(), frozenset())


def test_a_balancer_that_is_gone_is_struck_out_by_the_sweep(hosts):
    live(hosts, EXPECTING, grouped=False)
    assert hosts.stack.ledger.index().balancers == {"mx-1"}
    hosts.stack.client("elb").delete_load_balancer(LoadBalancerName="mx-1")
    assert "a load balancer is gone: nothing of it is kept" in hosts.step()
    assert hosts.stack.ledger.index().balancers == frozenset()


@PHASES
def test_disabled_instead_of_enabled_leaves_nothing_of_ours(hosts, phase):
    instances = live(hosts, phase)
    hosts.stack.tag("disabled")
    hosts.reach("off")
    assert (hooked(hosts.stack), any(hosts.expects.values()), hosts.stack.policies()) == (False, False, {})
    assert rows(hosts.stack) == set()
    hosts.stack.tag("enabled")
    hosts.reach("on")
    assert hosts.all_expect(*instances)


def test_paused_in_the_middle_has_it_undone(hosts):
    instances = live(hosts, EXPECTING)
    assert hosts.all_expect(*instances)
    hosts.stack.settings = type(SETTINGS)(**{**vars(hosts.stack.settings), "paused": True})
    hosts.steps()
    assert (hosts.stack.policies(), any(hosts.expects.values())) == ({}, False)
    assert "paused: balancer second: undoing a half-done cutover" in hosts.stack.phrases()
