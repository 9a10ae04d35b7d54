"""`make retire` leaves nothing of ours behind, deletes the stack last, and says in one line why it cannot."""

import io
import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError, NoRegionError
from botocore.stub import Stubber
from rich.console import Console

from console import retire
from local.instances import StandIns
from local.region import Region
from local.story import PARAMETERS, TAG, Story
from local.template import Template
from tests.smtp_fleet import conftest

TEMPLATE = Path("template.yaml")
stack = conftest.stack


class Screen:
    """What the operator sees, and what he types."""

    def __init__(self, typed="", terminal=False):
        self._told = io.StringIO()
        plain = {"markup": False, "highlight": False, "no_color": True, "width": 200}
        self.out = Console(file=self._told, force_terminal=terminal, **plain)
        self.out.input = lambda prompt: typed if isinstance(typed, str) else typed()

    @property
    def lines(self):
        return [line.strip() for line in self._told.getvalue().splitlines() if line.strip()]


def run(client, *arguments, screen=None, every=0.2):
    """The exit code and the lines on the screen."""
    parser, screen = ArgumentParser(), screen or Screen()
    retire.add_arguments(parser)
    code = retire.main(parser.parse_args(arguments), client, screen.out, screen.out, every)
    return code, screen.lines


def test_a_fleet_in_service_is_taken_off_and_then_nothing_is_left():
    with Region(TEMPLATE, PARAMETERS) as region:
        instances = StandIns(region)
        try:
            story = Story(region, instances)
            story.create_balancer("mx-1", TAG)
            story.create_group("mx", "mx-1")
            story.launch("mx")
            story.await_service("mx")
            code, lines = run(region.client, "--yes")
            assert (code, lines[-2:]) == (0, OFF)
            assert story.policies("mx-1") == []
            assert story.hooks("mx") == []
            assert [i["Comment"].split(" epoch")[0] for i in story.history()] == [
                "smtp-fleet expect ports=25",
                "smtp-fleet expect ports=none",
            ]
            sends, hooked, letting_go = (line.partition(" ")[2] for line in lines if " over: " in line)
            assert sends == "over: load balancer mx-1 sends the header on instance port 25"
            assert {hooked, letting_go} == {"over: group mx has the stack's lifecycle hook", f"over: {LETTING_GO}"}
            before = len(region.log)
            assert run(region.client, "--yes") == (0, ["nothing of ours is left in this Region"])
            assert [r for r in region.log[before:] if r.kind == "call" and r.what.is_write] == []
        finally:
            instances.close()


OFF = [
    "everything is off: no policy and no lifecycle hook of ours is left",
    "no stack was named: delete it with --stack NAME, or by `sam delete`",
]
LETTING_GO = "load balancer mx-1 still has the policy EnableProxyProtocol: instances may not have been let go yet"


def test_the_defaults_are_those_of_the_template():
    parameters = Template(TEMPLATE).body["Parameters"]
    assert {name: parameters[name]["Default"] for name in retire.DEFAULTS} == retire.DEFAULTS


def sending(stack, *, tag="enabled"):
    """A balancer that sends by our policy, under this tag."""
    stack.balancer()
    stack.wake("mx-1")
    key = stack.settings.tag_key
    if tag is None:
        stack.client("elb").remove_tags(LoadBalancerNames=["mx-1"], Tags=[{"Key": key}])
    else:
        stack.tag(tag)


def tag_of(stack, name="mx-1"):
    [found] = stack.client("elb").describe_tags(LoadBalancerNames=[name])["TagDescriptions"]
    return {tag["Key"]: tag["Value"] for tag in found["Tags"]}.get(stack.settings.tag_key)


@pytest.mark.parametrize("tag", ["enabled", "25 587", "audit", "what?", None])
def test_whatever_is_ours_is_tagged_disabled(stack, tag):
    sending(stack, tag=tag)
    stack.balancer("web", tag=None)
    code, lines = run(stack.client, "--yes", "--timeout", "0")
    assert (code, tag_of(stack), tag_of(stack, "web")) == (1, "disabled", None)
    assert lines[-1] == (
        "waited 0 minutes in vain until everything is off. Left: load balancer mx-1 sends the header on instance "
        "port 25. The log of reconcile_fleet says what is in the way"
    )


def test_a_port_that_only_the_old_tag_named_is_waited_for(stack):
    """The policy on 587 has a foreign name: once the tag says `disabled`, nothing shows that it was our doing."""
    elb, attribute = stack.client("elb"), {"AttributeName": "ProxyProtocol", "AttributeValue": "true"}
    stack.balancer(tag="587")
    listener = {"Protocol": "TCP", "LoadBalancerPort": 587, "InstanceProtocol": "TCP", "InstancePort": 587}
    elb.create_load_balancer_listeners(LoadBalancerName="mx-1", Listeners=[listener])
    elb.create_load_balancer_policy(
        LoadBalancerName="mx-1", PolicyName="x", PolicyTypeName="ProxyProtocolPolicyType", PolicyAttributes=[attribute]
    )
    stack.wake("mx-1")
    assert stack.policies() == {587: ["x"]}
    code, lines = run(stack.client, "--yes", "--timeout", "0.01")
    assert (code, tag_of(stack)) == (1, "disabled")
    assert "Left: load balancer mx-1 sends the header on instance port 587." in lines[-1]


def test_it_waits_until_postfix_has_let_go_too(stack):
    """The policy off, the header may still be expected: the stack that asks for the letting go must stay."""
    sending(stack, tag="disabled")
    stack.now += 1000
    stack.wake("mx-1")
    assert stack.policies() == {}
    code, lines = run(stack.client, "--yes", "--timeout", "0")
    assert code == 1
    assert LETTING_GO in lines[-1]


def test_without_yes_it_tells_its_steps_and_asks(stack):
    sending(stack)
    code, lines = run(stack.client, screen=Screen("n", terminal=True))
    assert (code, tag_of(stack)) == (1, "enabled")
    assert lines == [
        "1. tag load balancer mx-1 disabled (it is tagged 'enabled')",
        "2. wait until it is gone: load balancer mx-1 sends the header on instance port 25",
        "nothing was changed",
    ]
    assert run(stack.client, "--timeout", "0", screen=Screen("y", terminal=True))[0] == 1
    assert tag_of(stack) == "disabled"


def test_without_yes_and_terminal_it_does_nothing(stack):
    sending(stack)
    code, lines = run(stack.client, screen=Screen("y"))
    assert (code, lines[-1], tag_of(stack)) == (1, "nobody to ask here: say --yes to do this", "enabled")


def stop():
    raise KeyboardInterrupt


def test_stopped_at_the_question_nothing_was_changed(stack):
    sending(stack)
    code, lines = run(stack.client, screen=Screen(stop, terminal=True))
    assert (code, lines[-1], tag_of(stack)) == (130, "stopped: nothing was changed", "enabled")


def test_stopped_while_it_waits_it_says_what_is_left(stack, monkeypatch):
    sending(stack)
    monkeypatch.setattr(retire.time, "sleep", lambda seconds: stop())
    code, lines = run(stack.client, "--yes")
    assert code == 130
    assert lines[-1] == (
        "stopped: the functions go on taking off what is tagged; the stack is still there; seen last: "
        "load balancer mx-1 sends the header on instance port 25. Run this again to go on"
    )


def test_a_balancer_that_is_gone_meanwhile_does_not_stop_it(stack, monkeypatch):
    sending(stack)
    elb = stack.client("elb")
    real = elb.add_tags

    def late(**request):
        elb.delete_load_balancer(LoadBalancerName="mx-1")
        return real(**request)

    monkeypatch.setattr(elb, "add_tags", late)
    code, lines = run(stack.client, "--yes")
    assert (code, lines[-2:]) == (0, OFF)
    assert any(line.endswith("load balancer mx-1 is gone") for line in lines)


# ---- the stack itself

ID = "arn:aws:cloudformation:us-east-1:123456789012:stack/fleet/1"
SAID = {"TagKey": "smtp-proxy-protocol", "MailPorts": "25", "PolicyName": "EnableProxyProtocol"}


def described(status="UPDATE_COMPLETE", said=SAID, **more):
    parameters = [{"ParameterKey": key, "ParameterValue": value} for key, value in said.items()]
    one = {"StackName": "fleet", "StackId": ID, "CreationTime": 0, "StackStatus": status, "Parameters": parameters}
    return {"Stacks": [one | more]}


@pytest.fixture
def cloudformation(stack):
    """A CloudFormation that answers as told, and clients with it."""
    client = boto3.client("cloudformation", "us-east-1", aws_access_key_id="A" * 20, aws_secret_access_key="A")
    with Stubber(client) as stub:
        yield stub, lambda service: client if service == "cloudformation" else stack.client(service)
        stub.assert_no_pending_responses()


def is_described(stub, *, table="ledger", **more):
    """The stack is asked for its parameters and its resources."""
    stub.add_response("describe_stacks", described(**more), {"StackName": "fleet"})
    one = {"LogicalResourceId": "Ledger", "PhysicalResourceId": table, "ResourceType": "AWS::DynamoDB::Table"}
    one |= {"Timestamp": 0, "ResourceStatus": "CREATE_COMPLETE"}
    stub.add_response("describe_stack_resources", {"StackResources": [one]}, {"StackName": ID})


def will_be_deleted(stub, *answers):
    stub.add_response("delete_stack", {}, {"StackName": ID})
    for answer in answers:
        stub.add_response("describe_stacks", answer, {"StackName": ID})


def test_the_stack_is_deleted_last_and_its_end_is_awaited(stack, cloudformation):
    stub, client = cloudformation
    is_described(stub)
    will_be_deleted(
        stub, described("DELETE_IN_PROGRESS"), described("DELETE_IN_PROGRESS"), described("DELETE_COMPLETE")
    )
    code, lines = run(client, "--stack", "fleet", "--yes", every=0.01)
    assert (code, lines[0], lines[-1]) == (0, "1. delete stack fleet", "stack fleet is deleted")
    assert [line for line in lines if line.endswith("DELETE_IN_PROGRESS")] == [lines[-2]]


def test_the_stack_stays_while_anything_sends(stack, cloudformation):
    stub, client = cloudformation
    sending(stack)
    is_described(stub)
    assert run(client, "--stack", "fleet", "--yes", "--timeout", "0")[0] == 1


def test_the_stack_stays_while_an_instance_may_expect_what_nobody_sends(stack, cloudformation):
    """What only the ledger knows: nothing on the balancer tells of a cutover that was cut off in the middle."""
    stub, client = cloudformation
    stack.balancer(tag=None)
    stack.ledger.record_balancer("mx-1")
    is_described(stub)
    code, lines = run(client, "--stack", "fleet", "--yes", "--timeout", "0")
    assert code == 1
    assert "load balancer mx-1 may have instances behind it that expect the header" in lines[-1]


def test_the_parameters_of_the_stack_count(stack, cloudformation):
    stub, client = cloudformation
    sending(stack)
    stack.client("dynamodb").create_table(
        TableName="theirs",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
    )
    is_described(stub, table="theirs", said=SAID | {"TagKey": "mail", "PolicyName": "Other"})
    will_be_deleted(stub, described("DELETE_COMPLETE"))
    assert run(client, "--stack", "fleet", "--yes", every=0.01)[0] == 0
    assert tag_of(stack) == "enabled"


def test_a_stack_that_could_not_be_deleted_says_why(stack, cloudformation):
    stub, client = cloudformation
    is_described(stub)
    reason = "The following resource(s) failed to delete:\n[RetirementGuard]."
    will_be_deleted(stub, described("DELETE_FAILED", StackStatusReason=reason))
    code, lines = run(client, "--stack", "fleet", "--yes", every=0.01)
    assert (code, lines[-1]) == (
        1,
        "stack fleet was not deleted: The following resource(s) failed to delete: [RetirementGuard]. "
        "Mend that, and run this again.",
    )


def test_stopped_while_the_stack_goes(stack, cloudformation, monkeypatch):
    stub, client = cloudformation
    is_described(stub)
    will_be_deleted(stub)
    monkeypatch.setattr(retire.time, "sleep", lambda seconds: stop())
    code, lines = run(client, "--stack", "fleet", "--yes")
    assert (code, lines[-1]) == (130, "stopped: CloudFormation goes on deleting the stack by itself")


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (described(said=SAID | {"Paused": "true"}), "takes nothing off while Paused=true"),
        (described(said=SAID | {"Audit": "true"}), "takes nothing off while Audit=true"),
        (described(said={}), "is no stack of SMTP Fleet"),
        (described(EnableTerminationProtection=True), "has termination protection"),
    ],
)
def test_a_stack_that_would_take_nothing_off_is_left_alone(stack, cloudformation, answer, says):
    stub, client = cloudformation
    sending(stack)
    stub.add_response("describe_stacks", answer)
    code, [line] = run(client, "--stack", "fleet", "--yes")
    assert (code, tag_of(stack)) == (1, "enabled")
    assert says in line


def test_a_stack_that_does_not_exist_is_named_with_its_region(stack, cloudformation):
    stub, client = cloudformation
    stub.add_client_error("describe_stacks", "ValidationError", "Stack with id fleet does not exist")
    code, lines = run(client, "--stack", "fleet", "--yes")
    assert (code, lines) == (1, ["no stack fleet in us-east-1: check the name and AWS_DEFAULT_REGION"])


def test_a_stack_and_parameters_of_ones_own_contradict_each_other(stack, cloudformation):
    stub, client = cloudformation
    stub.add_response("describe_stacks", described())
    code, [line] = run(client, "--stack", "fleet", "--tag-key", "mail")
    assert (code, line) == (1, "--stack tells the parameters: leave --tag-key, --mail-ports and --policy-name out")


# ---- what AWS, or the way to it, refuses


def denied(operation, code="AccessDenied"):
    return ClientError({"Error": {"Code": code, "Message": "No.\nReally"}}, operation)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (NoCredentialsError(), "no AWS credentials: set AWS_PROFILE, or run `aws configure`"),
        (NoRegionError(), "no Region: set AWS_DEFAULT_REGION to the Region of the stack"),
        (EndpointConnectionError(endpoint_url="https://x"), "or --region a Region, and is there a network?"),
        (denied("AddTags"), "not allowed to call elasticloadbalancing:AddTags"),
        (denied("GetResources", "AccessDeniedException"), "not allowed to call tag:GetResources"),
        (denied("DescribeLifecycleHooks"), "not allowed to call autoscaling:DescribeLifecycleHooks"),
        (denied("DeleteStack"), "not allowed to call cloudformation:DeleteStack"),
        (denied("AddTags", "ExpiredToken"), "AWS does not accept the credentials (ExpiredToken): renew them"),
        (denied("AddTags", "TooManyTags"), "elasticloadbalancing:AddTags: No. Really"),
    ],
)
def test_an_error_is_one_line_that_says_what_to_do(error, says):
    def client(service):
        raise error

    code, [line] = run(client, "--yes")
    assert code == 1
    assert says in line


def test_a_setting_that_means_nothing_is_named(stack):
    code, [line] = run(stack.client, "--mail-ports", "smtp")
    assert (code, line) == (1, "MAIL_PORTS='smtp': expected ports from 1 to 65535, separated by spaces")


def test_every_call_that_it_makes_is_known_by_its_action(stack, calls):
    sending(stack)
    stack.group()
    calls.clear()
    run(stack.client, "--yes", "--timeout", "0")
    assert {call.partition(":")[2] for call in calls} <= retire.door.obstacle.ACTIONS.keys()


def test_as_a_program_it_tells_errors_apart_from_what_it_did():
    environment = {"PYTHONPATH": "layers/smtp_fleet", "AWS_EC2_METADATA_DISABLED": "true", "HOME": "/nonexistent"}
    told = [sys.executable, "-m", "console", "retire", "--yes"]
    ran = subprocess.run(told, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == "no Region: set AWS_DEFAULT_REGION to the Region of the stack\n"
