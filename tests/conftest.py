"""What every test stands on: a strict AWS of its own, with calls recorded."""

from functools import cache

import boto3
import pytest
from moto import mock_aws

from local.strict import observe, strict


@cache
def client(service):
    keys = {"aws_access_key_id": "A" * 20, "aws_secret_access_key": "A"}
    return boto3.client(service, region_name="us-east-1", **keys)


@pytest.fixture
def aws():
    """Gives clients on a fresh, strict account."""
    strict()
    with mock_aws():
        yield client


@pytest.fixture
def calls(aws):
    """The API calls made so far, as `service:Operation`, in order."""
    made = []
    with observe(lambda call: made.append(f"{call.service}:{call.operation}")):
        yield made
