"""What the tests of the strictness share."""

import pytest


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
