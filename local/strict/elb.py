"""Classic ELB with the refusals of AWS, by the error codes of its service model (botocore elb/2012-06-01)."""

import re
from typing import Any

from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult, EmptyResult
from moto.ec2.exceptions import InvalidInstanceIdError
from moto.ec2.models import ec2_backends
from moto.ec2.utils import random_private_ip
from moto.elb.exceptions import ELBClientError, LoadBalancerNotFoundError
from moto.elb.models import ELBBackend, FakeBackend
from moto.elb.policies import OtherPolicy
from moto.elb.responses import ELBResponse

from local.strict.overlay import lay

# DescribeLoadBalancerPolicyTypes of the ELB API reference.
POLICY_TYPES = {
    "AppCookieStickinessPolicyType",
    "BackendServerAuthenticationPolicyType",
    "LBCookieStickinessPolicyType",
    "ProxyProtocolPolicyType",
    "PublicKeyPolicyType",
    "SSLNegotiationPolicyType",
}
# AWS publishes no number, only that there is one (TooManyPolicies): 100 is assumed.
MOST_POLICIES = 100
_SAMPLES = [OtherPolicy("ELBSecurityPolicy-2016-08", "SSLNegotiationPolicyType", [])]

_create, _delete, _apply_groups = (
    ELBBackend.create_load_balancer, ELBBackend.delete_load_balancer, ELBBackend.apply_security_groups_to_load_balancer,
)  # fmt: skip
_create_listeners = ELBBackend.create_load_balancer_listeners
_create_policy = ELBBackend.create_load_balancer_policy
_describe_policies = ELBBackend.describe_load_balancer_policies
_describe_tags, _add_tags = ELBResponse.describe_tags, ELBResponse.add_tags
_describe = ELBResponse.describe_load_balancers


def _refuse(code: str, message: str) -> ServiceException:
    return ELBClientError(code, message)


def _attributes(policy: Any) -> list[tuple[str, str]]:
    described = getattr(policy, "policy_attribute_descriptions", [])
    return sorted((each["AttributeName"], each.get("AttributeValue", "")) for each in described)


def _check_content(policy: Any) -> None:
    if policy.policy_type_name not in POLICY_TYPES:
        raise _refuse("PolicyTypeNotFound", f"There is no policy type {policy.policy_type_name}")
    if policy.policy_type_name == "ProxyProtocolPolicyType":
        # Its one attribute, by DescribeLoadBalancerPolicyTypes: Boolean, of cardinality ONE.
        given = _attributes(policy)
        if [name for name, _ in given] != ["ProxyProtocol"] or given[0][1].lower() not in {"true", "false"}:
            message = f"ProxyProtocolPolicyType takes the attribute ProxyProtocol, true or false, not {given}"
            raise _refuse("InvalidConfigurationRequest", message)


def _plug(elb: Any, balancer: Any) -> None:
    """The interface by which it reaches its instances: described by its name, and carrying its groups."""
    ec2 = ec2_backends[elb.account_id][elb.region_name]
    _unplug(elb, balancer.name)
    if balancer.subnets:
        subnet = ec2.get_subnet(balancer.subnets[0])
        about = {"group_ids": balancer.security_groups, "description": f"ELB {balancer.name}"}
        ec2.create_network_interface(subnet, random_private_ip(subnet.cidr_block), **about)


def _unplug(elb: Any, name: str) -> None:
    ec2 = ec2_backends[elb.account_id][elb.region_name]
    for eni in [each for each in ec2.enis.values() if each.description == f"ELB {name}"]:
        ec2.delete_network_interface(eni.id)


class _Backend:
    def create_load_balancer(self: Any, *args: Any, **kwargs: Any) -> Any:
        balancer = _create(self, *args, **kwargs)
        _plug(self, balancer)
        return balancer

    def delete_load_balancer(self: Any, load_balancer_name: str) -> None:
        _delete(self, load_balancer_name)
        _unplug(self, load_balancer_name)

    def apply_security_groups_to_load_balancer(
        self: Any, load_balancer_name: str, security_group_ids: list[str]
    ) -> None:
        _apply_groups(self, load_balancer_name, security_group_ids)
        _plug(self, self.get_load_balancer(load_balancer_name))

    def get_load_balancer(self: Any, load_balancer_name: str) -> Any:
        if load_balancer_name not in self.load_balancers:
            raise LoadBalancerNotFoundError(load_balancer_name)
        return self.load_balancers[load_balancer_name]

    def describe_load_balancers(self: Any, names: list[str]) -> Any:
        return [self.get_load_balancer(name) for name in names] if names else list(self.load_balancers.values())

    def create_load_balancer_listeners(self: Any, name: str, ports: list[dict[str, Any]]) -> Any:
        balancer = self.get_load_balancer(name)
        _create_listeners(self, name, ports)
        known = {int(backend.instance_port) for backend in balancer.backends}
        balancer.backends.extend(FakeBackend(port) for port in {int(p["InstancePort"]) for p in ports} - known)
        return balancer

    def delete_load_balancer_listeners(self: Any, name: str, ports: list[Any]) -> Any:
        # The backend entries stay: policies outlive the listener (cloud-provider-aws, aws_loadbalancer.go:1374).
        balancer, gone = self.get_load_balancer(name), {int(port) for port in ports}
        balancer.listeners = [each for each in balancer.listeners if int(each.load_balancer_port) not in gone]
        return balancer

    def create_load_balancer_policy(self: Any, load_balancer_name: str, policy_name: str, *content: Any) -> Any:
        policies, wanted = self.get_load_balancer(load_balancer_name).policies, OtherPolicy(policy_name, *content)
        # "Policy names must consist of alphanumeric characters and dashes (-)", says CreateLBCookieStickinessPolicy of
        # the API reference; the code is assumed.
        if not re.fullmatch("[A-Za-z0-9-]+", policy_name):
            raise _refuse("ValidationError", f"The policy name {policy_name} may hold letters, digits and hyphens only")
        _check_content(wanted)
        for policy in policies:
            same = policy.policy_type_name == wanted.policy_type_name and _attributes(policy) == _attributes(wanted)
            if policy.policy_name == policy_name and not same:
                raise _refuse("DuplicatePolicyName", f"Policy Name [{policy_name}] already exists")
        if len(policies) >= MOST_POLICIES and policy_name not in {policy.policy_name for policy in policies}:
            raise _refuse("TooManyPolicies", f"{load_balancer_name} has {len(policies)} policies")
        return _create_policy(self, load_balancer_name, policy_name, *content)

    def delete_load_balancer_policy(self: Any, lb_name: str, policy_name: str) -> None:
        balancer = self.get_load_balancer(lb_name)
        if any(policy_name in port.policy_names for port in [*balancer.backends, *balancer.listeners]):
            raise _refuse("InvalidConfigurationRequest", f"You cannot delete policy {policy_name}: it is in use")
        balancer.policies = [policy for policy in balancer.policies if policy.policy_name != policy_name]

    def describe_load_balancer_policies(self: Any, lb_name: str | None, policy_names: list[str]) -> Any:
        if lb_name:
            return _describe_policies(self, lb_name, policy_names)
        return [policy for policy in _SAMPLES if not policy_names or policy.policy_name in policy_names]

    def register_instances(self: Any, load_balancer_name: str, instance_ids: Any) -> Any:
        balancer = self.get_load_balancer(load_balancer_name)
        for instance_id in instance_ids:
            try:
                ec2_backends[self.account_id][self.region_name].get_instance(instance_id)
            except InvalidInstanceIdError:
                raise _refuse("InvalidInstance", f"Could not find EC2 instance {instance_id}.") from None
            if instance_id not in balancer.instance_ids:
                balancer.instance_sparse_ids.append(instance_id)
        return balancer

    def deregister_instances(self: Any, load_balancer_name: str, instance_ids: Any) -> Any:
        balancer = self.get_load_balancer(load_balancer_name)
        for own in (balancer.instance_sparse_ids, balancer.instance_autoscaling_ids):
            own[:] = [each for each in own if each not in instance_ids]
        return balancer


class _Response:
    def describe_load_balancers(self: Any) -> Any:
        if self.params.setdefault("PageSize", 400) > 400:
            raise _refuse("ValidationError", "PageSize must be between 1 and 400")
        names = self.params.get("LoadBalancerNames") or []
        if (marker := self.params.get("Marker")) and marker not in {
            each.name for each in self.elb_backend.describe_load_balancers(names)
        }:
            raise _refuse("ValidationError", f"The marker {marker} is not valid")  # the code is assumed
        return _describe(self)

    def set_load_balancer_policies_for_backend_server(self: Any) -> Any:
        balancer = self.elb_backend.get_load_balancer(self.params["LoadBalancerName"])
        port, names = int(self.params["InstancePort"]), list(self.params.get("PolicyNames") or [])
        for missing in set(names) - {policy.policy_name for policy in balancer.policies}:
            raise _refuse("PolicyNotFound", f"There is no policy with name {missing} for load balancer {balancer.name}")
        for policy in balancer.policies:
            if policy.policy_name in names and "CookieStickiness" in policy.policy_type_name:
                message = f"Policy {policy.policy_name} cannot be enabled on an instance port: it is for listeners"
                raise _refuse("InvalidConfigurationRequest", message)
        if names and all(int(listener.instance_port) != port for listener in balancer.listeners):
            raise _refuse("InvalidConfigurationRequest", f"No listener of {balancer.name} has instance port {port}")
        for backend in balancer.backends:
            if int(backend.instance_port) == port:
                backend.policy_names = names
                break
        return EmptyResult()

    def register_instances_with_load_balancer(self: Any) -> Any:
        ids = [each["InstanceId"] for each in self.params["Instances"]]
        return ActionResult(
            {"Instances": self.elb_backend.register_instances(self.params["LoadBalancerName"], ids).instances}
        )

    def deregister_instances_from_load_balancer(self: Any) -> Any:
        ids = [each["InstanceId"] for each in self.params["Instances"]]
        return ActionResult(
            {"Instances": self.elb_backend.deregister_instances(self.params["LoadBalancerName"], ids).instances}
        )

    def describe_tags(self: Any) -> Any:
        if len(self.params["LoadBalancerNames"]) > 20:
            raise _refuse("ValidationError", "LoadBalancerNames must have at most 20 members")
        return _describe_tags(self)

    def add_tags(self: Any) -> Any:
        if len(self.params["LoadBalancerNames"]) > 1:
            raise _refuse("ValidationError", "LoadBalancerNames must have exactly one member")
        for tag in self.params["Tags"]:
            if tag["Key"].lower().startswith("aws:"):  # reserved, and hidden from users' changes; the code is assumed
                raise _refuse("ValidationError", f"The prefix of the tag key {tag['Key']} is reserved")
            tag.setdefault("Value", "")
        return _add_tags(self)


def apply() -> None:
    """Lays the corrections over moto's classic ELB."""
    lay(_Backend, ELBBackend)
    lay(_Response, ELBResponse)
