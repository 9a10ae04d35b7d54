"""Which errors a storm tells to which calls, and why not the others.

Injected is what may be told of any call at any time: the generic errors of every API, and of those that the service
model lists for an operation the honest ones: a limit, a contention, a fault inside. Not injected is what would be a lie
about the state (`LIES`): the account tells those errors itself, when they are true. A balancer that is there is never
called not found, for then it would be right to act as if it were gone.
"""

from __future__ import annotations

from functools import cache

from tests.account.wire import documented
from tests.test_template import statements

GENERIC = (
    "ThrottlingException",
    "Throttling",
    "RequestLimitExceeded",
    "InternalFailure",
    "ServiceUnavailable",
    "AccessDenied",
)
"""What any call may be told (common errors of the API references), though few service models list it."""

LIES = {
    "LoadBalancerNotFound": "it is there",
    "TargetGroupNotFound": "it is there",
    "PolicyNotFound": "it is there",
    "PolicyTypeNotFound": "there is such a type",
    "DuplicatePolicyName": "there is none of that name and other content",
    "InvalidNextToken": "no token is sent, or the one that was just told",
    "PaginationTokenExpiredException": "no token is sent, or the one that was just told",
    "InvalidParameterException": "the request is well formed",
    "InvalidParameters": "the request is well formed",
    "InvalidFilterKey": "the request is well formed",
    "InvalidInstanceInformationFilterValue": "the request is well formed",
    "InvalidNotificationConfig": "none is asked for",
    "InvalidOutputFolder": "none is asked for",
    "InvalidRole": "none is named",
    "DuplicateInstanceId": "each instance is named once",
    "InvalidInstanceId": "true only of commands, to an agent that went off a moment ago (`TRUE_AT_TIMES`)",
    "UnsupportedPlatformType": "every instance runs Linux",
    "InvalidDocument": "it is there",
    "InvalidDocumentVersion": "it is there",
    "MaxDocumentSizeExceeded": "the document is small",
    "InvalidCommandId": "the command was sent, and history is kept for weeks",
    "ConditionalCheckFailedException": "the account judges conditions; a call that is sent twice is told so, too",
    "ResourceNotFoundException": "the table is there",
    "ItemCollectionSizeLimitExceededException": "the table has no index",
    "ReplicatedWriteConflictException": "the table is not replicated",
    "TransactionConflictException": "nobody uses transactions",
    "QueueDoesNotExist": "it is there",
    "InvalidAddress": "the address is the queue's own",
    "InvalidSecurity": "the request is signed over TLS",
    "InvalidMessageContents": "the message is plain JSON",
    "UnsupportedOperation": "the operation is supported",
    "KmsAccessDenied": "the queue has no key of KMS",
    "KmsDisabled": "the queue has no key of KMS",
    "KmsInvalidKeyUsage": "the queue has no key of KMS",
    "KmsInvalidState": "the queue has no key of KMS",
    "KmsNotFound": "the queue has no key of KMS",
    "KmsOptInRequired": "the queue has no key of KMS",
    "KmsThrottled": "the queue has no key of KMS",
}
"""The documented errors that would be a lie, and the truth."""

TRUE_AT_TIMES = {
    ("ssm", "SendCommand"): ("InvalidInstanceId",),
    ("autoscaling", "CompleteLifecycleAction"): ("ValidationError",),
}
"""Lies that AWS tells: of an agent that it takes for offline, of a lifecycle action that has just begun."""

_SERVICES = {"elasticloadbalancing": "elb", "tag": "resourcegroupstaggingapi"}


@cache
def called() -> tuple[tuple[str, str], ...]:
    """The operations that the functions call: those that the template grants them (a test holds the two equal)."""
    granted = (action.split(":") for _, _, actions in statements() for action in actions)
    return tuple(sorted({(_service(prefix, operation), operation) for prefix, operation in granted}))


def _service(prefix: str, operation: str) -> str:
    return "elbv2" if operation == "DescribeTargetGroups" else _SERVICES.get(prefix, prefix)


@cache
def honest(service: str, operation: str) -> tuple[str, ...]:
    """The codes that a storm tells to a call."""
    listed = tuple(code for code in documented(service, operation) if code not in LIES)
    return (*GENERIC, *listed, *TRUE_AT_TIMES.get((service, operation), ()))
