"""A strict mock of AWS for the tests of the strictness."""

from functools import cache

import boto3
import pytest
from moto import mock_aws

from local.strict import strict


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
def refused():
    """Runs a call that must fail and gives the error code and the HTTP status."""

    def run(call, /, **params):
        with pytest.raises(Exception) as failure:
            call(**params)
        answer = failure.value.response
        return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]

    return run


@pytest.fixture
def launch(aws):
    """Makes a group of so many instances behind a new balancer `mx`, with the given launch hooks."""

    def run(count=1, name="mail", hooks=(), balancers=("mx",)):
        for balancer in balancers:
            listener = {"Protocol": "TCP", "LoadBalancerPort": 25, "InstancePort": 25}
            aws("elb").create_load_balancer(
                LoadBalancerName=balancer, Listeners=[listener], AvailabilityZones=["us-east-1a"]
            )
        template = aws("ec2").create_launch_template(
            LaunchTemplateName=name, LaunchTemplateData={"ImageId": "ami-12c6146b", "InstanceType": "t3.micro"}
        )["LaunchTemplate"]["LaunchTemplateId"]
        transition = "autoscaling:EC2_INSTANCE_LAUNCHING"
        aws("autoscaling").create_auto_scaling_group(
            AutoScalingGroupName=name, MinSize=0, MaxSize=20, DesiredCapacity=count,
            LaunchTemplate={"LaunchTemplateId": template}, AvailabilityZones=["us-east-1a"],
            LoadBalancerNames=list(balancers),
            LifecycleHookSpecificationList=[{"LifecycleTransition": transition, **hook} for hook in hooks],
        )  # fmt: skip
        return name

    return run
