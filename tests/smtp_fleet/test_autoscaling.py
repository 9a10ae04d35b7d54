"""The gateway to Auto Scaling: our hook, read back, and launches let go once."""

import re

import pytest
from botocore.exceptions import ClientError

from smtp_fleet.actions import PutHook
from smtp_fleet.autoscaling import Groups
from smtp_fleet.faults import NotReadBack, Throttled
from smtp_fleet.fleet import Group, Hook

PUT = PutHook("mx", "ABANDON", 900, anew=True)


@pytest.fixture
def gateway(stack):
    stack.balancer()
    stack.group()
    return Groups(stack.client("autoscaling"), stack.client("elbv2"))


def test_groups_are_read_with_balancers_and_states(stack, gateway):
    [instance] = stack.scale(1)
    [group] = gateway.all()
    assert group == Group("mx", frozenset({"mx-1"}), {instance: "InService"}, configuration=group.configuration)
    assert re.fullmatch("lt-[0-9a-f]{17} ?", group.configuration)
    assert gateway.groups_of([instance, "i-0123456789abcdef0"]) == {instance: "mx"}


def test_the_ports_of_its_target_groups_are_told(stack, gateway, calls):
    [group] = gateway.all()
    calls.clear()
    assert gateway.with_targets(group) == group
    assert calls == []
    vpc = stack.client("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]
    made = stack.client("elbv2").create_target_group(Name="net", Protocol="TCP", Port=25, VpcId=vpc)
    arn = made["TargetGroups"][0]["TargetGroupArn"]
    stack.client("autoscaling").attach_load_balancer_target_groups(AutoScalingGroupName="mx", TargetGroupARNs=[arn])
    [group] = gateway.all()
    assert gateway.with_targets(group).target_ports == {"net": 25}


def test_a_target_group_that_is_gone_feeds_nobody_and_stops_nothing(stack, gateway):
    """A group goes on naming a target group that was deleted; DescribeTargetGroups refuses the whole call."""
    vpc = stack.client("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]
    arns = [
        stack.client("elbv2").create_target_group(Name=name, Protocol="TCP", Port=25, VpcId=vpc)["TargetGroups"][0][
            "TargetGroupArn"
        ]
        for name in ("gone", "there")
    ]
    stack.client("autoscaling").attach_load_balancer_target_groups(AutoScalingGroupName="mx", TargetGroupARNs=arns)
    stack.client("elbv2").delete_target_group(TargetGroupArn=arns[0])
    [group] = gateway.all()
    assert gateway.with_targets(group).target_ports == {"there": 25}
    stack.client("elbv2").delete_target_group(TargetGroupArn=arns[1])
    assert gateway.with_targets(group).target_ports == {}


def test_our_hook_is_put_and_read_back(stack, gateway):
    gateway.put_hook(PUT)
    assert gateway.with_hook(Group("mx"), 7) == Group("mx", hook=Hook("ABANDON", 900), hooked_since=7)


def test_without_our_hook_no_time_of_it_counts(stack, gateway):
    stack.client("autoscaling").put_lifecycle_hook(
        AutoScalingGroupName="mx", LifecycleHookName="theirs", LifecycleTransition="autoscaling:EC2_INSTANCE_LAUNCHING"
    )
    assert gateway.with_hook(Group("mx"), 7) == Group("mx")


def test_a_hook_that_does_not_show_is_said_so(stack, gateway, monkeypatch):
    monkeypatch.setattr(stack.client("autoscaling"), "put_lifecycle_hook", lambda **_: None)
    with pytest.raises(NotReadBack, match="hook smtp-fleet of group mx"):
        gateway.put_hook(PUT)


def test_a_launch_is_let_go_once(stack, gateway):
    gateway.put_hook(PUT)
    [instance] = stack.scale(1)
    assert stack.states() == {instance: "Pending:Wait"}
    assert gateway.complete("mx", instance, "CONTINUE") is True
    assert stack.states() == {instance: "InService"}
    assert gateway.complete("mx", instance, "CONTINUE") is False


def test_no_active_action_on_an_instance_that_waits_is_an_error_worth_a_retry(stack, gateway, monkeypatch):
    gateway.put_hook(PUT)
    [instance] = stack.scale(1)
    error = stack.client("autoscaling").exceptions.ClientError(
        {"Error": {"Code": "ValidationError", "Message": "No active Lifecycle Action found"}}, "CompleteLifecycleAction"
    )

    def transient(**_):
        raise error

    monkeypatch.setattr(stack.client("autoscaling"), "complete_lifecycle_action", transient)
    with pytest.raises(stack.client("autoscaling").exceptions.ClientError, match="No active"):
        gateway.complete("mx", instance, "CONTINUE")


def test_a_launch_is_held_on_as_long_as_it_waits(stack, gateway):
    gateway.put_hook(PUT)
    [instance] = stack.scale(1)
    assert gateway.hold("mx", instance) is True
    gateway.complete("mx", instance, "CONTINUE")
    assert gateway.hold("mx", instance) is False


@pytest.mark.parametrize("code", ["Throttling", "ThrottlingException", "RequestLimitExceeded"])
def test_a_spent_rate_is_told_apart(stack, gateway, monkeypatch, code):
    def throttled(**_):
        raise ClientError({"Error": {"Code": code, "Message": "Rate exceeded"}}, "CompleteLifecycleAction")

    for call in ("complete_lifecycle_action", "record_lifecycle_action_heartbeat"):
        monkeypatch.setattr(stack.client("autoscaling"), call, throttled)
    with pytest.raises(Throttled):
        gateway.complete("mx", "i-0123456789abcdef0", "CONTINUE")
    with pytest.raises(Throttled):
        gateway.hold("mx", "i-0123456789abcdef0")


@pytest.mark.parametrize(
    ("launches", "told"),
    [
        ({"LaunchTemplate": {"LaunchTemplateId": "lt-1", "Version": "7"}}, "lt-1 7"),
        ({"LaunchConfigurationName": "mx-2026"}, "mx-2026"),
        (
            {"MixedInstancesPolicy": {"LaunchTemplate": {"LaunchTemplateSpecification": {"LaunchTemplateId": "lt-2"}}}},
            "lt-2 ",
        ),
        ({}, ""),
    ],
)
def test_what_a_group_launches_is_told(stack, gateway, monkeypatch, launches, told):
    pages = [{"AutoScalingGroups": [{"AutoScalingGroupName": "mx", **launches}]}]
    paginator = type("Paginator", (), {"paginate": lambda self, **_: pages})
    monkeypatch.setattr(stack.client("autoscaling"), "get_paginator", lambda name: paginator())
    assert [group.configuration for group in gateway.all()] == [told]


def test_a_group_that_is_gone_has_no_hook_and_takes_none_off(stack, gateway):
    """DescribeLifecycleHooks and DeleteLifecycleHook refuse a group that is not there (ValidationError)."""
    assert gateway.with_hook(Group("gone"), 7) == Group("gone")
    gateway.delete_hook("gone")
