"""Every call that the functions are granted is shown to be refused as AWS refuses it, or is left to moto and why."""

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.test_template import statements

ELB, AUTOSCALING, SSM = (f"tests/local/test_strict_{name}.py" for name in ("elb", "autoscaling", "ssm"))
POOL, EC2, TAGGING = (f"tests/local/test_strict_{name}.py" for name in ("warm_pool", "ec2", "tagging"))
HERE = "tests/local/test_strict_all_calls.py"
MISSING = f"{ELB}::test_every_call_on_a_missing_balancer_says_so"

REFUSED = {
    "tag:GetResources": [f"{HERE}::test_a_token_that_nobody_gave_ends_a_listing"],
    "elasticloadbalancing:DescribeLoadBalancers": [
        f"{ELB}::test_one_missing_name_fails_the_whole_listing",
        f"{ELB}::test_a_page_is_within_its_bounds_and_begins_at_a_marker_that_was_given",
    ],
    "elasticloadbalancing:DescribeLoadBalancerPolicies": [MISSING],
    "elasticloadbalancing:DescribeTags": [f"{ELB}::test_tags_are_described_for_twenty_names_at_most"],
    "elasticloadbalancing:DescribeTargetGroups": [f"{HERE}::test_one_missing_target_group_fails_the_whole_call"],
    "elasticloadbalancing:CreateLoadBalancerPolicy": [
        MISSING,
        f"{ELB}::test_a_policy_name_is_taken_by_other_content_only",
        f"{ELB}::test_an_unknown_policy_type_is_refused",
        f"{ELB}::test_the_header_s_policy_has_one_attribute_true_or_false",
        f"{ELB}::test_a_policy_s_name_is_letters_digits_and_hyphens",
        f"{ELB}::test_a_balancer_has_so_many_policies_and_no_more",
    ],
    "elasticloadbalancing:DeleteLoadBalancerPolicy": [MISSING, f"{ELB}::test_a_policy_in_use_cannot_be_deleted"],
    "elasticloadbalancing:SetLoadBalancerPoliciesForBackendServer": [
        MISSING,
        f"{ELB}::test_an_unknown_policy_cannot_be_set",
        f"{ELB}::test_a_port_without_listener_takes_only_the_empty_list",
        f"{ELB}::test_a_policy_for_listeners_cannot_be_set_on_an_instance_port",
    ],
    "elasticloadbalancing:DescribeLoadBalancerAttributes": [f"{HERE}::test_attributes_are_of_a_balancer_that_is_there"],
    "autoscaling:DescribeAutoScalingGroups": [f"{AUTOSCALING}::test_a_page_of_groups_is_a_hundred_at_most"],
    "autoscaling:DescribeAutoScalingInstances": [f"{AUTOSCALING}::test_fifty_instances_a_call"],
    "autoscaling:DescribeLifecycleHooks": [f"{AUTOSCALING}::test_hooks_are_described_of_a_group_that_is_there"],
    "autoscaling:DescribeWarmPool": [f"{POOL}::test_the_pool_of_a_missing_group_is_refused_and_pages_are_of_fifty"],
    "autoscaling:PutLifecycleHook": [
        f"{AUTOSCALING}::test_a_hook_is_described_as_it_was_put",
        f"{AUTOSCALING}::test_a_hook_has_a_good_name_and_a_transition_that_there_is",
        f"{AUTOSCALING}::test_a_group_has_fifty_hooks_at_most",
    ],
    "autoscaling:DeleteLifecycleHook": [f"{AUTOSCALING}::test_a_hook_that_is_not_there_cannot_be_deleted"],
    "autoscaling:CompleteLifecycleAction": [
        f"{AUTOSCALING}::test_without_an_action_there_is_nothing_to_complete",
        f"{AUTOSCALING}::test_a_launch_is_continued_or_abandoned_and_nothing_else",
    ],
    "autoscaling:RecordLifecycleActionHeartbeat": [
        f"{AUTOSCALING}::test_a_heartbeat_begins_the_timeout_anew_for_who_still_waits"
    ],
    "ec2:DescribeInstances": [f"{EC2}::test_two_hundred_filter_values_a_call"],
    "ec2:DescribeNetworkAcls": [f"{HERE}::test_what_lies_around_is_asked_for_by_two_hundred_values_at_most"],
    "ec2:DescribeNetworkInterfaces": [f"{HERE}::test_what_lies_around_is_asked_for_by_two_hundred_values_at_most"],
    "ec2:DescribeSecurityGroupRules": [f"{HERE}::test_what_lies_around_is_asked_for_by_two_hundred_values_at_most"],
    "ec2:GetManagedPrefixListEntries": [f"{HERE}::test_the_entries_of_a_prefix_list_that_is_gone_cannot_be_read"],
    "ssm:ListCommandInvocations": [f"{SSM}::test_the_history_refuses"],
    "ssm:ListCommands": [f"{SSM}::test_the_history_refuses"],
    "ssm:DescribeInstanceInformation": [f"{SSM}::test_describing_nodes_refuses"],
    "ssm:DescribeDocument": [f"{SSM}::test_a_missing_document_cannot_be_described"],
    "ssm:SendCommand": [f"{SSM}::test_send_command_refuses", f"{SSM}::test_one_bad_id_fails_the_call_by_name"],
}

MOTO_IS_RIGHT = {
    "dynamodb:BatchGetItem": [f"{HERE}::test_the_ledger_s_calls_are_refused_by_moto_as_it_is"],
    "dynamodb:PutItem": [f"{HERE}::test_the_ledger_s_calls_are_refused_by_moto_as_it_is"],
    "dynamodb:UpdateItem": [f"{HERE}::test_the_ledger_s_calls_are_refused_by_moto_as_it_is"],
    "dynamodb:DeleteItem": [f"{HERE}::test_the_ledger_s_calls_are_refused_by_moto_as_it_is"],
    "sqs:SendMessage": [f"{HERE}::test_a_message_is_refused_by_moto_as_it_is"],
}
"""What the strictness leaves alone: moto has the conditions, the limits and the codes of AWS there."""


def test_every_call_that_is_granted_is_in_the_table_and_nothing_else():
    granted = {action for _, _, actions in statements() for action in actions}
    assert REFUSED.keys() | MOTO_IS_RIGHT.keys() == granted
    assert not REFUSED.keys() & MOTO_IS_RIGHT.keys()


@cache
def asks(path):
    """For each test of a file, whether it takes `refused` and uses it, or expects an exception."""
    tests = [node for node in ast.parse(Path(path).read_text()).body if isinstance(node, ast.FunctionDef)]
    names = {test.name: {n.id for n in ast.walk(test) if isinstance(n, ast.Name)} for test in tests}
    raises = {t.name for t in tests for n in ast.walk(t) if isinstance(n, ast.Attribute) and n.attr == "raises"}
    return {name: "refused" in used or name in raises for name, used in names.items()}


@pytest.mark.parametrize(("action", "tests"), [*REFUSED.items(), *MOTO_IS_RIGHT.items()])
def test_each_test_in_the_table_is_there_and_shows_a_refusal(action, tests):
    assert tests
    for test in tests:
        path, name = test.split("::")
        assert asks(path).get(name), test


def test_a_token_that_nobody_gave_ends_a_listing(aws, refused):
    """PaginationTokenExpiredException (botocore resourcegroupstaggingapi/2017-01-26, GetResources)."""
    code = refused(aws("resourcegroupstaggingapi").get_resources, PaginationToken="bad")
    assert code == ("PaginationTokenExpiredException", 400)


def test_one_missing_target_group_fails_the_whole_call(aws, refused):
    """TargetGroupNotFound (botocore elbv2/2015-12-01, DescribeTargetGroups)."""
    arn = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/gone/0123456789abcdef"
    assert refused(aws("elbv2").describe_target_groups, TargetGroupArns=[arn]) == ("TargetGroupNotFound", 400)


def test_attributes_are_of_a_balancer_that_is_there(aws, refused):
    """LoadBalancerNotFound (botocore elb/2012-06-01, DescribeLoadBalancerAttributes)."""
    assert refused(aws("elb").describe_load_balancer_attributes, LoadBalancerName="gone") == (
        "LoadBalancerNotFound",
        400,
    )


def test_what_lies_around_is_asked_for_by_two_hundred_values_at_most(aws, refused):
    """FilterLimitExceeded over 200 filter values, of all filters together (EC2 API reference, error codes)."""
    filters = [{"Name": "vpc-id", "Values": [f"vpc-{number}" for number in range(201)]}]
    calls = ("describe_network_acls", "describe_network_interfaces", "describe_security_group_rules")
    told = {refused(getattr(aws("ec2"), call), Filters=filters) for call in calls}
    assert told == {("FilterLimitExceeded", 400)}


def test_the_entries_of_a_prefix_list_that_is_gone_cannot_be_read(aws, refused):
    """InvalidPrefixListID.NotFound (EC2 API reference, error codes)."""
    code = refused(aws("ec2").get_managed_prefix_list_entries, PrefixListId="pl-0123456789abcdef0")
    assert code == ("InvalidPrefixListID.NotFound", 400)


def test_the_ledger_s_calls_are_refused_by_moto_as_it_is(aws, refused):
    """ResourceNotFoundException, ConditionalCheckFailedException, at most 100 keys (DynamoDB API reference)."""
    ledger, key = aws("dynamodb"), {"id": {"S": "a"}}
    gone = ("ResourceNotFoundException", 400)
    assert refused(ledger.put_item, TableName="gone", Item=key) == gone
    assert refused(ledger.batch_get_item, RequestItems={"gone": {"Keys": [key]}}) == gone
    ledger.create_table(
        TableName="ledger",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
    )
    failed, there = ("ConditionalCheckFailedException", 400), {"ConditionExpression": "attribute_exists(id)"}
    assert refused(ledger.put_item, TableName="ledger", Item=key, **there) == failed
    assert refused(ledger.delete_item, TableName="ledger", Key=key, **there) == failed
    update = {"UpdateExpression": "SET x = :x", "ExpressionAttributeValues": {":x": {"S": "1"}}}
    assert refused(ledger.update_item, TableName="ledger", Key=key, **update, **there) == failed
    keys = [{"id": {"S": str(number)}} for number in range(101)]
    code = refused(ledger.batch_get_item, RequestItems={"ledger": {"Keys": keys}})
    assert code == ("ValidationException", 400)


def test_a_message_is_refused_by_moto_as_it_is(aws, refused):
    """A queue that is gone, and a delay beyond 900 s (SQS API reference, SendMessage)."""
    sqs = aws("sqs")
    url = sqs.create_queue(QueueName="asks")["QueueUrl"]
    assert refused(sqs.send_message, QueueUrl=url, MessageBody="x", DelaySeconds=901)[1] == 400
    sqs.delete_queue(QueueUrl=url)
    assert refused(sqs.send_message, QueueUrl=url, MessageBody="x")[1] == 400
