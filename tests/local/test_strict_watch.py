"""Every call is observable, succeeded or failed."""

import pytest

from local.strict import observe
from local.strict.patterns import matches


def test_calls_are_seen_by_the_names_of_the_service_model(aws, refused):
    """Parameters have the names and types that botocore's models give them."""
    calls = []
    listener = {"Protocol": "TCP", "LoadBalancerPort": 25, "InstancePort": 2525}
    with observe(calls.append):
        aws("elb").create_load_balancer(LoadBalancerName="mx", Listeners=[listener], AvailabilityZones=["us-east-1a"])
        refused(aws("elb").describe_tags, LoadBalancerNames=["gone"])
        refused(aws("ssm").describe_document, Name="gone")
        aws("sqs").create_queue(QueueName="wakes")
    aws("sqs").list_queues()
    seen = [(each.service, each.operation, each.error, each.is_write) for each in calls]
    assert seen == [
        ("elb", "CreateLoadBalancer", None, True),
        ("elb", "DescribeTags", "LoadBalancerNotFound", False),
        ("ssm", "DescribeDocument", "InvalidDocument", False),
        ("sqs", "CreateQueue", None, True),
    ]
    assert calls[0].params["Listeners"] == [listener]
    assert calls[0].caller == "A" * 20


def test_a_conditional_write_that_fails_is_seen_as_such(aws):
    """DynamoDB's error code is its exception's name (ConditionalCheckFailedException)."""
    table, calls = aws("dynamodb"), []
    key = {"AttributeName": "id"}
    table.create_table(
        TableName="ledger", KeySchema=[{**key, "KeyType": "HASH"}],
        AttributeDefinitions=[{**key, "AttributeType": "S"}], BillingMode="PAY_PER_REQUEST",
    )  # fmt: skip
    item = {"TableName": "ledger", "Item": {"id": {"S": "x"}}, "ConditionExpression": "attribute_not_exists(id)"}
    with observe(calls.append):
        table.put_item(**item)
        with pytest.raises(table.exceptions.ConditionalCheckFailedException):
            table.put_item(**item)
    assert [each.error for each in calls] == [None, "ConditionalCheckFailedException"]


@pytest.mark.parametrize(("event", "taken"), [({"a": {"b": "x"}}, True), ({"a": {"b": "y"}}, False), ({}, False)])
def test_patterns(event, taken):
    """EventBridge event patterns: a list of values, any of which may fit."""
    assert matches({"a": {"b": [{"prefix": "x"}, "z"]}}, event) == taken
