"""Classic load balancers and their tags: reads them as values, carries out `SetPolicies`, and decides nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from smtp_fleet.faults import NotReadBack
from smtp_fleet.fleet import Listener, LoadBalancer
from smtp_fleet.mend import Knobs
from smtp_fleet.tag import Tags, tags

if TYPE_CHECKING:  # who only reads starts without what there is to do
    from smtp_fleet.actions import SetPolicies

TAGS_PAGE = 20
"""DescribeTags takes at most 20 names (classic API reference, LoadBalancerNamesMax20)."""

PAGE = 400
"""DescribeLoadBalancers tells of at most 400 at once (classic API reference, PageSize), also of those it is named."""


class LoadBalancers:
    """The Region's classic load balancers."""

    def __init__(self, elb: Any, tagging: Any) -> None:
        self._elb = elb
        self._tagging = tagging

    def tags(self, names: Iterable[str], key: str) -> dict[str, Tags]:
        """What each of the named balancers that exist says by the tag and its companion."""
        return {
            one["LoadBalancerName"]: _tags(one["Tags"], key)
            for page in _pages(sorted(names), TAGS_PAGE)
            for one in self._each(page, self._describe_tags)
        }

    def tagged(self, key: str) -> dict[str, Tags]:
        """Every classic balancer with the tag, and what it says, by the tagging API (100 a page)."""
        pages = self._tagging.get_paginator("get_resources").paginate(
            TagFilters=[{"Key": key}], ResourceTypeFilters=["elasticloadbalancing:loadbalancer"]
        )
        found = {}
        for page in pages:
            for resource in page["ResourceTagMappingList"]:
                # v2 balancers come under the same type; only a classic ARN has nothing but a name after its type.
                kind, _, name = resource["ResourceARN"].rpartition(":")[2].partition("/")
                if kind == "loadbalancer" and "/" not in name:
                    found[name] = _tags(resource["Tags"], key)
        return found

    def read(self, names: Iterable[str]) -> list[LoadBalancer]:
        """The named balancers that exist, with the types of their policies."""
        return [
            self._load_balancer(described)
            for page in _pages(sorted(names), PAGE)
            for described in self._each(page, self._describe)
        ]

    def read_all(self, also: Iterable[str], own: str, near: frozenset[str] = frozenset()) -> list[LoadBalancer]:
        """Every balancer with a policy on an instance port, those in `also`, and who shares their instances or `near`.

        DescribeLoadBalancers tells policies by name only. Where the policy named `own` is the only one, and in use, its
        type is assumed: asking for it would cost a call a balancer. Who acts on it reads the balancer again.
        """
        wanted, every = frozenset(also), list(self._describe_all())
        served = near.union(*(_instances(d) for d in every if d["LoadBalancerName"] in wanted))
        return [
            self._load_balancer(d, own)
            for d in every
            if d["LoadBalancerName"] in wanted
            or any(b["PolicyNames"] for b in d.get("BackendServerDescriptions", ()))
            or served & _instances(d)
        ]

    def read_sharing(self, instances: frozenset[str], but: Iterable[str]) -> list[LoadBalancer]:
        """Every balancer, but those named, with which one of these instances is registered (`PAGE` a call)."""
        known = frozenset(but)
        return [
            self._load_balancer(d)
            for d in self._describe_all()
            if d["LoadBalancerName"] not in known and instances & _instances(d)
        ]

    def feeding(self, instances: frozenset[str]) -> dict[str, frozenset[str]]:
        """Every balancer with which one of these instances is registered, and which of them (`PAGE` a call)."""
        return {d["LoadBalancerName"]: fed for d in self._describe_all() if (fed := instances & _instances(d))}

    def _describe_all(self) -> Iterator[dict[str, Any]]:
        pages = self._elb.get_paginator("describe_load_balancers").paginate(PageSize=PAGE)
        return (d for page in pages for d in page["LoadBalancerDescriptions"])

    def apply(self, balancer: str, actions: Sequence[SetPolicies]) -> None:
        """Create the policy if told to, set each port's whole list, and read all back; raises NotReadBack."""
        for policy in sorted({action.create for action in actions} - {""}):
            self._create(balancer, policy)
        for action in actions:
            self._elb.set_load_balancer_policies_for_backend_server(
                LoadBalancerName=balancer, InstancePort=action.port, PolicyNames=list(action.policies)
            )
        [described] = self._describe([balancer])
        for action in actions:
            if set(_backend(described).get(action.port, ())) != set(action.policies):
                raise NotReadBack(f"policies on instance port {action.port} of {balancer}")

    def delete_policy(self, balancer: str, policy: str) -> None:
        """Delete a policy that is on no port; the API refuses one that is in use (InvalidConfigurationRequest)."""
        self._elb.delete_load_balancer_policy(LoadBalancerName=balancer, PolicyName=policy)

    def knobs(self, balancer: str) -> Knobs:
        """The attributes that decide about duplicates and broken sessions."""
        told = self._elb.describe_load_balancer_attributes(LoadBalancerName=balancer)["LoadBalancerAttributes"]
        idle = told.get("ConnectionSettings", {}).get("IdleTimeout", 60)
        return Knobs(int(idle), bool(told.get("ConnectionDraining", {}).get("Enabled")))

    def _create(self, balancer: str, policy: str) -> None:
        try:
            self._elb.create_load_balancer_policy(
                LoadBalancerName=balancer,
                PolicyName=policy,
                PolicyTypeName="ProxyProtocolPolicyType",
                PolicyAttributes=[{"AttributeName": "ProxyProtocol", "AttributeValue": "true"}],
            )
        except self._elb.exceptions.DuplicatePolicyNameException:
            # Somebody else created it since we looked; what it is shows when the types are read again.
            if policy not in self._proxy_policies(balancer):
                raise

    def _load_balancer(self, described: dict[str, Any], own: str = "") -> LoadBalancer:
        name, policies = described["LoadBalancerName"], described.get("Policies", {})
        names = frozenset(policies.get("OtherPolicies", ()))
        backend = _backend(described)
        assumed = names == {own} and any(own in on for on in backend.values())
        return LoadBalancer(
            name=name,
            listeners=tuple(_listener(x["Listener"]) for x in described["ListenerDescriptions"]),
            policies=names | {p["PolicyName"] for kind in _STICKY for p in policies.get(kind, ())},
            proxy_policies=names if assumed or not names else self._proxy_policies(name),
            backend=backend,
            assumed=assumed,
            instances=_instances(described),
            security_groups=frozenset(described.get("SecurityGroups", ())),
        )

    def _proxy_policies(self, balancer: str) -> frozenset[str]:
        """Told by type and attribute; DescribeLoadBalancers gives names only."""
        answer = self._elb.describe_load_balancer_policies(LoadBalancerName=balancer)
        return frozenset(p["PolicyName"] for p in answer["PolicyDescriptions"] if _speaks_proxy(p))

    def _describe(self, names: list[str]) -> list[dict[str, Any]]:
        answer = self._elb.describe_load_balancers(LoadBalancerNames=names)
        return list(answer["LoadBalancerDescriptions"])

    def _describe_tags(self, names: list[str]) -> list[dict[str, Any]]:
        return list(self._elb.describe_tags(LoadBalancerNames=names)["TagDescriptions"])

    def _each(self, names: list[str], describe: Any) -> list[dict[str, Any]]:
        """One call for all; if one of them is gone, which fails the whole call, one call each."""
        try:
            return list(describe(names))
        except self._elb.exceptions.AccessPointNotFoundException:
            if len(names) == 1:
                return []
            return [one for name in names for one in self._each([name], describe)]


_STICKY = ("AppCookieStickinessPolicies", "LBCookieStickinessPolicies")


def _tags(told: Iterable[dict[str, str]], key: str) -> Tags:
    return tags({tag["Key"]: tag.get("Value", "") for tag in told}, key)


def _listener(listener: dict[str, Any]) -> Listener:
    # The API keeps the case that the caller sent, and takes the front protocol where the inner one is not given.
    front = listener["Protocol"].upper()
    inner = listener.get("InstanceProtocol", front).upper()
    return Listener(listener["LoadBalancerPort"], front, listener["InstancePort"], inner)


def _instances(described: dict[str, Any]) -> frozenset[str]:
    return frozenset(i["InstanceId"] for i in described.get("Instances", ()))


def _backend(described: dict[str, Any]) -> dict[int, tuple[str, ...]]:
    return {b["InstancePort"]: tuple(b["PolicyNames"]) for b in described.get("BackendServerDescriptions", ())}


def _speaks_proxy(policy: dict[str, Any]) -> bool:
    attributes = {a["AttributeName"]: a["AttributeValue"] for a in policy["PolicyAttributeDescriptions"]}
    enabled = attributes.get("ProxyProtocol", "").lower() == "true"
    return bool(enabled and policy["PolicyTypeName"] == "ProxyProtocolPolicyType")


def _pages(names: list[str], size: int) -> Iterator[list[str]]:
    rest = iter(names)
    while page := list(islice(rest, size)):
        yield page
