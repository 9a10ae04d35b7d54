"""Classic load balancers with the refusals of AWS, their tags, and the little of elbv2 that is asked for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from local.strict.elb import MOST_POLICIES, POLICY_TYPES
from tests.account.network import BALANCERS
from tests.account.wire import Refused, page

if TYPE_CHECKING:
    from tests.account.account import Account

Listeners = list[dict[str, Any]]


@dataclass
class Policy:
    """A policy: its type, and its attributes in the order of their names."""

    kind: str
    attributes: tuple[tuple[str, str], ...]


@dataclass
class Balancer:
    """A load balancer; `on` are the policies on each instance port, `indexed` the tags that the tagging API shows."""

    name: str
    listeners: dict[int, dict[str, Any]] = field(default_factory=dict)
    policies: dict[str, Policy] = field(default_factory=dict)
    on: dict[int, list[str]] = field(default_factory=dict)
    instances: dict[str, None] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    indexed: dict[str, str] = field(default_factory=dict)


class ClassicBalancers:
    """The classic load balancers of the account."""

    operations = (
        "CreateLoadBalancer",
        "DeleteLoadBalancer",
        "CreateLoadBalancerListeners",
        "DeleteLoadBalancerListeners",
        "DescribeLoadBalancers",
        "DescribeLoadBalancerAttributes",
        "AddTags",
        "RemoveTags",
        "DescribeTags",
        "CreateLoadBalancerPolicy",
        "DeleteLoadBalancerPolicy",
        "DescribeLoadBalancerPolicies",
        "SetLoadBalancerPoliciesForBackendServer",
        "RegisterInstancesWithLoadBalancer",
        "DeregisterInstancesFromLoadBalancer",
    )

    def __init__(self, account: Account) -> None:
        self._account = account
        self.balancers: dict[str, Balancer] = {}

    def _find(self, name: str) -> Balancer:
        if name not in self.balancers:
            raise Refused("LoadBalancerNotFound", f"There is no ACTIVE Load Balancer named '{name}'")
        return self.balancers[name]

    # ---- balancers and listeners

    def create_load_balancer(
        self, *, LoadBalancerName: str, Listeners: Listeners, AvailabilityZones: Any = (), Tags: Any = ()
    ) -> Any:
        if LoadBalancerName in self.balancers:
            raise Refused("DuplicateLoadBalancerName", f"The name already exists for this account: {LoadBalancerName}")
        self.balancers[LoadBalancerName] = Balancer(LoadBalancerName)
        self.create_load_balancer_listeners(LoadBalancerName=LoadBalancerName, Listeners=Listeners)
        if Tags:
            self.add_tags(LoadBalancerNames=[LoadBalancerName], Tags=Tags)
        return {"DNSName": f"{LoadBalancerName}.us-east-1.elb.amazonaws.com"}

    def delete_load_balancer(self, *, LoadBalancerName: str) -> Any:
        self.balancers.pop(LoadBalancerName, None)
        return {}

    def create_load_balancer_listeners(self, *, LoadBalancerName: str, Listeners: Listeners) -> Any:
        balancer = self._find(LoadBalancerName)
        for listener in Listeners:
            front = listener["Protocol"].upper()
            told = {
                "Protocol": front,
                "LoadBalancerPort": listener["LoadBalancerPort"],
                "InstanceProtocol": listener.get("InstanceProtocol", front).upper(),
                "InstancePort": listener["InstancePort"],
            }
            if balancer.listeners.setdefault(told["LoadBalancerPort"], told) != told:
                raise Refused("DuplicateListener", f"A listener already exists for {LoadBalancerName} with other rules")
        return {}

    def delete_load_balancer_listeners(self, *, LoadBalancerName: str, LoadBalancerPorts: list[int]) -> Any:
        # The policies on an instance port outlive its listener.
        balancer = self._find(LoadBalancerName)
        for port in LoadBalancerPorts:
            balancer.listeners.pop(port, None)
        return {}

    def describe_load_balancers(
        self, *, LoadBalancerNames: Iterable[str] = (), PageSize: int = 400, Marker: str = ""
    ) -> Any:
        if not 1 <= PageSize <= 400:
            raise Refused("ValidationError", "PageSize must be between 1 and 400")
        names = list(LoadBalancerNames)
        found = [self._find(name) for name in names] if names else list(self.balancers.values())
        shown, marker = page(found, PageSize, Marker, "ValidationError")
        told = {"LoadBalancerDescriptions": [_described(balancer) for balancer in shown]}
        return told | ({"NextMarker": marker} if marker else {})

    def describe_load_balancer_attributes(self, *, LoadBalancerName: str) -> Any:
        self._find(LoadBalancerName)
        told = {"ConnectionSettings": {"IdleTimeout": 60}, "ConnectionDraining": {"Enabled": False}}
        return {"LoadBalancerAttributes": told}

    # ---- policies

    def create_load_balancer_policy(
        self, *, LoadBalancerName: str, PolicyName: str, PolicyTypeName: str, PolicyAttributes: Any = ()
    ) -> Any:
        balancer = self._find(LoadBalancerName)
        attributes = sorted((a["AttributeName"], a.get("AttributeValue", "")) for a in PolicyAttributes)
        wanted = Policy(PolicyTypeName, tuple(attributes))
        _check_policy(PolicyName, wanted)
        if balancer.policies.get(PolicyName, wanted) != wanted:
            raise Refused("DuplicatePolicyName", f"Policy Name [{PolicyName}] already exists")
        if len(balancer.policies) >= MOST_POLICIES and PolicyName not in balancer.policies:
            raise Refused("TooManyPolicies", f"{LoadBalancerName} has {len(balancer.policies)} policies")
        balancer.policies[PolicyName] = wanted
        return {}

    def delete_load_balancer_policy(self, *, LoadBalancerName: str, PolicyName: str) -> Any:
        balancer = self._find(LoadBalancerName)
        if any(PolicyName in on for on in balancer.on.values()):
            raise Refused("InvalidConfigurationRequest", f"You cannot delete policy {PolicyName}: it is in use")
        balancer.policies.pop(PolicyName, None)
        return {}

    def describe_load_balancer_policies(self, *, LoadBalancerName: str, PolicyNames: Iterable[str] = ()) -> Any:
        balancer = self._find(LoadBalancerName)
        names = list(PolicyNames)
        for missing in set(names) - balancer.policies.keys():
            raise Refused("PolicyNotFound", f"There is no policy with name {missing} for {LoadBalancerName}")
        return {
            "PolicyDescriptions": [
                {
                    "PolicyName": name,
                    "PolicyTypeName": policy.kind,
                    "PolicyAttributeDescriptions": [
                        {"AttributeName": key, "AttributeValue": value} for key, value in policy.attributes
                    ],
                }
                for name, policy in balancer.policies.items()
                if not names or name in names
            ]
        }

    def set_load_balancer_policies_for_backend_server(
        self, *, LoadBalancerName: str, InstancePort: int, PolicyNames: list[str]
    ) -> Any:
        balancer = self._find(LoadBalancerName)
        for missing in set(PolicyNames) - balancer.policies.keys():
            raise Refused("PolicyNotFound", f"There is no policy with name {missing} for {LoadBalancerName}")
        if any("CookieStickiness" in balancer.policies[name].kind for name in PolicyNames):
            raise Refused("InvalidConfigurationRequest", "A cookie policy is for listeners")
        if PolicyNames and all(x["InstancePort"] != InstancePort for x in balancer.listeners.values()):
            raise Refused("InvalidConfigurationRequest", f"No listener has instance port {InstancePort}")
        if PolicyNames:
            balancer.on[InstancePort] = list(PolicyNames)
        else:
            balancer.on.pop(InstancePort, None)
        return {}

    # ---- tags

    def add_tags(self, *, LoadBalancerNames: list[str], Tags: list[dict[str, str]]) -> Any:
        balancer = self._find(_only(LoadBalancerNames))
        for reserved in [tag["Key"] for tag in Tags if tag["Key"].lower().startswith("aws:")]:
            raise Refused("ValidationError", f"The prefix of the tag key {reserved} is reserved")
        balancer.tags |= {tag["Key"]: tag.get("Value", "") for tag in Tags}
        self._index(balancer)
        return {}

    def remove_tags(self, *, LoadBalancerNames: list[str], Tags: list[dict[str, str]]) -> Any:
        balancer = self._find(_only(LoadBalancerNames))
        for tag in Tags:
            balancer.tags.pop(tag["Key"], None)
        self._index(balancer)
        return {}

    def _index(self, balancer: Balancer) -> None:
        tags = dict(balancer.tags)
        self._account.clock.after(self._account.pace.tagged, lambda: setattr(balancer, "indexed", tags))

    def describe_tags(self, *, LoadBalancerNames: list[str]) -> Any:
        if len(LoadBalancerNames) > 20:
            raise Refused("ValidationError", "LoadBalancerNames must have at most 20 members")
        found = [self._find(name) for name in LoadBalancerNames]
        return {"TagDescriptions": [{"LoadBalancerName": b.name, "Tags": _tags(b.tags)} for b in found]}

    # ---- instances

    def register_instances_with_load_balancer(self, *, LoadBalancerName: str, Instances: list[dict[str, str]]) -> Any:
        balancer, ids = self._find(LoadBalancerName), [i["InstanceId"] for i in Instances]
        for unknown in [i for i in ids if i not in self._account.ec2.instances]:
            raise Refused("InvalidInstance", f"Could not find EC2 instance {unknown}.")
        self.register([LoadBalancerName], ids)
        return {"Instances": _instances(balancer)}

    def deregister_instances_from_load_balancer(self, *, LoadBalancerName: str, Instances: list[dict[str, str]]) -> Any:
        balancer = self._find(LoadBalancerName)
        self.deregister([LoadBalancerName], [i["InstanceId"] for i in Instances])
        return {"Instances": _instances(balancer)}

    def register(self, balancers: Iterable[str], instances: Iterable[str]) -> None:
        """Have instances behind those of the balancers that exist."""
        for balancer in [self.balancers[name] for name in balancers if name in self.balancers]:
            balancer.instances |= dict.fromkeys(instances)

    def deregister(self, balancers: Iterable[str], instances: Iterable[str]) -> None:
        """Have instances behind none of the balancers."""
        for balancer in [self.balancers[name] for name in balancers if name in self.balancers]:
            for instance in instances:
                balancer.instances.pop(instance, None)


class Tagging:
    """The tagging API over the classic load balancers."""

    operations = ("GetResources",)

    def __init__(self, balancers: ClassicBalancers) -> None:
        self._balancers = balancers

    def get_resources(
        self,
        *,
        TagFilters: list[dict[str, Any]],
        ResourceTypeFilters: list[str],
        ResourcesPerPage: int = 100,
        PaginationToken: str = "",
    ) -> Any:
        keys = [told["Key"] for told in TagFilters]
        assert ResourceTypeFilters == ["elasticloadbalancing:loadbalancer"]
        found = [b for b in self._balancers.balancers.values() if all(key in b.indexed for key in keys)]
        shown, token = page(found, ResourcesPerPage, PaginationToken, "PaginationTokenExpiredException")
        arn = "arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/"
        return {
            "PaginationToken": token,
            "ResourceTagMappingList": [{"ResourceARN": arn + b.name, "Tags": _tags(b.indexed)} for b in shown],
        }


class TargetGroups:
    """The target groups of the account, by name and port."""

    operations = ("CreateTargetGroup", "DescribeTargetGroups")

    def __init__(self) -> None:
        self._ports: dict[str, int] = {}

    def create_target_group(self, *, Name: str, Port: int, Protocol: str = "TCP", VpcId: str = "") -> Any:
        self._ports.setdefault(Name, Port)
        return self.describe_target_groups(TargetGroupArns=[_target_arn(Name)])

    def describe_target_groups(self, *, TargetGroupArns: list[str]) -> Any:
        names = {_target_arn(name): name for name in self._ports}
        for missing in [arn for arn in TargetGroupArns if arn not in names]:
            raise Refused("TargetGroupNotFound", f"One or more target groups not found: {missing}")
        found = [(arn, names[arn]) for arn in TargetGroupArns]
        return {
            "TargetGroups": [
                {"TargetGroupArn": arn, "TargetGroupName": name, "Port": self._ports[name]} for arn, name in found
            ]
        }


def _target_arn(name: str) -> str:
    return f"arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/{name}/50dc6c495c0c9188"


def _check_policy(name: str, policy: Policy) -> None:
    if not re.fullmatch("[A-Za-z0-9-]+", name):
        raise Refused("ValidationError", f"The policy name {name} may hold letters, digits and hyphens only")
    if policy.kind not in POLICY_TYPES:
        raise Refused("PolicyTypeNotFound", f"There is no policy type {policy.kind}")
    fits = [(key, value.lower()) for key, value in policy.attributes]
    if policy.kind == "ProxyProtocolPolicyType" and fits not in (
        [("ProxyProtocol", "true")],
        [("ProxyProtocol", "false")],
    ):
        raise Refused("InvalidConfigurationRequest", "ProxyProtocolPolicyType takes ProxyProtocol, true or false")


def _only(names: list[str]) -> str:
    if len(names) > 1:
        raise Refused("ValidationError", "LoadBalancerNames must have exactly one member")
    return names[0]


def _tags(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def _instances(balancer: Balancer) -> list[dict[str, str]]:
    return [{"InstanceId": instance} for instance in balancer.instances]


_KINDS = {
    "AppCookieStickinessPolicyType": "AppCookieStickinessPolicies",
    "LBCookieStickinessPolicyType": "LBCookieStickinessPolicies",
}


def _described(balancer: Balancer) -> dict[str, Any]:
    policies: dict[str, list[Any]] = {kind: [] for kind in (*_KINDS.values(), "OtherPolicies")}
    for name, policy in balancer.policies.items():
        kind = _KINDS.get(policy.kind)
        policies[kind or "OtherPolicies"].append({"PolicyName": name} if kind else name)
    return {
        "LoadBalancerName": balancer.name,
        "ListenerDescriptions": [{"Listener": dict(told), "PolicyNames": []} for told in balancer.listeners.values()],
        "Policies": policies,
        "BackendServerDescriptions": [
            {"InstancePort": port, "PolicyNames": list(names)} for port, names in balancer.on.items()
        ],
        "Instances": _instances(balancer),
        "SecurityGroups": [BALANCERS],
    }
