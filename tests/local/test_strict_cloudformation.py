"""The stack that a Region is can be described, and nothing else is made up."""

import pytest

from local.strict import cloudformation

STACK = ("fleet", {"TagKey": "mail"}, {"Ledger": "fleet-Ledger"}, "us-east-1", "123456789012")
ID = "arn:aws:cloudformation:us-east-1:123456789012:stack/fleet/fleet"


@pytest.mark.parametrize("name", ["fleet", ID])
def test_it_is_found_by_its_name_and_by_its_id(aws, name):
    cloudformation.deploy(*STACK)
    [stack] = aws("cloudformation").describe_stacks(StackName=name)["Stacks"]
    assert (stack["StackName"], stack["StackId"], stack["StackStatus"]) == ("fleet", ID, "CREATE_COMPLETE")
    assert stack["Parameters"] == [{"ParameterKey": "TagKey", "ParameterValue": "mail"}]
    [resource] = aws("cloudformation").describe_stack_resources(StackName=name)["StackResources"]
    assert (resource["LogicalResourceId"], resource["PhysicalResourceId"]) == ("Ledger", "fleet-Ledger")


def test_another_one_is_not_there(aws, refused):
    """DescribeStacks: a ValidationError, with 400."""
    cloudformation.deploy(*STACK)
    assert refused(aws("cloudformation").describe_stacks, StackName="other") == ("ValidationError", 400)


def test_it_is_not_deleted(aws):
    cloudformation.deploy(*STACK)
    with pytest.raises(NotImplementedError, match="ends with it"):
        aws("cloudformation").delete_stack(StackName="fleet")
