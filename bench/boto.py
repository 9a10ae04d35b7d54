"""Bare boto3 with care: `NAME` sees to one balancer; without one, all that lack the policy are printed."""

import sys

import boto3

KEY, POLICY, PORT = "smtp-proxy-protocol", "EnableProxyProtocol", 25
elb = boto3.client("elb")


def tagged(names):
    """Those of at most 20 balancers that have the tag."""
    told = elb.describe_tags(LoadBalancerNames=names)["TagDescriptions"]
    return {one["LoadBalancerName"] for one in told if any(tag["Key"] == KEY for tag in one["Tags"])}


def policies(described):
    """The policies on the mail port."""
    return {b["InstancePort"]: b["PolicyNames"] for b in described["BackendServerDescriptions"]}.get(PORT, [])


def described(name):
    """One balancer as it is now."""
    return elb.describe_load_balancers(LoadBalancerNames=[name])["LoadBalancerDescriptions"][0]


def one(name):
    """Attach the policy where it is wanted and missing, keep the others, and read it back."""
    if not tagged([name]) or POLICY in (there := policies(described(name))):
        return
    elb.create_load_balancer_policy(
        LoadBalancerName=name,
        PolicyName=POLICY,
        PolicyTypeName="ProxyProtocolPolicyType",
        PolicyAttributes=[{"AttributeName": "ProxyProtocol", "AttributeValue": "true"}],
    )
    elb.set_load_balancer_policies_for_backend_server(
        LoadBalancerName=name, InstancePort=PORT, PolicyNames=[*there, POLICY]
    )
    if POLICY not in policies(described(name)):
        sys.exit(f"{name}: not read back")


def sweep():
    """Print every tagged balancer without the policy: pages of 400, tags by 20."""
    pages = elb.get_paginator("describe_load_balancers").paginate(PageSize=400)
    every = {d["LoadBalancerName"]: POLICY in policies(d) for page in pages for d in page["LoadBalancerDescriptions"]}
    names = list(every)
    for start in range(0, len(names), 20):
        for name in tagged(names[start : start + 20]):
            if not every[name]:
                print("lacks:", name)


if len(sys.argv) > 1:
    one(sys.argv[1])
else:
    sweep()
