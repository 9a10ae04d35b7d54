"""GetResources finds classic balancers as AWS does."""

LISTENER = {"Protocol": "TCP", "LoadBalancerPort": 25, "InstancePort": 25}
TYPE = "elasticloadbalancing:loadbalancer"


def test_classic_and_v2_share_the_type(aws):
    """Both have the type elasticloadbalancing:loadbalancer; the ARN's shape tells them apart (tagging API guide)."""
    tags = [{"Key": "smtp-proxy-protocol", "Value": "enabled"}]
    aws("elb").create_load_balancer(
        LoadBalancerName="mx", Listeners=[LISTENER], AvailabilityZones=["us-east-1a"], Tags=tags
    )
    elsewhere = [{"Key": "other", "Value": "enabled"}]
    aws("elb").create_load_balancer(
        LoadBalancerName="not-ours", Listeners=[LISTENER], AvailabilityZones=["us-east-1a"], Tags=elsewhere
    )
    subnet = aws("ec2").describe_subnets()["Subnets"][0]["SubnetId"]
    aws("elbv2").create_load_balancer(Name="web", Subnets=[subnet], Tags=tags, Type="network")
    found = aws("resourcegroupstaggingapi").get_resources(
        ResourceTypeFilters=[TYPE], TagFilters=[{"Key": "smtp-proxy-protocol"}]
    )["ResourceTagMappingList"]
    classic, v2 = sorted((each["ResourceARN"] for each in found), key=len)
    assert classic == "arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/mx"
    assert v2.split("/")[2:3] == ["web"]


def test_a_page_is_a_hundred_whatever_the_tags(aws):
    """A page holds 100 resources; only TagsPerPage, when given, counts tags (tagging API reference, GetResources)."""
    group = aws("ec2").describe_security_groups(GroupNames=["default"])["SecurityGroups"][0]["GroupId"]
    elb = aws("elb")
    for number in range(101):
        tags = [{"Key": f"key-{each}", "Value": "v"} for each in range(5)]
        params = {"Listeners": [LISTENER], "SecurityGroups": [group], "Tags": tags}
        elb.create_load_balancer(LoadBalancerName=f"mx-{number}", **params)
    tagging = aws("resourcegroupstaggingapi")
    first = tagging.get_resources(ResourceTypeFilters=[TYPE])
    elb.create_load_balancer(LoadBalancerName="later", **params)
    second = tagging.get_resources(ResourceTypeFilters=[TYPE], PaginationToken=first["PaginationToken"])
    assert [len(page["ResourceTagMappingList"]) for page in (first, second)] == [100, 1]
    assert second["PaginationToken"] == ""
