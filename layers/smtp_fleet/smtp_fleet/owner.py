"""Who else looks after a load balancer, as its tags tell, and the line that its owner should add to its description.

What is described elsewhere is set back by whoever describes it, sooner or later: the policy belongs there as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum


class Owner(Enum):
    """What describes a load balancer."""

    NOBODY = ""
    CLOUDFORMATION = "CloudFormation"
    TERRAFORM = "Terraform"
    KUBERNETES = "Kubernetes"


def owner(tags: Mapping[str, str]) -> Owner:
    """Told by its tags: those that CloudFormation and the cloud provider of Kubernetes set, and customary ones."""
    if any(key.startswith(("kubernetes.io/cluster/", "elbv2.k8s.aws/")) for key in tags):
        return Owner.KUBERNETES
    if any(key.startswith("aws:cloudformation:") for key in tags):
        return Owner.CLOUDFORMATION
    words = " ".join((*tags.keys(), *tags.values())).lower()
    return Owner.TERRAFORM if "terraform" in words or "opentofu" in words else Owner.NOBODY


def advice(whose: Owner, name: str, policy: str, ports: Iterable[int]) -> str:
    """What the owner should add to its description of the load balancer `name`, for these instance ports."""
    quoted = ", ".join(f'"{port}"' for port in sorted(ports))
    match whose:
        case Owner.CLOUDFORMATION:
            # User guide, AWS::ElasticLoadBalancing::LoadBalancer Policies.
            return (
                f"Policies: [{{PolicyName: {policy}, PolicyType: ProxyProtocolPolicyType, InstancePorts: [{quoted}], "
                'Attributes: [{Name: ProxyProtocol, Value: "true"}]}]'
            )
        case Owner.TERRAFORM:
            what = f'load_balancer = "{name}", instance_ports = [{quoted}]'
            return f'resource "aws_proxy_protocol_policy" "smtp" {{ {what} }}'
        case Owner.KUBERNETES:
            # The in-tree cloud provider knows no other value, and means all ports by it.
            return 'service.beta.kubernetes.io/aws-load-balancer-proxy-protocol: "*"'
    return ""
