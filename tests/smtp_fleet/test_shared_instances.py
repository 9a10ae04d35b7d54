"""Balancers that share instances without sharing a group are one fleet, and nobody lets go of what another sends to."""

import pytest

from local.strict import ssm as agents
from tests.smtp_fleet.test_changes_of_others import SENDING, Hosts, deregister, live, register


@pytest.fixture
def hosts(stack):
    return Hosts(stack)


@pytest.mark.parametrize("how", ["deleted", "detached"])
def test_a_group_that_left_keeps_the_instances_that_another_balancer_sends_to(hosts, how):
    stack = hosts.stack
    instances = live(hosts, SENDING)
    stack.balancer("mx-2", tag="enabled")
    register(stack, *instances, name="mx-2")
    hosts.steps(6)
    assert stack.policies("mx-2") == {25: ["EnableProxyProtocol"]}
    stack.now += 100
    if how == "deleted":
        stack.client("elb").delete_load_balancer(LoadBalancerName="mx-1")
    else:
        stack.client("autoscaling").detach_load_balancers(AutoScalingGroupName="mx", LoadBalancerNames=["mx-1"])
    hosts.steps(14)
    assert hosts.all_expect(*instances)


def test_an_instance_of_one_balancers_group_that_another_feeds_is_of_both_fleets(hosts):
    """Its own balancer was never given it, or it is in Standby; to switch that one off must not reach it."""
    stack = hosts.stack
    stack.balancer()
    stack.group()
    first, second = stack.scale(2)
    for instance in (first, second):
        agents.register_agent(instance)
    deregister(stack, second)
    stack.balancer("mx-2", tag="enabled")
    register(stack, second, name="mx-2")
    hosts.steps(20)
    assert stack.policies("mx-2") == {25: ["EnableProxyProtocol"]}
    stack.tag("disabled")
    for _ in range(10):
        stack.wake("mx-1")
        stack.hand().work(stack.received("asks"))
        assert agents.drain(5)
        stack.now += 10
    assert hosts.all_expect(second)
    assert stack.policies("mx-2") == {25: ["EnableProxyProtocol"]}
