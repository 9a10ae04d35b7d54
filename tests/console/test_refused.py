"""Whatever AWS refuses, whichever call of a command it is: one line says what to do, and names exactly the action."""

import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError

from console import audit, obstacle, plan, status
from tests.console.screen import run

CODES = {"ec2": "UnauthorizedOperation", "elasticloadbalancing": "AccessDenied", "autoscaling": "AccessDenied"}


@pytest.fixture
def calls(monkeypatch):
    """Notes the operations that clients call; one of those in `refused` raises what it has there."""
    real, made, refused = BaseClient._make_api_call, [], {}

    def call(client, operation, parameters):
        made.append(operation)
        if operation in refused:
            raise refused[operation]
        return real(client, operation, parameters)

    monkeypatch.setattr(BaseClient, "_make_api_call", call)
    return made, refused


def error(operation, code):
    return ClientError({"Error": {"Code": code, "Message": "User: arn:… is not\nauthorized"}}, operation)


@pytest.mark.parametrize(
    ("command", "arguments"), [(plan, []), (plan, ["--stack", "smtp-fleet"]), (status, []), (audit, [])]
)
def test_each_call_denied_is_named_by_its_action(told, calls, command, arguments):
    made, refused = calls
    run(command, told.client, *arguments)
    operations = sorted(set(made))
    assert len(operations) > 10
    for operation in operations:
        action = obstacle.ACTIONS[operation]
        refused[operation] = error(operation, CODES.get(action.partition(":")[0], "AccessDeniedException"))
        complaint = f"not allowed to call {action}: run this with credentials that are\n"
        assert run(command, told.client, *arguments) == (1, "", complaint)
        refused.clear()


@pytest.mark.parametrize(
    ("refusal", "says"),
    [
        (error("DescribeStacks", "Throttling"), "AWS throttles cloudformation:DescribeStacks: wait a minute, and run"),
        (error("DescribeStacks", "AuthFailure"), "AWS does not accept the credentials (AuthFailure): renew them"),
        (error("DescribeStacks", "InvalidClientTokenId"), "or enable the Region for the account"),
        (
            ResponseParserError("invalid XML received:\nb'<!doctype html>'"),
            "what answered is not AWS: is AWS_ENDPOINT_URL",
        ),
    ],
)
@pytest.mark.parametrize("command", [status, audit])
def test_a_refusal_is_one_line_that_says_what_to_do(told, calls, command, refusal, says):
    calls[1]["DescribeStacks"] = refusal
    code, text, complaint = run(command, told.client)
    assert (code, text, complaint.count("\n")) == (1, "", 1)
    assert says in complaint


def test_a_stack_that_is_not_there_is_named_with_its_region(told):
    complaint = "no stack other in us-east-1: check the name and AWS_DEFAULT_REGION\n"
    assert run(status, told.client, "--stack", "other") == (1, "", complaint)
    assert run(plan, told.client, "--stack", "other") == (1, "", complaint)
