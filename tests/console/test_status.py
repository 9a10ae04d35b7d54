"""`make status` tells of each fleet the row that it is in, whom it waits for and since when, and what is wrong."""

import json
import time
from dataclasses import replace

import pytest

from console import plan, status
from console.standing import standing
from smtp_fleet.evidence import Answer, Ask, Machine, Record, Verb, answered, asked
from smtp_fleet.fleet import Fleet, Listener, LoadBalancer, Member
from smtp_fleet.outcome import Outcome
from smtp_fleet.tag import Tags, wish
from tests.console.screen import Screen, run
from tests.console.test_retire import denied
from tests.smtp_fleet.world import SETTINGS


def test_a_fleet_in_service_and_one_taken_off(told):
    code, text, complaint = run(status, told.client)
    lines = [line.rstrip() for line in text.splitlines()]
    [instance] = told.states("mx")
    assert (code, complaint) == (2, "")
    assert "mx-1 (tag: enabled): sends the header on 25" in lines
    assert lines[lines.index("mx-1 (tag: enabled): sends the header on 25") + 1] == "  now: on"
    [row] = [line for line in lines if line.startswith(instance)]
    assert row.split()[1] == "mx"
    assert "25=proxy" in row
    assert "expect 25" in row
    assert "ok" in row
    assert "mx-old (tag: disabled): sends no header" in lines
    assert any(line.startswith("mend: load balancer mx-1 hangs up after 60 s") for line in lines)


def test_what_a_deployed_stack_has_done_already_is_no_plan_any_more(told):
    """Without the stack's ledger nothing is known of the hosts, and all would be done anew."""
    steps = [
        [fleet["course"]["steps"] for fleet in json.loads(run(plan, told.client, "--json", *more)[1])[0]["fleets"]]
        for more in ([], ["--stack", "smtp-fleet"])
    ]
    assert [len(each) > 0 for each in steps[0]] == [True, False]
    assert steps[1] == [[], []]


def test_the_policy_of_a_plan_allows_what_it_calls_for_a_stack(told):
    before = len(told.region.log)
    run(plan, told.client, "--stack", "smtp-fleet")
    made = {r.what.operation for r in told.region.log[before:] if r.kind == "call" and r.who == "operator"}
    [statement] = json.loads(run(plan, told.client, "--policy", "--stack", "smtp-fleet")[1])["Statement"]
    assert {plan.obstacle.ACTIONS[operation] for operation in made} <= set(statement["Action"])
    assert set(statement["Action"]) >= plan.OF_A_STACK


def test_on_a_narrow_terminal_nothing_that_is_typed_again_is_broken(told):
    [instance] = told.states("mx")
    lines = run(status, told.client, width=100)[1].splitlines()
    assert any(instance in line and told_command(told, instance)[:8] in line for line in lines)


def test_for_programs_it_is_json(told):
    code, text, _ = run(status, told.client, "--json")
    found = json.loads(text)
    assert (code, [f["row"] for f in found["fleets"]]) == (2, ["on", "off"])
    assert found["dead_letters"] == {"WakesDeadLetters": 0, "AsksDeadLetters": 0}
    [host] = found["fleets"][0]["hosts"]
    assert (host["outcome"], host["speaks"], host["command"]) == (
        "ok",
        "25=proxy",
        told_command(told, host["instance"]),
    )


def told_command(told, instance):
    return [i["CommandId"] for i in told.history() if i["InstanceId"] == instance][-1]


def test_it_reads_only(told):
    before = len(told.region.log)
    run(status, told.client)
    made = [r.what for r in told.region.log[before:] if r.kind == "call" and r.who == "operator"]
    assert made
    assert [call.operation for call in made if call.is_write] == []
    assert {call.operation for call in made} <= status.door.obstacle.ACTIONS.keys()


def test_dead_letters_are_told(told):
    url = told.client("cloudformation").describe_stack_resources(StackName="smtp-fleet")["StackResources"]
    [url] = [r["PhysicalResourceId"] for r in url if r["LogicalResourceId"] == "AsksDeadLetters"]
    told.region.client("sqs").send_message(QueueUrl=url, MessageBody="{}")
    try:
        assert "dead letters: 1 in AsksDeadLetters: see docs/operate.md" in run(status, told.client)[1]
    finally:
        told.region.client("sqs").purge_queue(QueueUrl=url)


def test_an_error_is_one_line():
    def client(service):
        raise denied("DescribeStackResources")

    complaint = "not allowed to call cloudformation:DescribeStackResources: run this with credentials that are\n"
    assert run(status, client) == (1, "", complaint)


# ---- the pure part

NOW = 2_000_000_000
ASK = Ask(Verb.EXPECT, frozenset({25}), NOW - 100)


def fleet_of(*records):
    balancer = LoadBalancer("mx-1", (Listener(25, "TCP", 25, "TCP"),))
    told = {"mx-1": wish(Tags("enabled"), SETTINGS.mail_ports)}
    return Fleet(NOW, (balancer,), told, members=tuple(Member(record) for record in records))


def test_an_ask_that_is_out_is_waited_for_since_it_was_asked():
    out = replace(asked(Record(Machine("i-1", "vol-1")), ASK, NOW - 100, "launch"), command_id="c", sent_at=NOW - 90)
    done = answered(replace(out, machine=Machine("i-2", "vol-2")), Answer(ASK.epoch, Outcome.OK, frozenset({25})))
    found = standing(fleet_of(out, done), SETTINGS)
    assert [(h.instance, h.asked_at, h.asked) for h in found.waits] == [("i-1", NOW - 100, "expect 25")]
    assert [h.speaks for h in found.hosts] == ["25=unknown", "25=proxy"]


def test_a_launch_that_waits_at_our_hook_says_since_when():
    fleet = fleet_of(Record(Machine("i-1", "vol-1")))
    member = replace(fleet.members[0], waits=True, serves=False, launched_at=NOW - 300)
    found = standing(replace(fleet, members=(member,)), SETTINGS)
    [host] = found.hosts
    assert (host.waits_at_hook, host.launched_at) == (True, NOW - 300)
    screen = Screen()
    status.show(status.Status(NOW, "us-east-1", (replace(found, again_in=42, not_yet=True),), (), {}), screen.out)
    assert "waits at our hook for 5 min" in screen.text
    assert "(looks again within 42 s)" in screen.text


@pytest.mark.parametrize(
    ("member", "state"),
    [
        ({"serves": True}, "may serve"),
        ({"serves": False, "waits": True}, "waits at our hook"),
        ({"serves": False, "pooled": True}, "in the warm pool"),
    ],
)
def test_where_an_instance_is(member, state):
    fleet = fleet_of(Record(Machine("i-1", "vol-1")))
    fleet = replace(fleet, members=(replace(fleet.members[0], **member),))
    assert [h.state for h in standing(fleet, SETTINGS).hosts] == [state]


def test_well_is_only_what_nobody_has_to_look_into():
    well = status.Status(int(time.time()), "us-east-1", (), (), {"WakesDeadLetters": 0})
    assert well.is_well
    assert not replace(well, dead_letters={"WakesDeadLetters": 1}).is_well
    assert not replace(well, mends=("x",)).is_well
    assert not replace(well, fleets=(replace(standing(fleet_of(), SETTINGS), findings=("x",)),)).is_well
