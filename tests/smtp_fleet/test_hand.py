"""The hand sends what is current, waits for agents and lets go whom the ledger admits; nothing else."""

from dataclasses import replace

import pytest
from botocore.exceptions import ClientError

from local.strict import ssm as agents
from smtp_fleet.evidence import ASK_WAIT, Ask, Machine, Record, Verb, asked

ASK = Ask(Verb.EXPECT, frozenset({25}), 1_900_000_000)


def launched(stack, count=1):
    """Instances waiting at the hook, each asked at `stack.now`; returns a message for each by instance."""
    stack.balancer()
    stack.wake("mx-1")
    stack.group()
    stack.wake("mx-1")
    stack.scale(count)
    stack.wake("mx-1")
    [message] = stack.received("asks").values()
    return {m["instance"]: message | {"machines": [m]} for m in message["machines"]}


def of(message, **changes):
    """The same about the one machine of a message, but for these changes."""
    kind = changes.pop("kind", message["kind"])
    return {"kind": kind, "machines": [message["machines"][0] | changes]}


def machine(message):
    [told] = message["machines"]
    return Machine(told["instance"], told["volume"])


def commands(stack):
    return stack.client("ssm").list_commands()["Commands"]


def test_an_online_agent_gets_the_command_and_the_ledger_its_id(stack):
    [(instance, message)] = launched(stack).items()
    agents.register_agent(instance)
    assert stack.hand().work({"m": message}) == set()
    [command] = commands(stack)
    assert command["Comment"] == f"smtp-fleet expect ports=25 epoch={stack.now} cause=test"
    assert command["MaxErrors"] == "100%"
    assert command["DocumentVersion"] == "1"
    [record] = stack.ledger.records([machine(message)]).values()
    assert (record.command_id, record.sent_at) == (command["CommandId"], stack.now)


def test_fifty_launches_are_one_command(stack, calls):
    messages = launched(stack, 50)
    for instance in messages:
        agents.register_agent(instance)
    calls.clear()
    assert stack.hand().work(messages) == set()
    assert calls.count("ssm:SendCommand") == 1
    assert calls.count("ssm:DescribeInstanceInformation") == 1


def test_an_agent_that_is_not_there_yet_is_waited_for_and_delays_nobody(stack):
    messages = launched(stack, 2)
    first, second = sorted(messages)
    agents.register_agent(second)
    assert stack.hand().work(messages) == set()
    assert [command["InstanceIds"] for command in commands(stack)] == [[second]]
    assert stack.delayed("asks") == 1
    assert ("waiting for the agent", {"instance_ids": [first], "waited_seconds": 0}) in stack.said


def test_the_wait_for_an_agent_ends(stack):
    messages = launched(stack)
    stack.now += ASK_WAIT
    assert stack.hand().work(messages) == set()
    assert stack.delayed("asks") == 0
    assert stack.phrases()[-1] == "the agent did not come online in time"
    stack.wake("mx-1")
    assert len(stack.received("asks")) == 1


def test_an_ask_that_is_no_longer_current_is_dropped(stack):
    [(instance, message)] = launched(stack).items()
    agents.register_agent(instance)
    assert stack.hand().work({"m": of(message, asked_at=stack.now - 1)}) == set()
    assert commands(stack) == []
    stack.hand().work({"m": message})
    stack.hand().work({"m": message})
    assert len(commands(stack)) == 1


def test_a_machine_on_another_root_volume_is_another_machine(stack):
    [(instance, message)] = launched(stack).items()
    agents.register_agent(instance)
    stack.hand().work({"m": of(message, volume="vol-other")})
    assert commands(stack) == []
    assert stack.phrases()[-1] == "dropped: no longer current"


def test_nobody_is_admitted_whom_the_ledger_does_not_admit(stack):
    [(instance, message)] = launched(stack).items()
    stack.hand().work({"m": of(message, kind="admit", group="mx")})
    assert stack.states() == {instance: "Pending:Wait"}


def test_an_admission_that_comes_twice_is_no_error(stack):
    [(instance, message)] = launched(stack).items()
    record = Record(machine(message))
    stack.ledger.write(*admitted(stack, record))
    admission = of(message, kind="admit", group="mx")
    for expected in ("admitted", "no longer waits"):
        assert stack.hand().work({"m": admission}) == set()
        assert stack.phrases()[-1] == expected
    assert stack.states() == {instance: "InService"}


def admitted(stack, record):
    [now] = stack.ledger.records([record.machine]).values()
    return now, replace(now, admitted=True)


def test_nobody_is_rejected_on_an_answer_that_is_no_longer_the_last(stack):
    [(instance, message)] = launched(stack).items()
    for asked_at in (stack.now, 0):
        stack.hand().work({"m": of(message, kind="reject", group="mx", asked_at=asked_at)})
        assert stack.phrases()[-1] == "dropped: no longer current"
    assert stack.states() == {instance: "Pending:Wait"}


@pytest.mark.parametrize(
    "body",
    [
        "text",
        {},
        None,
        {"kind": "ask"},
        {"kind": "ask", "machines": []},
        {"kind": "ask", "machines": [{"instance": "i-1", "volume": "v", "asked_at": "1"}]},
        {"kind": "admit", "machines": [{"instance": "i-1", "volume": "v", "asked_at": 1}]},
        {"kind": "reboot", "machines": [{"instance": "i-1", "volume": "v", "asked_at": 1}]},
    ],
)
def test_a_message_of_no_known_shape_goes_to_the_dead_letters(stack, body):
    assert stack.hand().work({"m": body}) == {"m"}
    assert commands(stack) == []


@pytest.mark.parametrize("code", ["ThrottlingException", "RateExceeded"])
def test_a_throttled_command_waits_without_spending_a_receive(stack, monkeypatch, code):
    messages = launched(stack, 2)
    for instance in messages:
        agents.register_agent(instance)

    def throttled(**_):
        raise ClientError({"Error": {"Code": code, "Message": "Rate exceeded"}}, "SendCommand")

    monkeypatch.setattr(stack.client("ssm"), "send_command", throttled)
    assert stack.hand().work(messages) == set()
    assert stack.delayed("asks") == 1
    assert stack.phrases()[-1] == "waiting for Systems Manager: it throttles"
    monkeypatch.undo()
    assert stack.hand().work(messages) == set()
    assert len(commands(stack)) == 1


@pytest.mark.parametrize("lost", [[0], [49], [7, 8, 31]])
def test_one_that_takes_no_commands_delays_none_of_the_others(stack, monkeypatch, lost):
    """It was online when we asked, and is terminated by the time that we send: the whole call is refused."""
    messages = launched(stack, 50)
    instances = sorted(messages)
    gone = {instances[n] for n in lost}
    for instance in instances:
        agents.register_agent(instance)
    stack.client("ec2").terminate_instances(InstanceIds=sorted(gone))
    monkeypatch.setattr(stack.client("ssm"), "describe_instance_information", lambda **_: {
        "InstanceInformationList": [{"InstanceId": i, "PingStatus": "Online"} for i in instances]
    })  # fmt: skip
    assert stack.hand().work(messages) == set()
    sent = [instance for command in commands(stack) for instance in command["InstanceIds"]]
    assert sorted(sent) == [i for i in instances if i not in gone]
    assert stack.delayed("asks") == 1
    [waiting] = [keys["instance_ids"] for phrase, keys in stack.said if phrase == "waiting for the agent"]
    assert sorted(waiting) == sorted(gone)


def test_a_command_that_fails_otherwise_leaves_its_messages_to_the_retry(stack, monkeypatch):
    messages = launched(stack, 2)
    for instance in messages:
        agents.register_agent(instance)

    def broken(**_):
        raise ClientError({"Error": {"Code": "InvalidDocument", "Message": "it is gone"}}, "SendCommand")

    monkeypatch.setattr(stack.client("ssm"), "send_command", broken)
    assert stack.hand().work(messages) == set(messages)
    monkeypatch.undo()
    assert stack.hand().work(messages) == set()
    assert len(commands(stack)) == 1


def test_a_command_whose_record_was_asked_anew_meanwhile_is_not_recorded(stack, monkeypatch):
    [(instance, message)] = launched(stack).items()
    agents.register_agent(instance)
    real = stack.client("ssm").send_command

    def asked_anew_meanwhile(**arguments):
        [old] = stack.ledger.records([machine(message)]).values()
        stack.ledger.write(old, asked(old, ASK, stack.now + 5, "test"))
        return real(**arguments)

    monkeypatch.setattr(stack.client("ssm"), "send_command", asked_anew_meanwhile)
    assert stack.hand().work({"m": message}) == set()
    [record] = stack.ledger.records([machine(message)]).values()
    assert (record.ask, record.command_id) == (ASK, "")
