"""The gateway to classic ELB: AWS's limits, refusals and disappearances, translated and not judged."""

from dataclasses import replace

import pytest

from smtp_fleet.actions import SetPolicies
from smtp_fleet.elb import LoadBalancers
from smtp_fleet.faults import NotReadBack
from smtp_fleet.fleet import Listener
from smtp_fleet.tag import Tags

KEY = "smtp-proxy-protocol"
ATTACH = SetPolicies("mx-1", 25, ("EnableProxyProtocol",), sends=True, create="EnableProxyProtocol")


@pytest.fixture
def gateway(stack):
    return LoadBalancers(stack.client("elb"), stack.client("resourcegroupstaggingapi"))


def test_a_balancer_is_read_with_protocols_in_capitals(stack, gateway):
    stack.balancer()
    [balancer] = gateway.read(["mx-1"])
    assert balancer.listeners == (Listener(25, "TCP", 25, "TCP"),)


def test_names_that_are_gone_do_not_hide_the_others(stack, gateway):
    stack.balancer("mx-1")
    stack.balancer("mx-2", tag=None)
    assert [b.name for b in gateway.read(["gone", "mx-1", "mx-2"])] == ["mx-1", "mx-2"]
    assert gateway.tags(["gone", "mx-1", "mx-2"], KEY) == {"mx-1": Tags("enabled"), "mx-2": Tags()}


def test_tags_are_read_twenty_names_a_call(stack, gateway, calls):
    for n in range(21):
        stack.balancer(f"mx-{n}")
    calls.clear()
    assert len(gateway.tags([f"mx-{n}" for n in range(21)], KEY)) == 21
    assert calls == ["elb:DescribeTags"] * 2


def test_balancers_are_read_four_hundred_names_a_call(stack, gateway, calls):
    """A call tells of no more, whoever is named: the four hundred and first would look as if it were gone."""
    names = [f"mx-{n}" for n in range(401)]
    for name in names:
        stack.balancer(name, tag=None)
    calls.clear()
    assert {b.name for b in gateway.read(names)} == set(names)
    assert calls == ["elb:DescribeLoadBalancers"] * 2


def test_only_classic_balancers_are_found_by_tag(stack, gateway):
    stack.balancer("mx-1", tag="25 587")
    ec2 = stack.client("ec2")
    subnets = [s["SubnetId"] for s in ec2.describe_subnets()["Subnets"][:2]]
    stack.client("elbv2").create_load_balancer(
        Name="net-1", Type="network", Subnets=subnets, Tags=[{"Key": KEY, "Value": "enabled"}]
    )
    assert gateway.tagged(KEY) == {"mx-1": Tags("25 587")}


def test_a_policy_is_a_proxy_policy_by_type_and_attribute_not_by_name(stack, gateway):
    stack.balancer()
    for name, value in (("foreign", "True"), ("EnableProxyProtocol", "false")):
        stack.client("elb").create_load_balancer_policy(
            LoadBalancerName="mx-1",
            PolicyName=name,
            PolicyTypeName="ProxyProtocolPolicyType",
            PolicyAttributes=[{"AttributeName": "ProxyProtocol", "AttributeValue": value}],
        )
    [balancer] = gateway.read(["mx-1"])
    assert balancer.policies == {"foreign", "EnableProxyProtocol"}
    assert balancer.proxy_policies == {"foreign"}


def test_a_policy_that_somebody_created_meanwhile_is_used_if_it_fits(stack, gateway):
    stack.balancer()
    for value in ("True", "true"):
        stack.client("elb").create_load_balancer_policy(
            LoadBalancerName="mx-1",
            PolicyName="EnableProxyProtocol",
            PolicyTypeName="ProxyProtocolPolicyType",
            PolicyAttributes=[{"AttributeName": "ProxyProtocol", "AttributeValue": value}],
        ) if value == "True" else gateway.apply("mx-1", [ATTACH])
    assert stack.policies() == {25: ["EnableProxyProtocol"]}


def test_a_policy_of_our_name_that_is_something_else_is_never_attached(stack, gateway):
    stack.balancer()
    stack.client("elb").create_load_balancer_policy(
        LoadBalancerName="mx-1",
        PolicyName="EnableProxyProtocol",
        PolicyTypeName="PublicKeyPolicyType",
        PolicyAttributes=[{"AttributeName": "PublicKey", "AttributeValue": "x"}],
    )
    with pytest.raises(stack.client("elb").exceptions.DuplicatePolicyNameException):
        gateway.apply("mx-1", [ATTACH])
    assert stack.policies() == {}


def test_two_ports_are_one_policy_and_one_read_back(stack, gateway, calls):
    stack.balancer()
    listener = {"Protocol": "TCP", "LoadBalancerPort": 587, "InstancePort": 587}
    stack.client("elb").create_load_balancer_listeners(LoadBalancerName="mx-1", Listeners=[listener])
    calls.clear()
    gateway.apply("mx-1", [ATTACH, replace(ATTACH, port=587)])
    assert [call.removeprefix("elb:") for call in calls] == [
        "CreateLoadBalancerPolicy",
        "SetLoadBalancerPoliciesForBackendServer",
        "SetLoadBalancerPoliciesForBackendServer",
        "DescribeLoadBalancers",
    ]
    assert stack.policies() == {25: ["EnableProxyProtocol"], 587: ["EnableProxyProtocol"]}


def test_a_write_that_does_not_show_is_said_so(stack, gateway, monkeypatch):
    stack.balancer()
    monkeypatch.setattr(stack.client("elb"), "set_load_balancer_policies_for_backend_server", lambda **_: None)
    with pytest.raises(NotReadBack, match="instance port 25 of mx-1"):
        gateway.apply("mx-1", [ATTACH])


def test_the_sweep_reads_only_what_is_tagged_or_has_policies(stack, gateway):
    for name in ("mx-1", "mx-2", "web"):
        stack.balancer(name)
    gateway.apply("mx-1", [ATTACH])
    assert [b.name for b in gateway.read_all(["mx-2"], "EnableProxyProtocol")] == ["mx-1", "mx-2"]
