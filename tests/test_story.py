"""The story of the demo, for real: template rules, functions under AWS's runtime client, HAProxy and Postfix."""

import json
from pathlib import Path

import pytest

from local.instances import Instances
from local.region import Region
from local.story import PARAMETERS, TAG, Story
from tests.test_template import FUNCTIONS, statements

TEMPLATE = Path("template.yaml")
OURS = "EnableProxyProtocol"


@pytest.fixture(scope="module")
def story():
    with Region(TEMPLATE, PARAMETERS) as region:
        instances = Instances(region, agent_delay=7)  # longer than the hand's first look
        try:
            yield Story(region, instances)
        finally:
            instances.close()


@pytest.fixture(scope="module")
def told(story):
    """The whole story, once; each test below looks at one thing in it."""
    seen = {"before": story.create_balancer("plain-1")}
    story.create_group("plain", "plain-1")
    seen["plain instance"], _ = story.launch("plain")
    story.await_service("plain")
    seen["mail before"] = story.send_mail("plain-1", seen["plain instance"])
    seen["policies"] = story.create_balancer("mx-1", TAG)
    [seen["hook"]] = story.create_group("mx", "mx-1")
    seen["instance"], seen["state at launch"] = story.launch("mx")
    seen["states"] = story.await_service("mx")
    seen["mail after"] = story.send_mail("mx-1", seen["instance"])
    repeat_the_admission(story)
    seen["changes of a second round"] = story.second_round()
    return seen


def repeat_the_admission(story):
    """SQS delivers at least once: the admission comes a second time."""
    sent = [call.params for call in story.region.calls("SendMessage", who="ReconcileFleetFunction")]
    [admission] = [params for params in sent if '"admit"' in params["MessageBody"]]
    story.region.client("sqs").send_message(QueueUrl=admission["QueueUrl"], MessageBody=admission["MessageBody"])
    story.quiet()


def test_before_the_log_shows_the_balancer(story, told):
    assert f"client=unknown[{story.instances.balancers.address('plain-1')}]" in told["mail before"]


def test_the_policy_is_on_the_instance_port(told):
    assert told["policies"] == [{"InstancePort": 25, "PolicyNames": [OURS]}]


def test_the_untagged_balancer_is_untouched(story, told):
    assert told["before"] == story.policies("plain-1") == []
    assert {call.params["AutoScalingGroupName"] for call in story.region.calls("PutLifecycleHook")} == {"mx"}


def test_the_launch_waits_for_our_hook_and_is_let_go(told):
    assert (told["hook"]["LifecycleHookName"], told["hook"]["DefaultResult"]) == ("smtp-fleet", "ABANDON")
    assert told["state at launch"] == "Pending:Wait"
    assert told["states"] == {told["instance"]: "InService"}


def test_after_the_log_shows_the_client(told):
    assert "client=unknown[198.51.100.10]" in told["mail after"]


def test_it_was_let_go_only_after_postfix_was_proven(story, told):
    calls = [record.what for record in story.region.log if record.kind == "call"]
    order = [c.operation for c in calls if c.operation in ("SendCommand", "CompleteLifecycleAction")]
    assert order == ["SendCommand", "CompleteLifecycleAction", "CompleteLifecycleAction"]  # the last one repeated
    [invocation] = story.history()
    verdict = json.loads(invocation["CommandPlugins"][0]["Output"].splitlines()[0])
    assert (verdict["class"], verdict["ports"], verdict["changed"]) == ("ok", {"25": "proxy"}, True)
    assert invocation["InstanceId"] == told["instance"]
    assert invocation["Comment"].startswith("smtp-fleet expect ports=25 epoch=")


def test_a_second_round_changes_nothing(told):
    assert told["changes of a second round"] == []


def test_each_function_is_granted_exactly_the_calls_that_it_makes(story, told):
    """Operations and actions have the same names for the calls used; resources and conditions are for review."""
    prefix = {"elb": "elasticloadbalancing", "resourcegroupstaggingapi": "tag"}
    for name in FUNCTIONS:
        made = {
            f"{prefix.get(call.service, call.service)}:{call.operation}"
            for call in story.region.calls(who=name)
            if not call.operation.startswith(("ReceiveMessage", "DeleteMessage"))  # the event source mapping's
        }
        granted = {action for function, _, actions in statements() if function == name for action in actions}
        assert made == granted, name


def test_nothing_is_left_in_the_dead_letter_queues(story, told):
    for name in ("WakesDeadLetters", "AsksDeadLetters"):
        url = story.region.template.resolve({"Ref": name})
        answer = story.region.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
        assert answer["Attributes"]["ApproximateNumberOfMessages"] == "0"


def test_no_function_said_that_anything_broke(story, told):
    lines = [record.what for record in story.region.log if record.kind == "log"]
    assert [line for line in lines if line.get("level") in ("ERROR", "WARNING")] == []
    said = {line["message"] for line in lines}
    assert {"nobody behind it: attaching", "on", "waiting for the agent", "command sent", "admitted"} <= said
