"""Systems Manager refuses what AWS refuses, and a command takes its course."""

import json
from threading import Event

import pytest

from local.strict import listen, ssm

CONTENT = {
    "schemaVersion": "2.2",
    "parameters": {
        "Verb": {"type": "String", "allowedPattern": "^(look|expect)$"},
        "Ports": {"type": "String", "default": "", "allowedPattern": "^[0-9 ]*$", "maxChars": 9},
        "FrontEnd": {"type": "String", "default": "keep", "allowedValues": ["keep", "postscreen"]},
    },
    "mainSteps": [{"action": "aws:runShellScript", "name": "configure", "inputs": {"runCommand": ["echo {{Verb}}"]}}],
}
DONE = ssm.Answer("Success", "Success", 0, '{"verdict": 1}\n')


@pytest.fixture
def service(aws):
    """A client with the document `postfix` and two managed nodes."""
    client = aws("ssm")
    client.create_document(Name="postfix", Content=json.dumps(CONTENT), DocumentType="Command")
    for instance in ("i-1", "i-2"):
        ssm.register_agent(instance)
    yield client
    assert ssm.drain(5)
    ssm.executor = None


@pytest.fixture
def send(service):
    def run(instances=("i-1", "i-2"), **params):
        params = {"DocumentName": "postfix", "Parameters": {"Verb": ["look"]}} | params
        return service.send_command(InstanceIds=list(instances), **params)["Command"]

    return run


def invocations(service, **params):
    return service.list_command_invocations(Details=True, **params)["CommandInvocations"]


@pytest.mark.parametrize(
    ("code", "params"),
    [
        ("InvalidDocument", {"DocumentName": "other"}),
        ("InvalidDocument", {"DocumentHash": "0" * 64, "DocumentHashType": "Sha256"}),
        ("InvalidDocumentVersion", {"DocumentVersion": "2"}),
        ("InvalidInstanceId", {"instances": ["i-1", "i-3"]}),
        ("DuplicateInstanceId", {"instances": ["i-1", "i-1"]}),
        ("InvalidParameters", {"Parameters": {}}),
        ("InvalidParameters", {"Parameters": {"Verb": ["look"], "Other": ["x"]}}),
        ("InvalidParameters", {"Parameters": {"Verb": ["look", "look"]}}),
        ("InvalidParameters", {"Parameters": {"Verb": ["look\n"]}}),
        ("InvalidParameters", {"Parameters": {"Verb": ["look"], "Ports": ["25;id"]}}),
        ("InvalidParameters", {"Parameters": {"Verb": ["look"], "Ports": ["25 587 465"]}}),
        ("InvalidParameters", {"Parameters": {"Verb": ["look"], "FrontEnd": ["smtpd"]}}),
        ("ValidationException", {"instances": [f"i-{each}" for each in range(51)]}),
        ("ValidationException", {"Comment": "x" * 101}),
        ("ValidationException", {"TimeoutSeconds": 2592001}),
    ],
)
def test_send_command_refuses(service, send, refused, code, params):
    """The errors of SendCommand (botocore ssm/2014-11-06); patterns are RE2, where `$` is the end of the text."""
    assert refused(send, **params) == (code, 400)
    assert service.list_commands()["Commands"] == []


def test_one_bad_id_fails_the_call_by_name(service, send):
    """One unregistered id fails the whole call, and the message names it (guardian/ssm-scala#126)."""
    with pytest.raises(service.exceptions.InvalidInstanceId, match=r"Instances \[\[i-3, i-4\]\] not in a valid state"):
        send(["i-1", "i-3", "i-4"])


def test_a_command_is_pending_then_in_progress_then_final(service, send):
    """Pending, InProgress, final; never Success at once (Systems Manager user guide, command statuses)."""
    started, finish, seen = Event(), Event(), []

    def execute(instance_id, content, parameters, command_id):
        seen.append((instance_id, content["mainSteps"][0]["name"], parameters, command_id))
        started.set()
        finish.wait(5)
        return DONE

    ssm.executor = execute
    command = send(["i-1"], Comment="why")
    assert (command["Status"], command["TargetCount"]) == ("Pending", 1)
    assert started.wait(5)
    (invocation,) = invocations(service, CommandId=command["CommandId"])
    assert (invocation["Status"], invocation["CommandPlugins"][0]["ResponseCode"]) == ("InProgress", -1)
    finish.set()
    assert ssm.drain(5)
    (invocation,) = invocations(service, InstanceId="i-1")
    assert (invocation["Comment"], invocation["DocumentName"], invocation["StatusDetails"]) == (
        "why",
        "postfix",
        "Success",
    )
    (plugin,) = invocation["CommandPlugins"]
    assert (plugin["Name"], plugin["ResponseCode"], plugin["Output"]) == ("configure", 0, DONE.stdout)
    parameters = {"Verb": ["look"], "Ports": [""], "FrontEnd": ["keep"]}
    assert seen == [("i-1", "configure", parameters, command["CommandId"])]


def test_each_change_is_an_event(send):
    """One event per instance and status, without output or comment (EventBridge events of Systems Manager)."""
    events = []
    ssm.executor = lambda *_: DONE
    with listen(events.append):
        command = send(["i-1"])
        assert ssm.drain(5)
    detail = {"command-id": command["CommandId"], "document-name": "postfix", "instance-id": "i-1"}
    assert [each.detail["status"] for each in events] == ["InProgress", "Success"]
    assert all(detail.items() <= each.detail.items() for each in events)
    assert set(events[0].detail) == {*detail, "status", "requested-date-time"}


def test_a_failure_counts_in_its_command(service, send):
    """A command is Failed when an invocation failed; its counts say how many (Systems Manager user guide)."""
    failed = ssm.Answer("Failed", "Failed", 3, "out", "err")
    ssm.executor = lambda instance, *_: DONE if instance == "i-1" else failed
    command = send()
    assert ssm.drain(5)
    (listed,) = service.list_commands(CommandId=command["CommandId"])["Commands"]
    counts = [listed[key] for key in ("Status", "TargetCount", "CompletedCount", "ErrorCount")]
    assert counts == ["Failed", 2, 2, 1]
    (bad,) = invocations(service, Filters=[{"key": "Status", "value": "Failed"}])
    assert bad["CommandPlugins"][0]["Output"] == "out\n----------ERROR-------\nerr"
    one = service.get_command_invocation(CommandId=command["CommandId"], InstanceId="i-2")
    assert (one["ResponseCode"], one["StandardOutputContent"], one["StandardErrorContent"]) == (3, "out", "err")


def test_history_is_asked_by_command_instance_and_time(service, send, refused):
    """The filters of ListCommandInvocations and ListCommands; one invocation by its step's name (API reference)."""
    first, second = (send()["CommandId"] for _ in range(2))
    assert ssm.drain(5)
    assert [each["CommandId"] for each in invocations(service)] == [second, second, first, first]
    assert [each["CommandId"] for each in invocations(service, CommandId=first)] == [first, first]
    assert {each["CommandId"] for each in invocations(service, InstanceId="i-2")} == {first, second}
    assert {each["InstanceId"] for each in invocations(service, InstanceId="i-2")} == {"i-2"}
    for key, found in {"InvokedAfter": [], "InvokedBefore": [second, first]}.items():
        filters = [{"key": key, "value": "2100-01-01T00:00:00Z"}]
        assert [each["CommandId"] for each in service.list_commands(Filters=filters)["Commands"]] == found
    assert len(service.list_command_invocations(MaxResults=1)["CommandInvocations"]) == 1
    one = {"CommandId": first, "InstanceId": "i-1"}
    assert service.get_command_invocation(**one, PluginName="configure")["PluginName"] == "configure"
    assert refused(service.get_command_invocation, **one, PluginName="other") == ("InvocationDoesNotExist", 400)


def test_output_is_cut(service, send):
    """2,500 characters in the list; 24,000 and 8,000 for one invocation (Systems Manager API and user guide)."""
    ssm.executor = lambda *_: ssm.Answer("Failed", "Failed", 1, "o" * 30000, "e" * 30000)
    command = send(["i-1"])
    assert ssm.drain(5)
    output = invocations(service)[0]["CommandPlugins"][0]["Output"]
    assert len(output) == 2500
    assert output.endswith("---Error truncated----")
    assert "o\n---Output truncated---\n----------ERROR-------\ne" in output
    one = service.get_command_invocation(CommandId=command["CommandId"], InstanceId="i-1")
    assert [len(one[f"Standard{name}Content"]) for name in ("Output", "Error")] == [24000, 8000]


def test_without_an_executor_nothing_is_delivered(service, send):
    """Undeliverable is a final StatusDetails of its own (Systems Manager user guide, command statuses)."""
    send(["i-1"])
    assert ssm.drain(5)
    (invocation,) = invocations(service)
    assert (invocation["Status"], invocation["StatusDetails"]) == ("Failed", "Undeliverable")
    assert invocation["CommandPlugins"] == []


def test_a_broken_executor_is_a_failed_invocation(service, send):
    """A stand-in that breaks shows up as a failure, with the reason, and does not hang the command."""
    ssm.executor = lambda *_: 1 / 0
    send(["i-1"])
    assert ssm.drain(5)
    (invocation,) = invocations(service)
    assert "ZeroDivisionError" in invocation["CommandPlugins"][0]["Output"]


def test_nodes_appear_when_their_agent_registers(aws, service):
    """Unregistered is absent, stopped and terminated too; pages of 5 to 50 (DescribeInstanceInformation)."""
    (machine,) = aws("ec2").run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1)["Instances"]
    machine = machine["InstanceId"]

    def described(**params):
        listed = service.describe_instance_information(**params)["InstanceInformationList"]
        return {each["InstanceId"]: each["PingStatus"] for each in listed}

    asked = [{"Key": "InstanceIds", "Values": [machine, "i-1"]}]
    assert described(Filters=asked) == {"i-1": "Online"}
    ssm.register_agent(machine)
    ssm.register_agent("i-1", ping_status="ConnectionLost")
    assert described(Filters=asked) == {machine: "Online", "i-1": "ConnectionLost"}
    aws("ec2").terminate_instances(InstanceIds=[machine])
    assert described(Filters=asked, MaxResults=50) == {"i-1": "ConnectionLost"}
    for number in range(20):
        ssm.register_agent(f"i-more-{number}")
    assert len(described()) == 10
    with pytest.raises(Exception, match="maxResults"):
        described(MaxResults=51)


def test_versions_are_told_apart(service, send):
    """An update does not move the default version; a number asks for exactly one (UpdateDocument)."""
    seen = []
    ssm.executor = lambda instance, content, *_: seen.append(content["description"]) or DONE
    content = json.dumps(CONTENT | {"description": "second"})
    service.update_document(Name="postfix", Content=content, DocumentVersion="$LATEST")
    document = service.describe_document(Name="postfix")["Document"]
    assert (document["LatestVersion"], document["DefaultVersion"]) == ("2", "1")
    arn = "arn:aws:ssm:us-east-1:123456789012:document/postfix"
    send(["i-1"], DocumentName=arn, DocumentVersion=document["LatestVersion"])
    assert ssm.drain(5)
    assert seen == ["second"]


@pytest.mark.parametrize("operation", ["list_commands", "list_command_invocations"])
@pytest.mark.parametrize(
    ("code", "params"),
    [
        ("InvalidFilterKey", {"Filters": [{"key": "Comment", "value": "x"}]}),
        ("ValidationException", {"Filters": [{"key": "InvokedAfter", "value": "yesterday"}]}),
        ("InvalidNextToken", {"NextToken": "bad"}),
        ("ValidationException", {"MaxResults": 51}),
    ],
)
def test_the_history_refuses(service, refused, operation, code, params):
    """CommandFilterKey, CommandMaxResults and the errors of both calls (botocore ssm/2014-11-06)."""
    assert refused(getattr(service, operation), **params) == (code, 400)


def test_the_stage_is_a_filter_of_commands_alone(service, send, refused):
    """ExecutionStage: Executing or Complete, "ListCommands operations only" (API reference, CommandFilter)."""
    command = send(["i-1"])["CommandId"]
    assert ssm.drain(5)
    for stage, found in {"Executing": [], "Complete": [command]}.items():
        filters = [{"key": "ExecutionStage", "value": stage}]
        assert [each["CommandId"] for each in service.list_commands(Filters=filters)["Commands"]] == found
        assert refused(service.list_command_invocations, Filters=filters) == ("InvalidFilterKey", 400)


def test_commands_are_found_by_document_and_time_together(service, send):
    """ListCommands: filters are joined; InvokedAfter takes whole seconds of UTC (API reference, CommandFilter)."""
    service.create_document(Name="other", Content=json.dumps(CONTENT), DocumentType="Command")
    ours = send(["i-1"], Comment="why")["CommandId"]
    send(["i-1"], DocumentName="other")
    assert ssm.drain(5)

    def found(after, document):
        filters = [{"key": "InvokedAfter", "value": after}, {"key": "DocumentName", "value": document}]
        return service.list_commands(Filters=filters)["Commands"]

    [command] = found("2020-01-01T00:00:00Z", "postfix")
    assert (command["CommandId"], command["Comment"], command["InstanceIds"]) == (ours, "why", ["i-1"])
    assert found("2100-01-01T00:00:00Z", "postfix") == []
    assert found("2020-01-01T00:00:00Z", "nobody-s") == []


@pytest.mark.parametrize(
    ("code", "params"),
    [
        ("InvalidFilterKey", {"Filters": [{"Key": "InstanceId", "Values": ["i-1"]}]}),
        ("ValidationException", {"Filters": [{"Key": "InstanceIds", "Values": [f"i-{n}" for n in range(101)]}]}),
        ("InvalidNextToken", {"NextToken": "bad"}),
        ("ValidationException", {"MaxResults": 51}),
    ],
)
def test_describing_nodes_refuses(service, refused, code, params):
    """InstanceInformationStringFilter's keys, 1 to 100 values, pages of 5 to 50 (botocore ssm/2014-11-06)."""
    assert refused(service.describe_instance_information, **params) == (code, 400)


def test_a_missing_document_cannot_be_described(service, refused):
    """InvalidDocument (botocore ssm/2014-11-06, DescribeDocument)."""
    assert refused(service.describe_document, Name="other") == ("InvalidDocument", 400)
