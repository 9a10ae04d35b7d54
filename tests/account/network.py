"""The network around the instances, which never changes: who may reach a host is told, and nobody depends on it."""

from __future__ import annotations

from typing import Any

from tests.account.wire import Refused

HOSTS, BALANCERS, SUBNET, PREFIXES = (f"{kind}-{1:017x}" for kind in ("sg", "sg-b", "subnet", "pl"))


class Network:
    """One subnet with the default ACL, a security group of the hosts that lets balancers and a prefix list in."""

    operations = (
        "DescribeNetworkAcls",
        "DescribeNetworkInterfaces",
        "DescribeSecurityGroupRules",
        "GetManagedPrefixListEntries",
    )

    def describe_network_acls(self, *, Filters: list[dict[str, Any]]) -> Any:
        return {"NetworkAcls": [{"NetworkAclId": "acl-1", "IsDefault": True}] if SUBNET in _values(Filters) else []}

    def describe_network_interfaces(self, *, Filters: list[dict[str, Any]]) -> Any:
        told = {"NetworkInterfaceId": "eni-1", "Description": "ELB mx-1", "Groups": [{"GroupId": BALANCERS}]}
        return {"NetworkInterfaces": [told] if BALANCERS in _values(Filters) else []}

    def describe_security_group_rules(self, *, Filters: list[dict[str, Any]]) -> Any:
        common = {"GroupId": HOSTS, "IsEgress": False, "IpProtocol": "tcp", "FromPort": 25, "ToPort": 25}
        told = [
            common | {"SecurityGroupRuleId": "sgr-1", "ReferencedGroupInfo": {"GroupId": BALANCERS}},
            common | {"SecurityGroupRuleId": "sgr-2", "PrefixListId": PREFIXES},
        ]
        return {"SecurityGroupRules": told if HOSTS in _values(Filters) else []}

    def get_managed_prefix_list_entries(self, *, PrefixListId: str) -> Any:
        if PrefixListId != PREFIXES:
            raise Refused("InvalidPrefixListID.NotFound", f"The prefix list {PrefixListId} does not exist")
        return {"Entries": [{"Cidr": "192.0.2.0/24"}]}


def _values(filters: list[dict[str, Any]]) -> list[str]:
    return [value for told in filters for value in told["Values"]]
