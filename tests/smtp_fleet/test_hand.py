"""The hand sends what is current, waits for agents and lets go whom the ledger admits; nothing else."""

import time
from dataclasses import replace

import pytest
from botocore.exceptions import ClientError

from local.strict import ssm as agents
from smtp_fleet.evidence import ASK_WAIT, Ask, Machine, Record, Verb, asked
from smtp_fleet.hand import ADMITTED_FOR
from smtp_fleet.ledger import Ledger

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


def test_one_that_was_asked_anew_meanwhile_is_looked_at_as_seldom_as_before(stack, monkeypatch):
    launched(stack)
    stack.now += ASK_WAIT
    stack.wake("mx-1", agent_wait=10**9)
    waits = []
    monkeypatch.setattr("smtp_fleet.hand.next_look", lambda now, waited, shift: waits.append(waited) or 1)
    assert stack.hand().work(stack.received("asks")) == set()
    assert waits == [ASK_WAIT]


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
    return now, replace(now, admitted=True, admitted_at=stack.now)


def to_be_admitted_and_asked(stack):
    """Two messages: of an instance that is to be admitted, and of another, online, that is to be asked."""
    first, second = launched(stack, 2).values()
    agents.register_agent(second["machines"][0]["instance"])
    stack.ledger.write(*admitted(stack, Record(machine(first))))
    return {"admission": of(first, kind="admit", group="mx", launched_at=7), "ask": second}


def test_commands_go_before_admissions_however_many_these_are(stack, calls):
    messages = to_be_admitted_and_asked(stack)
    calls.clear()
    assert stack.hand().work(messages) == set()
    assert calls.index("ssm:SendCommand") < calls.index("autoscaling:CompleteLifecycleAction")


def test_who_is_admitted_is_let_in_even_where_no_command_can_be_sent(stack, monkeypatch):
    messages = to_be_admitted_and_asked(stack)

    def fails(**_):
        raise ClientError({"Error": {"Code": "InternalServerError", "Message": "no"}}, "DescribeInstanceInformation")

    monkeypatch.setattr(stack.client("ssm"), "describe_instance_information", fails)
    assert stack.hand().work(messages) == {"ask"}
    assert sorted(stack.states().values()) == ["InService", "Pending:Wait"]


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


def died_before_it_wrote(stack, messages, monkeypatch):
    """The command was sent; its sender died before the ledger knew. The history goes by the real clock."""

    def dies(*_):
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "write", dies)
        assert stack.hand().work(messages) == set(messages)


def test_a_command_whose_sender_died_is_found_in_the_history_and_not_sent_again(stack, monkeypatch):
    stack.now = int(time.time())
    messages = launched(stack, 2)
    for instance in messages:
        agents.register_agent(instance)
    died_before_it_wrote(stack, messages, monkeypatch)
    assert stack.hand().work(messages, again=frozenset(messages)) == set()
    [command] = commands(stack)
    records = stack.ledger.records(map(machine, messages.values())).values()
    assert {record.command_id for record in records} == {command["CommandId"]}
    assert stack.phrases()[-1] == "command found in the history"


@pytest.mark.parametrize("why", ["received for the first time", "asked anew since", "another cause"])
def test_only_the_command_of_this_very_ask_is_found(stack, monkeypatch, why):
    stack.now = int(time.time())
    messages = launched(stack)
    [(instance, message)] = messages.items()
    agents.register_agent(instance)
    died_before_it_wrote(stack, messages, monkeypatch)
    again = frozenset(messages)
    if why == "received for the first time":
        again = frozenset()
    else:
        [record] = stack.ledger.records([machine(message)]).values()
        anew = {"asked_at": stack.now + 600} if why == "asked anew since" else {"cause": "other"}
        stack.ledger.write(record, replace(record, **anew))
        messages = {instance: of(message, asked_at=anew.get("asked_at", stack.now))}
    assert stack.hand().work(messages, again=again) == set()
    assert len(commands(stack)) == 2


def test_the_history_is_read_only_where_a_message_comes_again(stack, calls):
    messages = launched(stack, 2)
    for instance in messages:
        agents.register_agent(instance)
    stack.hand().work(messages)
    assert "ssm:ListCommands" not in calls


def test_an_admission_that_is_throttled_has_another_turn_and_spends_no_receive(stack, monkeypatch):
    [(instance, message)] = launched(stack).items()
    stack.ledger.write(*admitted(stack, Record(machine(message))))

    def throttled(**_):
        raise ClientError({"Error": {"Code": "Throttling", "Message": "Rate exceeded"}}, "CompleteLifecycleAction")

    admission = of(message, kind="admit", group="mx", launched_at=7)
    with monkeypatch.context() as patched:
        patched.setattr(stack.client("autoscaling"), "complete_lifecycle_action", throttled)
        assert stack.hand().work({"m": admission}) == set()
    assert stack.phrases()[-1] == "waiting for Auto Scaling: it throttles"
    assert stack.delayed("asks") == 1
    assert stack.hand().work({"m": admission}) == set()
    assert stack.states() == {instance: "InService"}


@pytest.mark.parametrize("kind", ["ask", "admit"])
def test_what_there_is_no_time_for_is_passed_on(stack, kind):
    [(instance, message)] = launched(stack).items()
    agents.register_agent(instance)
    stack.ledger.write(*admitted(stack, Record(machine(message))))
    stack.left = 9
    assert stack.hand().work({"m": of(message, kind=kind, group="mx", launched_at=0)}) == set()
    assert (commands(stack), stack.states()) == ([], {instance: "Pending:Wait"})
    assert stack.delayed("asks") == 1


def test_all_that_wait_share_a_message_and_the_calls_that_look_for_them(stack, calls):
    messages = launched(stack, 60)
    calls.clear()
    assert stack.hand().work(messages) == set()
    assert calls.count("ssm:DescribeInstanceInformation") == 2
    assert calls.count("sqs:SendMessage") == 1


def test_agents_that_cannot_be_looked_for_are_waited_for(stack, monkeypatch):
    messages = launched(stack, 2)

    def throttled(**_):
        raise ClientError({"Error": {"Code": "ThrottlingException", "Message": "Rate exceeded"}}, "any")

    monkeypatch.setattr(stack.client("ssm"), "describe_instance_information", throttled)
    assert stack.hand().work(messages) == set()
    assert stack.phrases()[-1] == "waiting for Systems Manager: it throttles"
    assert stack.delayed("asks") == 1


def test_those_that_the_refusal_names_are_not_looked_for_by_halving(stack, calls, monkeypatch):
    """`Instances [[i-...]] not in a valid state for account ...` (amazon-ssm, met in issue threads)."""
    messages = launched(stack, 40)
    instances = sorted(messages)
    for instance in instances:
        agents.register_agent(instance)
    stack.client("ec2").terminate_instances(InstanceIds=instances[7:9])
    online = {"InstanceInformationList": [{"InstanceId": i, "PingStatus": "Online"} for i in instances]}
    monkeypatch.setattr(stack.client("ssm"), "describe_instance_information", lambda **_: online)
    calls.clear()
    assert stack.hand().work(messages) == set()
    assert calls.count("ssm:SendCommand") == 2


def test_an_old_admission_lets_nobody_in(stack):
    """The instance may stand on another root volume by now: its action would be completed all the same."""
    [(instance, message)] = launched(stack).items()
    stack.ledger.write(*admitted(stack, Record(machine(message))))
    stack.now += ADMITTED_FOR
    assert stack.hand().work({"m": of(message, kind="admit", group="mx", launched_at=0)}) == set()
    assert stack.states() == {instance: "Pending:Wait"}
    assert stack.phrases()[-1] == "dropped: no longer current"
