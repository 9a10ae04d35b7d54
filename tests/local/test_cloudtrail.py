"""API calls become the events that CloudTrail is recorded to send."""

import pytest

from local import cloudtrail


def event(service, operation, params=None, error=None):
    return cloudtrail.event(service, operation, params or {}, error, at="2026-01-02T03:04:05Z", id_="id")


def test_a_classic_create_looks_like_the_recorded_one():
    """First letters lowered, ports as integers, tags as pairs, apiVersion 2012-06-01 (recorded classic events)."""
    listener = {"Protocol": "tcp", "LoadBalancerPort": 25, "InstancePort": 25, "SSLCertificateId": "arn"}
    params = {"LoadBalancerName": "mx", "Listeners": [listener], "Tags": [{"Key": "k", "Value": "v"}]}
    made = event("elb", "CreateLoadBalancer", params)
    assert (made["source"], made["detail-type"]) == ("aws.elasticloadbalancing", "AWS API Call via CloudTrail")
    detail = made["detail"]
    assert (detail["eventName"], detail["apiVersion"]) == ("CreateLoadBalancer", "2012-06-01")
    assert detail["requestParameters"] == {
        "loadBalancerName": "mx",
        "listeners": [{"protocol": "tcp", "loadBalancerPort": 25, "instancePort": 25, "sSLCertificateId": "arn"}],
        "tags": [{"key": "k", "value": "v"}],
    }
    assert "errorCode" not in detail


def test_a_failed_call_carries_its_error():
    """Failure means that errorCode is present."""
    assert (
        event("autoscaling", "AttachLoadBalancers", error="ValidationError")["detail"]["errorCode"] == "ValidationError"
    )


@pytest.mark.parametrize(("service", "operation"), [("elb", "DescribeTags"), ("dynamodb", "PutItem")])
def test_other_calls_are_no_events(service, operation):
    """Read-only calls are not delivered (EventBridge user guide); the template listens to no other service."""
    assert event(service, operation) is None
