"""What the mind reads, writes and says, on strict moto: the fewest calls, in the safe order, idempotently."""

import json
from dataclasses import replace

import pytest

from local.strict import ssm as agents
from smtp_fleet.elb import LoadBalancers
from smtp_fleet.evidence import ASK_WAIT, Machine
from smtp_fleet.fleet import Breaker, Index
from smtp_fleet.ledger import Ledger
from smtp_fleet.sqs import Queue
from tests.smtp_fleet.world import SETTINGS

CREATE, SET = "elb:CreateLoadBalancerPolicy", "elb:SetLoadBalancerPoliciesForBackendServer"
DESCRIBE, TAGS = "elb:DescribeLoadBalancers", "elb:DescribeTags"
GET, PUT, DELETE = "dynamodb:BatchGetItem", "dynamodb:PutItem", "dynamodb:DeleteItem"


def elb_calls(calls):
    return [call for call in calls if call.startswith("elb:")]


def test_a_new_tagged_balancer_sends_after_five_calls(stack, calls):
    stack.balancer()
    calls.clear()
    assert stack.wake("mx-1") == set()
    assert elb_calls(calls) == [TAGS, DESCRIBE, CREATE, SET, DESCRIBE]
    assert stack.policies() == {25: ["EnableProxyProtocol"]}
    assert stack.phrases() == ["nobody behind it: attaching"]


def test_policies_of_others_stay(stack):
    stack.balancer()
    elb = stack.client("elb")
    elb.create_load_balancer_policy(
        LoadBalancerName="mx-1", PolicyName="theirs", PolicyTypeName="PublicKeyPolicyType",
        PolicyAttributes=[{"AttributeName": "PublicKey", "AttributeValue": "x"}],
    )  # fmt: skip
    elb.set_load_balancer_policies_for_backend_server(LoadBalancerName="mx-1", InstancePort=25, PolicyNames=["theirs"])
    stack.wake("mx-1")
    assert stack.policies() == {25: ["theirs", "EnableProxyProtocol"]}


def test_already_right_costs_three_reads_and_nothing_is_written(stack, calls):
    stack.balancer()
    stack.wake("mx-1")
    calls.clear()
    stack.wake("mx-1")
    assert elb_calls(calls) == [TAGS, DESCRIBE, "elb:DescribeLoadBalancerPolicies"]
    assert stack.phrases()[-1] == "on"
    assert [call for call in calls if call in (PUT, DELETE)] == [PUT, DELETE]  # the lease, taken and given back


def test_an_untagged_balancer_costs_two_reads_and_no_lease(stack, calls):
    stack.balancer("web", tag=None)
    calls.clear()
    stack.wake("web")
    assert calls == [TAGS, DESCRIBE, GET]
    assert stack.said == [("not in the fleet", {"load_balancer": "web"})]


def findings(stack, phrase="finding"):
    return [keys["finding"] for said, keys in stack.said if said == phrase]


def test_a_balancer_that_is_gone_is_said_to_be(stack):
    assert stack.wake("mx-1") == set()
    assert stack.phrases() == ["load balancer is not there"]
    assert stack.delayed("wakes") == 0


def test_a_new_balancer_that_is_not_yet_visible_is_looked_for_again_three_times(stack):
    body = {"source": "smtp-fleet", "detail": {"balancers": ["mx-1"], "cause": "CreateLoadBalancer"}}
    for tries, delayed in ((0, 1), (1, 2), (2, 3), (3, 3)):
        body["detail"]["tries"] = tries
        assert stack.mind().wake({"m": body}, "me") == set()
        assert stack.delayed("wakes") == delayed


@pytest.mark.parametrize(("tries", "seconds"), [(0, 5), (1, 20), (2, 60)])
def test_it_is_looked_for_after_5_20_and_60_seconds(stack, monkeypatch, tries, seconds):
    delays = []
    monkeypatch.setattr(Queue, "send", lambda queue, messages, delay=0: delays.append(delay))
    detail = {"balancers": ["mx-1"], "cause": "CreateLoadBalancer", "tries": tries}
    stack.mind().wake({"m": {"source": "smtp-fleet", "detail": detail}}, "me")
    assert delays == [seconds]


def test_a_finding_is_said_once_per_change(stack):
    stack.balancer(tag="on please")
    for _ in range(3):
        stack.wake("mx-1")
    [told] = findings(stack)
    assert "'on please' means nothing" in told
    stack.tag("enabled")
    for _ in range(3):
        stack.wake("mx-1")
    assert findings(stack, "finding is over") == [told]
    assert len(findings(stack)) == 1


def test_what_was_done_is_counted(stack):
    [instance] = fleet_with_launch(stack)
    agents.register_agent(instance)
    for _ in range(2):
        stack.wake("mx-1")
        stack.now += 90
        stack.hand().work(stack.received("asks"))
        assert agents.drain(5)
    names = [name for name, _, _ in stack.counted]
    assert names == ["Attached", "Configured", "Admitted", "LaunchToAdmission"]
    _, seconds, unit = stack.counted[-1]
    launched = stack.client("ec2").describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    assert (seconds, unit) == (stack.now - int(launched["LaunchTime"].timestamp()), "Seconds")


def judged(kind):
    """An instance whose verdict is of this class; none: the document ended without one."""

    def executor(instance_id, content, parameters, command_id):
        verdict = {"contract": 1, "verb": "expect", "epoch": int(parameters["Epoch"][0]), "class": kind,
                   "reason": "two listeners", "detail": "on 192.0.2.1", "ports": {"25": "plain"}}  # fmt: skip
        return agents.Answer("Failed", "Failed", 12, json.dumps(verdict) if kind else "Segmentation fault")

    return executor


@pytest.mark.parametrize(
    ("kind", "metric"), [("refused", "Refused"), ("not-ready", "NotReady"), ("broken", "Failed"), ("", "Failed")]
)
def test_an_answer_is_counted_and_logged_with_its_reason(stack, kind, metric):
    [instance] = fleet_with_launch(stack)
    agents.register_agent(instance)
    agents.executor = judged(kind)
    stack.wake("mx-1")
    stack.hand().work(stack.received("asks"))
    assert agents.drain(5)
    stack.counted.clear()
    stack.wake("mx-1")
    assert [name for name, _, _ in stack.counted] == [metric]
    [keys] = [keys for phrase, keys in stack.said if phrase == "an instance answered"]
    assert (keys["instance_id"], keys["load_balancers"], keys["outcome"]) == (instance, ["mx-1"], kind or "bug")
    told = ("two listeners", "on 192.0.2.1") if kind else ("no verdict: Failed", "")
    assert (keys["answer"], keys["detail"]) == told


def test_a_balancer_taken_off_is_counted_as_such(stack):
    stack.balancer()
    stack.wake("mx-1")
    stack.tag("disabled")
    stack.wake("mx-1")
    assert [name for name, _, _ in stack.counted] == ["Attached", "Detached"]


def test_a_refused_cutover_is_counted(stack):
    stack.balancer()
    image = stack.client("ec2").describe_images()["Images"][0]["ImageId"]
    [instance] = stack.client("ec2").run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"]
    told = [{"InstanceId": instance["InstanceId"]}]
    stack.client("elb").register_instances_with_load_balancer(LoadBalancerName="mx-1", Instances=told)
    agents.register_agent(instance["InstanceId"])
    agents.executor = lambda instance_id, content, parameters, command_id: agents.Answer(
        "Failed", "Failed", 12, json.dumps({"contract": 1, "verb": parameters["Verb"][0],
        "epoch": int(parameters["Epoch"][0]), "class": "refused", "reason": "two listeners", "ports": {"25": "plain"}})
    )  # fmt: skip
    for _ in range(3):
        stack.now += SETTINGS.settle
        stack.wake("mx-1")
        stack.hand().work(stack.received("asks"))
        assert agents.drain(5)
    assert stack.phrases()[-1] == "cutover refused"
    assert [name for name, _, _ in stack.counted] == ["Refused", "CutoverRefused"]


@pytest.mark.parametrize("tag", ["enabled", "audit", "what?", "disabled"])
def test_what_is_looked_at_has_one_line_with_the_same_keys_also_when_nothing_is_done(stack, tag):
    stack.balancer(tag=tag)
    for _ in range(2):
        stack.said.clear()
        stack.wake("mx-1")
        [keys] = [keys for phrase, keys in stack.said if phrase != "finding"]
        assert keys.keys() == {
            "load_balancers", "auto_scaling_groups", "calls", "instances", "actions", "findings", "cause",
        }  # fmt: skip
        assert (keys["load_balancers"], keys["cause"]) == (["mx-1"], "test")


def test_whatever_else_a_wake_points_at_one_that_is_gone_is_said_to_be(stack):
    stack.balancer()
    stack.wake("mx-1", "mx-gone")
    assert ("load balancer is not there", {"load_balancer": "mx-gone"}) in stack.said
    assert stack.policies() == {25: ["EnableProxyProtocol"]}


def test_a_group_behind_no_classic_balancer_has_its_line_too(stack):
    stack.group("web", [])
    launched = {"source": "aws.autoscaling", "detail": {"AutoScalingGroupName": "web", "EC2InstanceId": "i-1"}}
    assert stack.mind().wake({"m": launched}, "me") == set()
    assert stack.said == [("not in the fleet", {"auto_scaling_group": "web"})]


def test_a_group_behind_no_balancer_has_its_line_beside_a_tagged_balancer(stack):
    stack.balancer()
    stack.group("web", [])
    launched = {"source": "aws.autoscaling", "detail": {"AutoScalingGroupName": "web", "EC2InstanceId": "i-1"}}
    tagged = {"source": "smtp-fleet", "detail": {"balancers": ["mx-1"], "cause": "test"}}
    assert stack.mind().wake({"group": launched, "balancer": tagged}, "me") == set()
    assert ("not in the fleet", {"auto_scaling_group": "web"}) in stack.said
    assert stack.policies() == {25: ["EnableProxyProtocol"]}


def test_a_balancer_that_goes_between_the_two_reads_of_a_sweep_is_said_to_be_gone(stack, monkeypatch):
    stack.balancer()
    stack.balancer("mx-2")
    tagged = LoadBalancers.tagged

    def and_goes(gateway, key):
        found = tagged(gateway, key)
        stack.client("elb").delete_load_balancer(LoadBalancerName="mx-2")
        return found

    monkeypatch.setattr(LoadBalancers, "tagged", and_goes)
    assert stack.wake() == set()
    assert ("load balancer is not there", {"load_balancer": "mx-2"}) in stack.said


def answered(instance):
    detail = {"command-id": "c", "instance-id": instance}
    return {"source": "aws.ssm", "detail-type": "EC2 Command Invocation Status-change Notification", "detail": detail}


@pytest.mark.parametrize("grouped", [False, True], ids=["in no group", "in a group without a balancer"])
def test_the_answer_of_one_that_was_registered_by_hand_wakes_the_balancer(stack, calls, grouped):
    """Until it does so, its fleet waits for the end of the budget, and all that time mail is deferred."""
    stack.balancer(tag=None)
    stack.balancer("web", tag=None)
    if grouped:
        stack.group("apart", [])
        [instance] = stack.scale(1, "apart")
    else:
        image = stack.client("ec2").describe_images()["Images"][0]["ImageId"]
        [run] = stack.client("ec2").run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"]
        instance = run["InstanceId"]
    stack.client("elb").register_instances_with_load_balancer(
        LoadBalancerName="mx-1", Instances=[{"InstanceId": instance}]
    )
    stack.tag("enabled")
    calls.clear()
    assert stack.mind().wake({"m": answered(instance)}, "me") == set()
    assert [keys["load_balancers"] for _, keys in stack.said if "load_balancers" in keys] == [["mx-1"]]
    assert calls.count("elb:DescribeLoadBalancers") <= 3


def test_the_answer_of_one_that_is_behind_nothing_has_its_line(stack):
    assert stack.mind().wake({"m": answered("i-0123456789abcdef0")}, "me") == set()
    assert stack.said == [("not in the fleet", {"instance_id": "i-0123456789abcdef0"})]


def test_the_sweep_looks_for_who_shares_an_instance_in_the_one_reading_of_all(stack, calls):
    """A tagged balancer that is silent and has an instance, which an untagged one feeds, too."""
    image = stack.client("ec2").describe_images()["Images"][0]["ImageId"]
    [instance] = stack.client("ec2").run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"]
    for name, tag in (("mx-1", "enabled"), ("old", None)):
        stack.balancer(name, tag)
        stack.client("elb").register_instances_with_load_balancer(
            LoadBalancerName=name, Instances=[{"InstanceId": instance["InstanceId"]}]
        )
    calls.clear()
    stack.wake()
    assert findings(stack) == ["load balancer old, which is not tagged, also feeds instance port 25"]
    assert calls.count(DESCRIBE) == 1


def test_the_sweep_alone_does_the_same(stack, calls):
    stack.balancer()
    stack.balancer("web", tag=None)
    calls.clear()
    stack.wake()
    assert stack.policies() == {25: ["EnableProxyProtocol"]}
    assert stack.policies("web") == {}
    assert calls[0] == "resourcegroupstaggingapi:GetResources"


def test_what_the_sweep_assumes_by_name_it_reads_before_it_acts(stack, calls):
    stack.balancer()
    stack.client("elb").create_load_balancer_policy(
        LoadBalancerName="mx-1",
        PolicyName="EnableProxyProtocol",
        PolicyTypeName="PublicKeyPolicyType",
        PolicyAttributes=[{"AttributeName": "PublicKey", "AttributeValue": "x"}],
    )
    stack.client("elb").set_load_balancer_policies_for_backend_server(
        LoadBalancerName="mx-1", InstancePort=25, PolicyNames=["EnableProxyProtocol"]
    )
    stack.group()
    stack.wake()
    assert findings(stack) == ["policy EnableProxyProtocol of mx-1 exists and is no ProxyProtocol policy"]
    assert "autoscaling:PutLifecycleHook" not in calls


def test_the_sweep_finds_a_tag_that_vanished_while_sending(stack):
    stack.balancer()
    stack.wake("mx-1")
    stack.client("elb").remove_tags(LoadBalancerNames=["mx-1"], Tags=[{"Key": stack.settings.tag_key}])
    stack.wake()
    assert findings(stack) == ["load balancer mx-1: tag vanished while sending"]
    assert stack.policies() == {25: ["EnableProxyProtocol"]}


def test_a_proxy_policy_of_somebody_else_on_an_untagged_balancer_is_none_of_our_business(stack, calls):
    stack.balancer("k8s", tag=None)
    elb = stack.client("elb")
    elb.create_load_balancer_policy(
        LoadBalancerName="k8s",
        PolicyName="k8s-proxyprotocol-enabled",
        PolicyTypeName="ProxyProtocolPolicyType",
        PolicyAttributes=[{"AttributeName": "ProxyProtocol", "AttributeValue": "true"}],
    )
    elb.set_load_balancer_policies_for_backend_server(
        LoadBalancerName="k8s", InstancePort=25, PolicyNames=["k8s-proxyprotocol-enabled"]
    )
    stack.group("k8s", ["k8s"])
    calls.clear()
    stack.wake("k8s")
    stack.wake()
    assert stack.phrases() == ["not in the fleet"] * 2
    assert [call for call in calls if "Put" in call and "autoscaling" in call] == []


def test_an_untagged_balancer_that_shares_an_instance_without_a_group_is_a_refusal(stack):
    image = stack.client("ec2").describe_images()["Images"][0]["ImageId"]
    [instance] = stack.client("ec2").run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"]
    for name, tag in (("mx-1", "enabled"), ("old", None), ("far", None)):
        stack.balancer(name, tag)
        if name != "far":
            stack.client("elb").register_instances_with_load_balancer(
                LoadBalancerName=name, Instances=[{"InstanceId": instance["InstanceId"]}]
            )
    stack.wake("mx-1")
    assert stack.phrases()[-1] == "refused"
    assert findings(stack) == ["load balancer old, which is not tagged, also feeds instance port 25"]


def test_audit_says_and_changes_nothing(stack):
    stack.balancer(tag="audit")
    stack.wake("mx-1")
    assert stack.phrases() == ["audit: nobody behind it: attaching"]
    assert stack.policies() == {}


def test_the_ledger_forgets_that_it_was_off_before_the_policy_is_set(stack, calls):
    stack.balancer()
    stack.ledger.record_off("mx-1", 25, stack.now)
    calls.clear()
    stack.wake("mx-1")
    assert calls.index(DELETE) < calls.index(CREATE) < calls.index(SET)
    assert stack.ledger.off_since([("mx-1", 25)]) == {}


def test_a_crash_before_the_policy_is_set_leaves_it_not_settled(stack, monkeypatch):
    stack.balancer()
    stack.ledger.record_off("mx-1", 25, 1)
    elb = stack.client("elb")
    monkeypatch.setattr(elb, "set_load_balancer_policies_for_backend_server", broken)
    assert stack.wake("mx-1") == {"m"}
    assert stack.ledger.off_since([("mx-1", 25)]) == {}


def broken(**_):
    raise TimeoutError("the call timed out")


def test_a_busy_lease_sends_the_wake_again_later(stack):
    stack.balancer()
    stack.ledger.take_lease("somebody else", stack.now, 180)
    assert stack.wake("mx-1") == set()
    assert stack.phrases() == ["lease is busy: looking again later"]
    assert stack.policies() == {}
    assert stack.delayed("wakes") == 1


def test_a_lease_that_its_holder_never_gave_back_runs_out(stack):
    stack.balancer()
    stack.ledger.take_lease("somebody who was killed", stack.now - 181, 180)
    stack.wake("mx-1")
    assert stack.policies() == {25: ["EnableProxyProtocol"]}


def test_one_broken_fleet_does_not_hold_up_another(stack, monkeypatch):
    stack.balancer("mx-1")
    stack.balancer("mx-2")
    elb = stack.client("elb")
    real = elb.create_load_balancer_policy
    monkeypatch.setattr(
        elb, "create_load_balancer_policy", lambda **k: broken() if k["LoadBalancerName"] == "mx-1" else real(**k)
    )
    wakes = {
        name: {"source": "smtp-fleet", "detail": {"balancers": [name], "cause": "test"}} for name in ("mx-1", "mx-2")
    }
    assert stack.mind().wake(wakes, "me") == {"mx-1"}
    assert stack.policies("mx-2") == {25: ["EnableProxyProtocol"]}
    [keys] = [keys for phrase, keys in stack.said if phrase.startswith("broken")]
    assert keys["load_balancers"] == ["mx-1"]
    assert stack.ledger.take_lease("somebody else", stack.now, 180)


def test_an_event_that_is_not_understood_goes_back_and_the_others_are_handled(stack):
    stack.balancer()
    good = {"source": "smtp-fleet", "detail": {"balancers": ["mx-1"], "cause": "test"}}
    assert stack.mind().wake({"bad": "no event", "good": good}, "me") == {"bad"}
    assert stack.policies() == {25: ["EnableProxyProtocol"]}


def fleet_with_launch(stack, count=1):
    stack.balancer()
    stack.wake("mx-1")
    stack.group()
    stack.wake("mx-1")
    return stack.scale(count)


def test_our_hook_is_put_on_a_group_behind_a_sending_balancer(stack):
    stack.balancer()
    stack.wake("mx-1")
    stack.group()
    stack.wake("mx-1")
    [hook] = stack.client("autoscaling").describe_lifecycle_hooks(AutoScalingGroupName="mx")["LifecycleHooks"]
    assert (hook["LifecycleHookName"], hook["DefaultResult"], hook["HeartbeatTimeout"]) == (
        "smtp-fleet",
        "ABANDON",
        900,
    )
    assert stack.ledger.groups(["mx"])[0] == {"mx": stack.now}


def test_an_ask_is_in_the_ledger_before_it_is_sent(stack, calls):
    [instance] = fleet_with_launch(stack)
    calls.clear()
    stack.wake("mx-1")
    assert calls.index(PUT, calls.index(PUT) + 1) < calls.index("sqs:SendMessage")  # the first put is the lease
    [ask] = stack.received("asks").values()
    [machine] = ask["machines"]
    [record] = stack.ledger.records([Machine(instance, machine["volume"])]).values()
    assert (ask["kind"], machine["instance"], machine["asked_at"]) == ("ask", instance, record.asked_at)
    assert record.ask is not None
    assert (record.ask.verb.value, record.ask.ports, record.ask.epoch) == ("expect", {25}, stack.now)


def test_an_ask_that_is_out_is_not_sent_again(stack):
    fleet_with_launch(stack)
    stack.wake("mx-1")
    assert len(stack.received("asks")) == 1
    stack.wake("mx-1")
    assert stack.received("asks") == {}


def test_a_row_that_the_hand_wrote_meanwhile_is_no_fault(stack, monkeypatch):
    fleet_with_launch(stack)
    stack.wake("mx-1")
    [message] = stack.received("asks").values()
    [told] = message["machines"]
    machine = Machine(told["instance"], told["volume"])
    stack.now += ASK_WAIT
    real = Ledger.write

    def the_hand_is_faster(ledger, old, new):
        real(ledger, old, replace(old, command_id="sent meanwhile", sent_at=stack.now))
        real(ledger, old, new)

    monkeypatch.setattr(Ledger, "write", the_hand_is_faster)
    assert stack.wake("mx-1") == set()
    assert stack.phrases()[-1] == "the ledger changed meanwhile: looking again"
    assert stack.delayed("wakes") == 2  # one looks whether the first ask was in vain
    [record] = stack.ledger.records([machine]).values()
    assert record.command_id == "sent meanwhile"


def test_an_admission_is_in_the_ledger_before_it_is_sent(stack, calls):
    [instance] = fleet_with_launch(stack)
    stack.wake("mx-1")
    agents.register_agent(instance)
    stack.hand().work(stack.received("asks"))
    assert agents.drain(5)
    calls.clear()
    stack.wake("mx-1")
    [admission] = stack.received("asks").values()
    [machine] = admission["machines"]
    assert (admission["kind"], machine["instance"], machine["group"]) == ("admit", instance, "mx")
    [record] = stack.ledger.records([Machine(instance, machine["volume"])]).values()
    assert (record.admitted, record.proxy) == (True, {25})
    assert calls.count(PUT) == 3  # the lease, the answer, the admission
    assert max(i for i, call in enumerate(calls) if call == PUT) < calls.index("sqs:SendMessage")


def test_from_launch_to_service_with_one_command_for_all(stack, calls):
    instances = fleet_with_launch(stack, 3)
    for instance in instances:
        agents.register_agent(instance)
    for _ in range(2):
        stack.wake("mx-1")
        assert stack.hand().work(stack.received("asks")) == set()
        assert agents.drain(5)
    assert set(stack.states().values()) == {"InService"}
    assert calls.count("ssm:SendCommand") == 1
    calls.clear()
    stack.wake("mx-1")
    assert stack.phrases()[-1] == "on"
    assert [call for call in calls if call in (CREATE, SET, "sqs:SendMessage", "autoscaling:PutLifecycleHook")] == []


def test_an_instance_that_refuses_is_given_up_and_says_why(stack):
    [instance] = fleet_with_launch(stack)
    agents.register_agent(instance)
    agents.executor = refuses
    stack.wake("mx-1")
    stack.hand().work(stack.received("asks"))
    assert agents.drain(5)
    stack.wake("mx-1")
    assert findings(stack) == [f"{instance} cannot expect the header: two listeners"]
    assert stack.states() == {instance: "Pending:Wait"}
    stack.hand().work(stack.received("asks"))
    assert stack.phrases()[-1] == "rejected"
    assert instance not in stack.states()
    [invocation] = stack.client("ssm").list_command_invocations(Details=True)["CommandInvocations"]
    assert "two listeners" in invocation["CommandPlugins"][0]["Output"]


def refuses(instance_id, content, parameters, command_id):
    verdict = {"contract": 1, "verb": "expect", "epoch": int(parameters["Epoch"][0]), "class": "refused",
               "reason": "two listeners", "ports": {"25": "plain"}}  # fmt: skip
    return agents.Answer("Failed", "Failed", 12, json.dumps(verdict))


@pytest.mark.parametrize("tag", ["audit", "what?", "disabled"])
def test_a_sending_balancer_protects_its_launches_whatever_the_tag_says_but_disabled(stack, tag):
    fleet_with_launch(stack)
    stack.tag(tag)
    stack.wake("mx-1")
    assert len(stack.received("asks")) == (0 if tag == "disabled" else 1)
    assert stack.policies() == ({} if tag == "disabled" else {25: ["EnableProxyProtocol"]})


def serve(stack, rounds=6):
    """Let time pass and everything be delivered."""
    for _ in range(rounds):
        stack.now += SETTINGS.settle
        stack.wake()
        assert stack.hand().work(stack.received("asks")) == set()
        assert agents.drain(5)


@pytest.mark.parametrize("how", ["deleted", "detached", "untagged before it sent"])
def test_a_group_whose_balancer_is_gone_does_not_wait_for_ever(stack, how):
    """Its launches would be abandoned one after the other: our hook is still on it."""
    stack.balancer()
    if how != "untagged before it sent":
        stack.wake("mx-1")
    stack.group()
    stack.wake("mx-1")
    for instance in stack.scale(1):
        agents.register_agent(instance)
    if how == "untagged before it sent":
        stack.client("elb").remove_tags(LoadBalancerNames=["mx-1"], Tags=[{"Key": stack.settings.tag_key}])
    serve(stack)
    if how == "deleted":
        stack.client("elb").delete_load_balancer(LoadBalancerName="mx-1")
    if how == "detached":
        stack.client("autoscaling").detach_load_balancers(AutoScalingGroupName="mx", LoadBalancerNames=["mx-1"])
    instances = stack.scale(2)
    for instance in instances:
        agents.register_agent(instance)
    serve(stack)
    assert stack.states() == dict.fromkeys(instances, "InService")
    assert stack.client("autoscaling").describe_lifecycle_hooks(AutoScalingGroupName="mx")["LifecycleHooks"] == []
    rows = {row["id"]["S"].split("/")[0] for row in stack.client("dynamodb").scan(TableName="ledger")["Items"]}
    assert rows <= {"hooks", "balancers", "off", "attached", "around"}  # of balancers that are gone; three expire
    assert stack.ledger.index().groups == frozenset()


def test_switched_off_nothing_of_ours_is_left(stack):
    instances = fleet_with_launch(stack)
    for instance in instances:
        agents.register_agent(instance)
    stack.tag("disabled")
    stack.now += 1000
    stack.wake("mx-1")
    assert stack.states() == dict.fromkeys(instances, "Pending:Wait")
    for _ in range(4):
        stack.now += SETTINGS.settle
        stack.wake("mx-1")
        assert stack.hand().work(stack.received("asks")) == set()
        assert agents.drain(5)
    assert stack.states() == dict.fromkeys(instances, "InService")
    assert stack.policies() == {}
    assert stack.client("autoscaling").describe_lifecycle_hooks(AutoScalingGroupName="mx")["LifecycleHooks"] == []
    [described] = stack.client("elb").describe_load_balancers(LoadBalancerNames=["mx-1"])["LoadBalancerDescriptions"]
    assert described["Policies"]["OtherPolicies"] == []
    rows = [row["id"]["S"] for row in stack.client("dynamodb").scan(TableName="ledger")["Items"]]
    assert sorted(rows) == ["balancers", "hooks"]
    assert stack.ledger.index() == Index()


def test_switched_off_it_counts_the_settle_time_from_the_read_back(stack):
    stack.balancer()
    stack.wake("mx-1")
    stack.client("elb").add_tags(
        LoadBalancerNames=["mx-1"], Tags=[{"Key": stack.settings.tag_key, "Value": "disabled"}]
    )
    stack.now += 1000
    stack.wake("mx-1")
    assert stack.policies() == {}
    assert stack.ledger.off_since([("mx-1", 25)]) == {("mx-1", 25): stack.now}
    assert stack.delayed("wakes") == 1


def test_out_of_time_it_goes_on_in_another_round(stack):
    """The lease outlives a function that dies: one that stops in time leaves its work to the next at once."""
    for name in ("mx-1", "mx-2"):
        stack.balancer(name)
    stack.left = 14
    assert stack.wake("mx-1", "mx-2") == set()
    assert (stack.policies("mx-1"), stack.policies("mx-2")) == ({}, {})
    assert stack.said[-1] == ("out of time: going on in another round", {"load_balancers": ["mx-1", "mx-2"]})
    assert stack.delayed("wakes") == 1
    stack.left = 100
    stack.wake("mx-1", "mx-2")
    assert stack.policies("mx-1") == stack.policies("mx-2") == {25: ["EnableProxyProtocol"]}


def test_a_sweep_goes_on_where_it_stopped(stack, monkeypatch):
    stack.balancer("a-right")
    stack.wake("a-right")
    for name in ("mx-1", "mx-2", "mx-3"):
        stack.balancer(name)
    mind, sent = stack.mind(), []
    monkeypatch.setattr(Queue, "send", lambda queue, messages, delay=0: sent.extend(messages))
    real = LoadBalancers.apply

    def the_first_takes_long(gateway, balancer, actions):
        stack.left = 0
        real(gateway, balancer, actions)

    monkeypatch.setattr(LoadBalancers, "apply", the_first_takes_long)
    assert mind.wake({"m": {"detail-type": "Scheduled Event"}}, "me") == set()
    [again] = [body for body in sent if body["detail-type"] == "Scheduled Event"]
    assert again["detail"]["begin"] == "mx-1"  # its policy is set, but not everything that follows from it
    stack.left = 100
    monkeypatch.setattr(LoadBalancers, "apply", real)
    stack.said.clear()
    assert stack.mind().wake({"m": again}, "me") == set()
    assert [keys["load_balancers"] for _, keys in stack.said if "actions" in keys] == [["mx-1"], ["mx-2"], ["mx-3"]]
    assert all(stack.policies(name) for name in ("mx-1", "mx-2", "mx-3"))


def test_whoever_tags_closes_the_breaker(stack):
    fleet_with_launch(stack)
    stack.ledger.record_breaker("mx", Breaker(("i-1", "i-2", "i-3"), stack.now, "", ""))
    added = {"eventName": "AddTags", "requestParameters": {"loadBalancerNames": ["mx-1"]}}
    stack.mind().wake({"m": {"source": "aws.elasticloadbalancing", "detail": added}}, "me")
    assert stack.ledger.groups(["mx"])[1] == {}


def test_launches_that_fail_are_given_up_until_the_breaker_opens_and_then_mail_comes_in_without_the_header(stack):
    """A configuration that no launch can meet costs three instances and then the header, not the fleet."""
    agents.executor = refuses
    fleet_with_launch(stack)
    for _ in range(12):
        for instance in stack.scale(1):
            agents.register_agent(instance)
        stack.now += SETTINGS.settle
        stack.wake()
        assert stack.hand().work(stack.received("asks")) == set()
        assert agents.drain(5)
    assert stack.policies() == {}
    assert stack.phrases().count("rejected") == 3
    assert "nobody expects and launches fail: balancer off" in stack.phrases()
    assert set(stack.states().values()) == {"InService"}


def test_of_a_group_that_is_gone_nothing_is_kept(stack, calls):
    """Its hook went with it; a name that stayed in the index would cost each untagged wake a read."""
    stack.balancer()
    stack.group()
    stack.wake("mx-1")
    stack.ledger.record_breaker("mx", Breaker(("i-1",), stack.now, "", ""))
    stack.client("autoscaling").delete_auto_scaling_group(AutoScalingGroupName="mx", ForceDelete=True)
    stack.wake()
    assert "a group is gone: nothing of it is kept" in stack.phrases()
    assert (stack.ledger.index().groups, stack.ledger.groups(["mx"])) == (frozenset(), ({}, {}))


def test_a_group_made_anew_under_an_old_name_has_held_nobody_yet(stack, monkeypatch):
    """The mind dies after it put the hook: what the ledger knew of the group before must not count."""
    stack.balancer()
    stack.wake("mx-1")
    stack.ledger.record_hook("mx", stack.now - 10_000)
    stack.group()

    def dies(*_):
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "record_hook", dies)
        stack.wake("mx-1")
    assert stack.ledger.groups(["mx"])[0] == {}
