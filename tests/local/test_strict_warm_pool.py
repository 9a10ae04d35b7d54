"""Warm pools as AWS keeps them (Auto Scaling user guide, warm pools and their lifecycle hooks)."""

import pytest

from local.strict import listen
from tests.local.test_strict_autoscaling import HOOK, group  # noqa: F401

MAIL = {"AutoScalingGroupName": "mail"}


@pytest.fixture
def pool(aws):
    """Gives the states of the pool's instances."""

    def read():
        pages = aws("autoscaling").get_paginator("describe_warm_pool").paginate(**MAIL)
        return {each["InstanceId"]: each["LifecycleState"] for page in pages for each in page["Instances"]}

    return read


def moves(events):
    return [
        (each.detail["Origin"], each.detail["Destination"], each.detail["LifecycleActionToken"])
        for each in events
        if each.detail_type == "EC2 Instance-launch Lifecycle Action"
    ]


def test_the_pool_is_launched_through_the_hook_and_leaves_through_it_with_a_new_token(launch, group, pool, aws):  # noqa: F811
    """Warmed:Pending:Wait from EC2 to WarmPool, Warmed:Stopped, then Pending:Wait from WarmPool to AutoScalingGroup:
    the same instance, a new token (recorded events); the pool is filled again."""
    events = []
    launch(0, hooks=[HOOK])
    with listen(events.append):
        group.client.put_warm_pool(**MAIL, MinSize=1)
        [(instance, state)] = pool().items()
        assert (state, group.states, moves(events)[0][:2]) == ("Warmed:Pending:Wait", {}, ("EC2", "WarmPool"))
        group.complete(InstanceId=instance)
        assert pool() == {instance: "Warmed:Stopped"}
        [told] = group.client.describe_auto_scaling_instances()["AutoScalingInstances"]
        assert (told["InstanceId"], told["LifecycleState"]) == (instance, "Warmed:Stopped")
        [[machine]] = [r["Instances"] for r in aws("ec2").describe_instances()["Reservations"]]
        assert machine["State"]["Name"] == "stopped"
        group.client.set_desired_capacity(**MAIL, DesiredCapacity=1)
        assert (group.states, group.registered()) == ({instance: "Pending:Wait"}, set())
    first, second, refill = moves(events)
    assert (second[:2], refill[:2]) == (("WarmPool", "AutoScalingGroup"), ("EC2", "WarmPool"))
    assert first[2] != second[2]
    assert [*pool().values()] == ["Warmed:Pending:Wait"]
    assert instance not in pool()
    group.complete(LifecycleActionToken=second[2])
    assert (group.states, group.registered()) == ({instance: "InService"}, {instance})


def test_without_a_hook_the_pool_rests_at_once_and_is_taken_first(launch, group, pool):  # noqa: F811
    """Scale-out takes from the pool, then launches what is missing (Auto Scaling user guide, warm pools)."""
    launch(0)
    group.client.put_warm_pool(**MAIL, MinSize=2)
    warm = pool()
    assert set(warm.values()) == {"Warmed:Stopped"}
    group.client.set_desired_capacity(**MAIL, DesiredCapacity=3)
    assert set(warm) < set(group.states)
    assert set(group.states.values()) == {"InService"}
    assert len(pool()) == 2


def test_one_abandoned_on_its_way_into_the_pool_is_replaced(launch, group, pool):  # noqa: F811
    """ABANDON terminates it, and the pool is filled again (Auto Scaling user guide, warm pool lifecycle hooks)."""
    launch(0, hooks=[HOOK])
    group.client.put_warm_pool(**MAIL, MinSize=1)
    [instance] = pool()
    group.complete("ABANDON", InstanceId=instance)
    assert [*pool().values()] == ["Warmed:Pending:Wait"]
    assert instance not in pool()


def test_a_deleted_pool_takes_its_instances_along(launch, group, pool, aws):  # noqa: F811
    """DeleteWarmPool deletes the pool with all of its instances; the group's own stay (API reference)."""
    launch(1)
    group.client.put_warm_pool(**MAIL, MinSize=1)
    [instance] = pool()
    group.client.delete_warm_pool(**MAIL)
    assert pool() == {}
    [[machine]] = [r["Instances"] for r in aws("ec2").describe_instances(InstanceIds=[instance])["Reservations"]]
    assert machine["State"]["Name"] == "terminated"
    assert [*group.states.values()] == ["InService"]
    [described] = group.client.describe_auto_scaling_groups()["AutoScalingGroups"]
    assert "WarmPoolConfiguration" not in described


def test_the_pool_of_a_missing_group_is_refused_and_pages_are_of_fifty(launch, group, pool, refused):  # noqa: F811
    """ValidationError; MaxRecords: "The maximum value is 50" (botocore autoscaling/2011-01-01, DescribeWarmPool)."""
    launch(0)
    describe = group.client.describe_warm_pool
    assert refused(describe, AutoScalingGroupName="gone") == ("ValidationError", 400)
    assert refused(group.client.put_warm_pool, **MAIL, PoolState="Warm") == ("ValidationError", 400)
    assert refused(describe, **MAIL, MaxRecords=51) == ("ValidationError", 400)
    assert refused(describe, **MAIL, NextToken="bad") == ("InvalidNextToken", 400)
    group.client.put_warm_pool(**MAIL, MinSize=51)
    page = describe(**MAIL)
    assert (len(page["Instances"]), len(pool())) == (50, 51)
