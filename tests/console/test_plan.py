"""`make plan` tells before anything is deployed what would be done and why, reads only, and has its exit codes."""

import json
import typing
from dataclasses import replace

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from hypothesis import given
from hypothesis import strategies as st

from console import plan, told, words
from console.course import after, course
from local.strict import ssm as agents
from local.template import Template
from smtp_fleet import actions
from smtp_fleet.evidence import Machine, Record, Speaks, Verb
from smtp_fleet.fleet import Fleet, Group, Listener, LoadBalancer, Member
from smtp_fleet.outcome import Outcome
from smtp_fleet.plan import plan as decide
from smtp_fleet.tag import Tags, wish
from tests.console.screen import run
from tests.console.test_retire import TEMPLATE, denied
from tests.smtp_fleet import conftest
from tests.smtp_fleet.world import SETTINGS

stack = conftest.stack
WRITES = ("Create", "Delete", "Put", "Set", "Send", "Add", "Remove", "Modify", "Complete", "Update")


def mended(stack):
    """Whatever `plan` would have an operator mend by hand, mended."""
    attributes = {"ConnectionSettings": {"IdleTimeout": 600}, "ConnectionDraining": {"Enabled": True, "Timeout": 300}}
    stack.client("elb").modify_load_balancer_attributes(LoadBalancerName="mx-1", LoadBalancerAttributes=attributes)


def test_it_tells_each_step_of_an_untagged_fleet_in_service(stack):
    stack.balancer(tag=None)
    stack.group()
    [instance] = stack.scale(1)
    agents.register_agent(instance)
    code, text, _ = run(plan, stack.client)
    steps = [line.strip() for line in text.splitlines() if line.startswith("  ")]
    assert code == 2
    assert "mx-1, instance port 25: its clients' addresses are lost today" in text
    assert "1 instances; groups that would get the hook: mx" in text
    assert "if tagged `enabled`:" in text
    assert steps[:9] == [
        "1. asking whether they could",
        f"ask {instance} by Run Command whether Postfix could expect the header on 25 (read-only)",
        "2. waiting until every launch is held",
        "put lifecycle hook smtp-fleet on group mx: ABANDON after 900 s",
        "3. Postfix first",
        f"have {instance} expect the header on 25 (Run Command; reload, no restart)",
        "4. balancer second",
        "create policy EnableProxyProtocol, and set [EnableProxyProtocol] on instance port 25 of mx-1: send the header",
        "then: on",
    ]


def test_what_it_foretells_is_what_the_functions_do(stack):
    """Each write on balancers and groups, in the order foretold."""
    stack.balancer()
    stack.group()
    foretold = json.loads(run(plan, stack.client, "--json")[1])[0]["fleets"][0]["course"]
    stack.wake("mx-1")
    stack.now += 1000
    stack.wake("mx-1")
    assert (foretold["end"], stack.policies()) == ("on", {25: ["EnableProxyProtocol"]})
    said = [keys["actions"] for _, keys in stack.said if keys.get("actions")]
    done = [a.partition("(")[0] for turn in said for a in turn if a.startswith(("PutHook", "SetPolicies"))]
    assert done == ["PutHook", "SetPolicies"]
    assert [line.split()[0] for step in foretold["steps"] for line in step["does"]] == ["put", "create"]


def test_a_tag_that_is_there_is_taken_at_its_word(stack):
    stack.balancer(tag="audit")
    _, text, _ = run(plan, stack.client)
    assert "as it is tagged:" in text
    assert "then: audit: nobody behind it: attaching" in text


def test_an_instance_without_an_agent_blocks_it(stack):
    stack.balancer(tag=None)
    stack.group()
    [instance] = stack.scale(1)
    code, text, _ = run(plan, stack.client)
    assert code == 2
    assert f"no Systems Manager agent is online on {instance}" in text
    assert f"then: waits for {instance}: no Systems Manager agent online" in text


def test_a_port_shared_with_another_service_is_refused_with_the_reason(stack):
    stack.balancer(tag=None)
    listener = {"Protocol": "TCP", "LoadBalancerPort": 80, "InstanceProtocol": "TCP", "InstancePort": 25}
    stack.client("elb").create_load_balancer_listeners(LoadBalancerName="mx-1", Listeners=[listener])
    _, text, _ = run(plan, stack.client)
    assert "finding: listener 80 of mx-1, which is not a mail port, shares instance port 25" in text
    assert "set [EnableProxyProtocol]" not in text


def test_0_where_there_is_nothing_to_do(stack):
    assert run(plan, stack.client)[:2] == (0, "Region us-east-1\nno classic load balancer forwards a mail port here\n")
    stack.balancer()
    stack.wake("mx-1")
    mended(stack)
    stack.client("s3").create_bucket(Bucket="trail")
    stack.client("cloudtrail").create_trail(Name="all", S3BucketName="trail")
    assert run(plan, stack.client)[0] == 2
    stack.client("cloudtrail").start_logging(Name="all")
    code, text, _ = run(plan, stack.client)
    assert (code, "sends the header: addresses are seen" in text, "trail all makes events" in text) == (0, True, True)


def test_its_policy_allows_all_that_it_calls_and_no_write(stack, calls):
    stack.balancer()
    stack.group()
    agents.register_agent(stack.scale(1)[0])
    calls.clear()
    run(plan, stack.client)
    [statement] = json.loads(run(plan, stack.client, "--policy")[1])["Statement"]
    made = {plan.obstacle.ACTIONS[call.partition(":")[2]] for call in calls}
    assert made <= set(statement["Action"])
    assert not [a for a in statement["Action"] if a.partition(":")[2].startswith(WRITES)]
    assert not [call for call in calls if call.partition(":")[2].startswith(WRITES)]


def test_each_region_asked_for_is_told(stack):
    asked = []

    def client(service, region_name):
        asked.append(region_name)
        return stack.client(service)

    _, text, _ = run(plan, client, "--region", "eu-west-1", "--region", "us-east-1")
    assert (text.count("Region us-east-1"), set(asked)) == (2, {"eu-west-1", "us-east-1"})


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_region_that_cannot_be_told_of_does_not_hide_the_others(stack, form):
    def client(service, region_name):
        if region_name == "eu-west-9":
            raise EndpointConnectionError(endpoint_url="https://x")
        return stack.client(service)

    asked = ["--region", "eu-west-9", "--region", "us-east-1", *form]
    code, text, complaint = run(plan, client, *asked)
    assert (code, complaint.count("\n")) == (1, 1)
    assert complaint.startswith("eu-west-9: Could not connect")
    assert "us-east-1" in text
    assert not form or len(json.loads(text)) == 1


def test_all_balancers_are_in_one_table_first(stack):
    stack.balancer(tag=None)
    stack.balancer("mx-2", tag="audit")
    lines = run(plan, stack.client)[1].splitlines()
    [head] = [number for number, line in enumerate(lines) if line.startswith("load balancer")]
    assert [line.split() for line in lines[head + 1 : head + 3]] == [
        ["mx-1", "25", "lost", "0", "on", "2"],
        ["mx-2", "25", "lost", "0", *["audit:", "nobody", "behind", "it:", "attaching"], "2"],
    ]


def test_a_deployed_stack_tells_its_parameters(stack):
    """What is known to a stack is told in `test_status`; here nothing may contradict it."""
    code, text, complaint = run(plan, stack.client, "--stack", "x", "--tag-key", "mail")
    assert (code, text) == (1, "")
    assert complaint == "--stack tells the parameters: leave --tag-key, --mail-ports and --policy-name out\n"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (denied("DescribeSecurityGroupRules", "UnauthorizedOperation"), "ec2:DescribeSecurityGroupRules"),
        (denied("DescribeTrails"), "not allowed to call cloudtrail:DescribeTrails"),
        (denied("DescribeTags", "Throttling"), "AWS throttles elasticloadbalancing:DescribeTags: wait a minute"),
        (EndpointConnectionError(endpoint_url="https://x"), "is there a network?"),
    ],
)
def test_an_error_is_one_line(error, says):
    def client(service):
        raise error

    code, text, complaint = run(plan, client)
    assert (code, text, complaint.count("\n")) == (1, "", 1)
    assert says in complaint


def test_a_denied_prefix_list_is_an_error_and_one_that_is_gone_is_not(stack, monkeypatch):
    stack.balancer(tag=None)
    stack.group()
    stack.scale(1)
    ec2 = stack.client("ec2")
    [group] = [g["GroupId"] for g in ec2.describe_security_groups(GroupNames=["default"])["SecurityGroups"]]
    pl = ec2.create_managed_prefix_list(
        PrefixListName="x", MaxEntries=1, AddressFamily="IPv4", Entries=[{"Cidr": "192.0.2.0/24"}]
    )["PrefixList"]["PrefixListId"]
    rule = {"IpProtocol": "tcp", "FromPort": 25, "ToPort": 25, "PrefixListIds": [{"PrefixListId": pl}]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
    text = run(plan, stack.client)[1]
    assert f"mend: prefix list {pl} can reach port 25 past the balancer" in text
    assert "; in the list: 192.0.2.0/24)" in text
    real = ec2.get_paginator

    def refusing(code):
        def paginator(name):
            if name == "get_managed_prefix_list_entries":
                raise ClientError({"Error": {"Code": code}}, "GetManagedPrefixListEntries")
            return real(name)

        return paginator

    monkeypatch.setattr(ec2, "get_paginator", refusing("UnauthorizedOperation"))
    assert run(plan, stack.client)[0] == 1
    monkeypatch.setattr(ec2, "get_paginator", refusing("InvalidPrefixListID.NotFound"))
    assert f"prefix list {pl}, which could not be read" in run(plan, stack.client)[1]


def test_the_defaults_are_those_of_the_template():
    parameters = Template(TEMPLATE).body["Parameters"]
    assert {name: str(parameters[name]["Default"]) for name in told.DEFAULTS} == told.DEFAULTS


# ---- the pure parts

NOTES = {
    actions.RecordOff, actions.ForgetOff, actions.RecordAttachment, actions.ForgetAttachment, actions.Relent,
    actions.Forget, actions.Recall, actions.RecordBreaker, actions.CloseBreaker, actions.RecordBalancer,
    actions.ForgetBalancer,
}  # fmt: skip


def test_every_action_but_notes_in_the_ledger_has_words():
    kinds = set(typing.get_args(actions.Action))
    machine = Machine("i-1", "vol-1")
    examples = [
        actions.PutHook("g", "ABANDON", 900, True), actions.DeleteHook("g"), actions.DeletePolicy("b", "p"),
        actions.SetPolicies("b", 25, ("p",), True), actions.Admit(machine, "g", 0), actions.Hold(machine, "g"),
        actions.Reject(machine, "g", "r", Outcome.REFUSED), actions.Refuse(25, "r", 1, 0),
        actions.Send(actions.Ask(Verb.EXPECT, frozenset({25}), 1), (machine,)),
    ]  # fmt: skip
    assert {type(one) for one in examples} | NOTES == kinds
    assert all(words.action(one) for one in examples)


@given(st.integers(0, 3), st.booleans(), st.sampled_from(["enabled", "disabled", "audit", "25 587"]))
def test_a_course_keeps_the_law_at_every_step_and_comes_to_an_end(members, grouped, tag):
    """At no step does a balancer send to a member that serves and is not known to expect."""
    fleet = some_fleet(members, grouped, tag)
    found = course(fleet, SETTINGS, {m.machine.instance_id for m in fleet.members})
    assert (found.blocked, found.end.split(":")[0]) == (False, {"disabled": "off", "audit": "audit"}.get(tag, "on"))
    for _ in range(20):
        fleet = after(fleet, decide(fleet, SETTINGS))
        for b in fleet.balancers:
            for port in b.backend:
                assert not b.sends(port) or all(
                    m.record.speaks(port) is Speaks.PROXY for m in fleet.members if m.serves
                )


def some_fleet(members, grouped, tag):
    balancer = LoadBalancer("mx-1", (Listener(25, "TCP", 25, "TCP"),))
    group = Group("mx", frozenset({"mx-1"}))
    told = {"mx-1": wish(Tags(tag), SETTINGS.mail_ports)}
    hosts = tuple(Member(Record(Machine(f"i-{n}", f"vol-{n}")), "mx" if grouped else "") for n in range(members))
    return replace(Fleet(2_000_000_000, (balancer,), told), groups=(group,) if grouped else (), members=hosts)
