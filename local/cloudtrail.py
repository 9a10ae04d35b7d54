"""Turns an API call into the event that CloudTrail sends through EventBridge; pure."""

from typing import Any

SOURCES = {"elb": "elasticloadbalancing", "elbv2": "elasticloadbalancing", "autoscaling": "autoscaling"}
VERSIONS = {"elb": "2012-06-01", "elbv2": "2015-12-01", "autoscaling": "2011-01-01"}


def _lowered(value: Any) -> Any:
    """The request with the first letter of each member lowered, as recorded events have it."""
    match value:
        case dict():
            return {key[0].lower() + key[1:]: _lowered(member) for key, member in value.items()}
        case list():
            return [_lowered(each) for each in value]
    return value


def event(
    service: str,
    operation: str,
    params: dict[str, Any],
    error: str | None,
    at: str,
    id_: str,
    region: str = "us-east-1",
    account: str = "123456789012",
    who: str = "operator",
) -> dict[str, Any] | None:
    """The event of a write to a service that the template listens to, failed calls included; None for all others.

    `who` made it: for a function its name, which Lambda gives to the session of its role.
    """
    if service not in SOURCES or operation.startswith("Describe"):
        return None
    detail = {
        "eventVersion": "1.11",
        "userIdentity": {"type": "AssumedRole", "arn": f"arn:aws:sts::{account}:assumed-role/{who}/{who}"},
        "eventTime": at,
        "eventSource": f"{SOURCES[service]}.amazonaws.com",
        "eventName": operation,
        "awsRegion": region,
        "requestParameters": _lowered(params),
        "responseElements": None,
        "eventID": id_,
        "readOnly": False,
        "eventType": "AwsApiCall",
        "apiVersion": VERSIONS[service],
    }
    if error:
        detail["errorCode"] = error
    envelope = {"version": "0", "id": id_, "detail-type": "AWS API Call via CloudTrail", "account": account}
    envelope |= {"source": f"aws.{SOURCES[service]}", "time": at, "region": region, "resources": []}
    return envelope | {"detail": detail}
