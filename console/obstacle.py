"""What keeps a command from going on, in one line that says what to do about it."""

from __future__ import annotations

import re

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    InvalidRegionError,
    NoCredentialsError,
    NoRegionError,
)
from botocore.parsers import ResponseParserError

from smtp_fleet.settings import SettingsError


class Obstacle(Exception):
    """A command cannot go on; its text says why and what to do."""


SERVICES = {
    "elasticloadbalancing": (
        "AddTags",
        "DescribeLoadBalancerAttributes",
        "DescribeLoadBalancerPolicies",
        "DescribeLoadBalancers",
        "DescribeTags",
        "DescribeTargetGroups",
    ),
    "tag": ("GetResources",),
    "autoscaling": (
        "DescribeAutoScalingGroups",
        "DescribeLifecycleHooks",
        "DescribeWarmPool",
    ),
    "cloudformation": ("DescribeStackResources", "DescribeStacks", "DeleteStack"),
    "cloudtrail": ("DescribeTrails", "GetEventSelectors", "GetTrailStatus"),
    "dynamodb": ("BatchGetItem",),
    "ec2": (
        "DescribeInstances",
        "DescribeNetworkAcls",
        "DescribeNetworkInterfaces",
        "DescribeSecurityGroupRules",
        "GetManagedPrefixListEntries",
    ),
    "logs": ("FilterLogEvents",),
    "sqs": ("GetQueueAttributes",),
    "ssm": ("DescribeInstanceInformation", "ListCommandInvocations", "ListCommands"),
}
"""The calls that the commands make, by the prefix that IAM knows them by."""

ACTIONS = {operation: f"{prefix}:{operation}" for prefix, operations in SERVICES.items() for operation in operations}
DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}
THROTTLED = {"RateExceeded", "RequestLimitExceeded", "Throttling", "ThrottlingException", "TooManyRequestsException"}
STALE = {
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}


TOLD = (BotoCoreError, ClientError, ResponseParserError, Obstacle, SettingsError)
"""The errors that can be told in one line; any other is a fault of ours."""


def of(error: Exception) -> Obstacle:
    """What an error, of AWS or on the way to it, means for whoever runs a command."""
    match error:
        case Obstacle():
            return error
        case NoCredentialsError():
            return Obstacle("no AWS credentials: set AWS_PROFILE, or run `aws configure`")
        case NoRegionError():
            return Obstacle("no Region: set AWS_DEFAULT_REGION to the Region of the stack")
        case InvalidRegionError() | EndpointConnectionError():
            return Obstacle(f"{_line(error)} Is AWS_DEFAULT_REGION or --region a Region, and is there a network?")
        case ResponseParserError():
            return Obstacle("what answered is not AWS: is AWS_ENDPOINT_URL set, or is a proxy in between?")
        case ClientError():
            return _refused(error)
    return Obstacle(_line(error))


def _refused(error: ClientError) -> Obstacle:
    code, action = error.response["Error"]["Code"], ACTIONS.get(error.operation_name, error.operation_name)
    if code in DENIED:
        return Obstacle(f"not allowed to call {action}: run this with credentials that are")
    if code in STALE:
        renew = "renew them, for example by `aws sso login`, or enable the Region for the account"
        return Obstacle(f"AWS does not accept the credentials ({code}): {renew}")
    if code in THROTTLED:
        return Obstacle(f"AWS throttles {action}: wait a minute, and run this again")
    return Obstacle(f"{action}: {_line(error.response['Error'].get('Message') or code)}")


def _line(text: object) -> str:
    return re.sub(r"\s+", " ", str(text)).strip()
