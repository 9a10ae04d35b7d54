"""The gateway to what is around a fleet: who carries which group, which of these are balancers, and network ACLs."""

from smtp_fleet.around import Around
from smtp_fleet.evidence import Machine, Record
from smtp_fleet.fleet import Fleet, LoadBalancer, Member


def around(stack, instance, *groups):
    balancer = LoadBalancer("mx-1", security_groups=frozenset(groups))
    return Around(stack.client("ec2")).of(Fleet(0, (balancer,), {}, members=(Member(Record(Machine(instance, "v"))),)))


def interface(stack, group, description):
    ec2 = stack.client("ec2")
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    made = ec2.create_network_interface(SubnetId=subnet, Groups=[group], Description=description)
    return made["NetworkInterface"]["NetworkInterfaceId"]


def test_a_balancer_is_known_by_how_its_interface_is_described(stack):
    """User guide: `ELB` and its name; of a v2 balancer `ELB app/...` or `ELB net/...`."""
    stack.balancer()
    stack.group()
    [instance] = stack.scale(1)
    [described] = stack.client("elb").describe_load_balancers(LoadBalancerNames=["mx-1"])["LoadBalancerDescriptions"]
    [group] = described["SecurityGroups"]
    others = {interface(stack, group, text) for text in ("ELB net/mx/0123456789abcdef", "ELB app/x/1", "a host", "")}
    found = around(stack, instance, group)
    assert others < found.carriers[group]
    [own] = found.carriers[group] - others
    assert found.balancer_interfaces == {own}


def test_the_groups_of_an_instance_are_those_of_its_interfaces_too(stack):
    stack.balancer()
    stack.group()
    [instance] = stack.scale(1)
    ec2 = stack.client("ec2")
    [default] = ec2.describe_security_groups(GroupNames=["default"])["SecurityGroups"]
    assert around(stack, instance).host_groups == {instance: {default["GroupId"]}}


def test_a_network_acl_that_is_not_the_default_one_is_a_note(stack):
    stack.balancer()
    stack.group()
    [instance] = stack.scale(1)
    assert around(stack, instance).acl_notes == ()
    ec2 = stack.client("ec2")
    [reservation] = ec2.describe_instances(InstanceIds=[instance])["Reservations"]
    [host] = reservation["Instances"]
    acl = ec2.create_network_acl(VpcId=host["VpcId"])["NetworkAcl"]["NetworkAclId"]
    [old] = ec2.describe_network_acls(Filters=[{"Name": "association.subnet-id", "Values": [host["SubnetId"]]}])[
        "NetworkAcls"
    ]
    [place] = [a["NetworkAclAssociationId"] for a in old["Associations"] if a["SubnetId"] == host["SubnetId"]]
    ec2.replace_network_acl_association(AssociationId=place, NetworkAclId=acl)
    assert around(stack, instance).acl_notes == (
        f"network ACL {acl} is not the default one: it may close some of these",
    )
