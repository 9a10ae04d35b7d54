"""The gateway to EC2: the root volume tells machines apart."""

from smtp_fleet.ec2 import Instances


def test_each_instance_has_its_root_volume_and_launch_time(stack):
    stack.balancer()
    stack.group()
    first, second = stack.scale(2)
    roots = Instances(stack.client("ec2")).roots([first, second, "i-0123456789abcdef0"])
    assert set(roots) == {first, second}
    assert roots[first].volume.startswith("vol-")
    assert roots[first].volume != roots[second].volume
    assert roots[first].launched_at > 1_600_000_000


def test_no_instances_are_no_call(stack, calls):
    assert Instances(stack.client("ec2")).roots([]) == {}
    assert calls == []


def test_an_instance_without_its_root_volume_yet_has_none(stack, monkeypatch):
    stack.balancer()
    stack.group()
    [instance] = stack.scale(1)
    pages = list(stack.client("ec2").get_paginator("describe_instances").paginate())
    for reservation in pages[0]["Reservations"]:
        for described in reservation["Instances"]:
            described["BlockDeviceMappings"] = []

    class Paginator:
        def paginate(self, **_):
            return pages

    monkeypatch.setattr(stack.client("ec2"), "get_paginator", lambda _: Paginator())
    assert Instances(stack.client("ec2")).roots([instance])[instance].volume == ""
