"""In sweeps, and once a check interval, it is said who reaches a mail port past its balancer, and what doubles mail."""

import pytest

from smtp_fleet.lookout import AT_ONCE
from tests.smtp_fleet.conftest import agents

ANYBODY = {"IpProtocol": "tcp", "FromPort": 25, "ToPort": 25, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}


@pytest.fixture
def open_port(stack):
    """The group of every instance, with a rule that lets anybody in: the group's id, and the rule's."""
    ec2 = stack.client("ec2")
    [group] = ec2.describe_security_groups(GroupNames=["default"])["SecurityGroups"]
    told = ec2.authorize_security_group_ingress(GroupId=group["GroupId"], IpPermissions=[ANYBODY])
    return group["GroupId"], told["SecurityGroupRules"][0]["SecurityGroupRuleId"]


def in_service(stack, name="mx-1", group="mx"):
    """A balancer that sends, and a launch behind it that waits at our hook."""
    stack.balancer(name)
    stack.group(group, balancers=(name,))
    stack.wake(name)
    stack.now += 1000
    stack.wake(name)
    [instance] = stack.scale(1, group)
    agents.register_agent(instance)
    assert stack.policies(name) == {25: ["EnableProxyProtocol"]}


def found(stack, since=0, phrase="finding"):
    return [keys["finding"] for said, keys in stack.said[since:] if said == phrase and "can reach" in keys["finding"]]


def test_who_reaches_the_port_past_the_balancer_is_said_with_the_command_that_closes_it(stack, open_port):
    group, rule = open_port
    in_service(stack)
    stack.wake()
    [finding] = found(stack)
    assert finding == f"everybody (0.0.0.0/0) can reach port 25 past the balancer, by rule {rule} of {group}"
    [keys] = [keys for said, keys in stack.said if said == "finding" and keys["finding"] == finding]
    assert keys["load_balancers"] == ["mx-1"]
    assert keys["mend"][-1].startswith(f"aws ec2 revoke-security-group-ingress --group-id {group} ")
    knobs = [keys["finding"].split(":")[0] for said, keys in stack.said if said == "finding" and "mend" in keys]
    assert knobs[1:] == ["load balancer mx-1 hangs up after 60 s of silence", "load balancer mx-1 does not drain"]


def test_it_is_looked_at_once_a_check_interval_and_said_once_a_change(stack, open_port, calls):
    group, rule = open_port
    in_service(stack)
    stack.wake()
    calls.clear()
    stack.wake()
    assert looks(calls) == 0
    since = len(stack.said)
    stack.now += stack.settings.check_interval
    stack.wake()
    assert (looks(calls), found(stack, since)) == (1, []), "looked at again, and it is as it was"
    stack.client("ec2").revoke_security_group_ingress(GroupId=group, IpPermissions=[ANYBODY])
    stack.now += stack.settings.check_interval
    stack.wake()
    assert found(stack, since, "finding is over") == [
        f"everybody (0.0.0.0/0) can reach port 25 past the balancer, by rule {rule} of {group}"
    ]


def looks(calls):
    return calls.count("elb:DescribeLoadBalancerAttributes")


def test_an_event_is_no_occasion_to_look_around(stack, open_port, calls):
    in_service(stack)
    stack.wake()
    stack.now += stack.settings.check_interval
    stack.wake("mx-1")
    assert looks(calls) == 1, "in the sweep"


@pytest.mark.parametrize("tag", ["audit", None])
def test_where_nobody_sends_nobody_can_forge_anything(stack, open_port, calls, tag):
    stack.balancer(tag=tag)
    stack.group()
    stack.scale(1)
    stack.wake()
    assert looks(calls) == 0


def test_when_it_sends_no_more_what_was_found_is_over(stack, open_port):
    in_service(stack)
    stack.wake()
    stack.tag("disabled")
    for _ in range(3):
        stack.wake("mx-1")
    assert found(stack, phrase="finding is over") == found(stack), "once"
    assert "around/mx-1" not in {row["id"]["S"] for row in stack.client("dynamodb").scan(TableName="ledger")["Items"]}


def test_only_so_many_fleets_are_looked_around_in_one_sweep_and_the_others_in_the_next(stack, calls):
    for number in range(AT_ONCE + 1):
        in_service(stack, f"mx-{number:02}", f"group-{number:02}")
    calls.clear()
    stack.wake()
    assert looks(calls) == AT_ONCE
    stack.wake()
    assert looks(calls) == AT_ONCE + 1


def test_what_goes_wrong_around_a_fleet_comes_after_the_fleet_was_served(stack, monkeypatch):
    in_service(stack)
    stack.wake()
    stack.now += stack.settings.check_interval
    ec2 = stack.client("ec2")
    real = ec2.get_paginator

    def refusing(name):
        if name == "describe_security_group_rules":
            raise ValueError("no")
        return real(name)

    monkeypatch.setattr(ec2, "get_paginator", refusing)
    since = len(stack.said)
    assert stack.wake() == {"m"}
    reason, *_, broken = [(said, keys) for said, keys in stack.said[since:] if said != "finding"]
    assert "actions" in reason[1]
    assert broken[0] == "broken: left to the queue's retry"
    assert stack.policies() == {25: ["EnableProxyProtocol"]}
