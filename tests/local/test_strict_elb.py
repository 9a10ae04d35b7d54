"""Classic ELB refuses what AWS refuses."""

import pytest

PROXY = {
    "PolicyTypeName": "ProxyProtocolPolicyType",
    "PolicyAttributes": [{"AttributeName": "ProxyProtocol", "AttributeValue": "true"}],
}


def listener(port, instance_port):
    return {"Protocol": "TCP", "LoadBalancerPort": port, "InstancePort": instance_port}


@pytest.fixture
def elb(aws):
    client = aws("elb")
    zones = ["us-east-1a"]
    client.create_load_balancer(LoadBalancerName="mx", Listeners=[listener(25, 25)], AvailabilityZones=zones)
    return client


@pytest.fixture
def backends(elb):
    def read():
        (balancer,) = elb.describe_load_balancers(LoadBalancerNames=["mx"])["LoadBalancerDescriptions"]
        return {each["InstancePort"]: each["PolicyNames"] for each in balancer["BackendServerDescriptions"]}

    return read


def proxy(elb, name="proxy"):
    elb.create_load_balancer_policy(LoadBalancerName="mx", PolicyName=name, **PROXY)


def attach(elb, port=25, names=("proxy",)):
    elb.set_load_balancer_policies_for_backend_server(LoadBalancerName="mx", InstancePort=port, PolicyNames=list(names))


@pytest.mark.parametrize(
    ("operation", "params"),
    [
        ("create_load_balancer_policy", {"PolicyName": "p", **PROXY}),
        ("set_load_balancer_policies_for_backend_server", {"InstancePort": 25, "PolicyNames": []}),
        ("set_load_balancer_policies_of_listener", {"LoadBalancerPort": 25, "PolicyNames": []}),
        ("describe_load_balancer_policies", {}),
        ("delete_load_balancer_policy", {"PolicyName": "p"}),
        ("create_load_balancer_listeners", {"Listeners": [listener(25, 25)]}),
        ("register_instances_with_load_balancer", {"Instances": []}),
    ],
)
def test_every_call_on_a_missing_balancer_says_so(elb, refused, operation, params):
    """LoadBalancerNotFound, HTTP 400 (botocore elb/2012-06-01: AccessPointNotFoundException)."""
    assert refused(getattr(elb, operation), LoadBalancerName="gone", **params) == ("LoadBalancerNotFound", 400)


def test_one_missing_name_fails_the_whole_listing(elb, refused):
    """DescribeLoadBalancers by name: one missing balancer fails the call (ELB API reference, Errors)."""
    assert refused(elb.describe_load_balancers, LoadBalancerNames=["mx", "gone"]) == ("LoadBalancerNotFound", 400)
    assert refused(elb.describe_tags, LoadBalancerNames=["mx", "gone"]) == ("LoadBalancerNotFound", 400)


def test_a_policy_name_is_taken_by_other_content_only(elb, refused):
    """Identical content is accepted, other content is DuplicatePolicyName (cloud-provider-aws relies on it)."""
    proxy(elb)
    proxy(elb)
    other = {**PROXY, "PolicyAttributes": [{"AttributeName": "ProxyProtocol", "AttributeValue": "false"}]}
    taken = refused(elb.create_load_balancer_policy, LoadBalancerName="mx", PolicyName="proxy", **other)
    assert taken == ("DuplicatePolicyName", 400)
    (policy,) = elb.describe_load_balancer_policies(LoadBalancerName="mx")["PolicyDescriptions"]
    assert policy["PolicyAttributeDescriptions"] == PROXY["PolicyAttributes"]


def test_an_unknown_policy_type_is_refused(elb, refused):
    """PolicyTypeNotFound (botocore elb/2012-06-01, CreateLoadBalancerPolicy)."""
    wrong = {"PolicyName": "p", "PolicyTypeName": "ProxyProtocol"}
    assert refused(elb.create_load_balancer_policy, LoadBalancerName="mx", **wrong) == ("PolicyTypeNotFound", 400)


def test_an_unknown_policy_cannot_be_set(elb, refused, backends):
    """PolicyNotFound (botocore elb/2012-06-01, SetLoadBalancerPoliciesForBackendServer); nothing changes."""
    proxy(elb)
    attach(elb)
    params = {"LoadBalancerName": "mx", "InstancePort": 25, "PolicyNames": ["proxy", "other"]}
    assert refused(elb.set_load_balancer_policies_for_backend_server, **params) == ("PolicyNotFound", 400)
    assert backends() == {25: ["proxy"]}


def test_a_policy_in_use_cannot_be_deleted(elb, refused):
    """InvalidConfigurationRequest, HTTP 409: a policy "must not be enabled" (ELB API, DeleteLoadBalancerPolicy)."""
    proxy(elb)
    attach(elb)
    params = {"LoadBalancerName": "mx", "PolicyName": "proxy"}
    assert refused(elb.delete_load_balancer_policy, **params) == ("InvalidConfigurationRequest", 409)
    attach(elb, names=())
    elb.delete_load_balancer_policy(**params)
    assert elb.describe_load_balancer_policies(LoadBalancerName="mx")["PolicyDescriptions"] == []


def test_a_port_of_a_later_listener_takes_policies(elb, backends):
    """Policies are per instance port, whenever its listener came (ELB API, BackendServerDescriptions)."""
    elb.create_load_balancer_listeners(LoadBalancerName="mx", Listeners=[listener(587, 2587)])
    proxy(elb)
    attach(elb, port=2587)
    assert backends() == {2587: ["proxy"]}


def test_policies_outlive_the_listener(elb, backends):
    """Old policies stay on the port and meet the next listener there (cloud-provider-aws aws_loadbalancer.go)."""
    elb.create_load_balancer_listeners(LoadBalancerName="mx", Listeners=[listener(587, 2587), listener(80, 80)])
    proxy(elb)
    attach(elb)
    elb.delete_load_balancer_listeners(LoadBalancerName="mx", LoadBalancerPorts=[25, 80])
    (balancer,) = elb.describe_load_balancers()["LoadBalancerDescriptions"]
    assert [each["Listener"]["LoadBalancerPort"] for each in balancer["ListenerDescriptions"]] == [587]
    assert backends() == {25: ["proxy"]}
    attach(elb, names=())
    assert backends() == {}


def test_a_port_without_listener_takes_only_the_empty_list(elb, refused):
    """Only clearing such a port is known to be accepted (Kubernetes does it); anything else is refused here."""
    proxy(elb)
    attach(elb, port=99, names=())
    params = {"LoadBalancerName": "mx", "InstancePort": 99, "PolicyNames": ["proxy"]}
    code = refused(elb.set_load_balancer_policies_for_backend_server, **params)
    assert code == ("InvalidConfigurationRequest", 409)


def test_tags_are_described_for_twenty_names_at_most(elb, refused):
    """DescribeTags takes 1 to 20 names (botocore elb/2012-06-01, LoadBalancerNamesMax20)."""
    assert refused(elb.describe_tags, LoadBalancerNames=["mx"] * 21) == ("ValidationError", 400)
    assert len(elb.describe_tags(LoadBalancerNames=["mx"] * 20)["TagDescriptions"]) == 20


def test_tags_are_added_to_one_balancer_at_a_time(elb, refused):
    """AddTags: "You can specify one load balancer only"; a tag's value may be absent (ELB API, AddTags, Tag)."""
    tags = [{"Key": "smtp-proxy-protocol"}]
    assert refused(elb.add_tags, LoadBalancerNames=["mx", "mx"], Tags=tags) == ("ValidationError", 400)
    elb.add_tags(LoadBalancerNames=["mx"], Tags=tags)
    (described,) = elb.describe_tags(LoadBalancerNames=["mx"])["TagDescriptions"]
    assert described["Tags"] == [{"Key": "smtp-proxy-protocol", "Value": ""}]


def test_a_page_of_balancers_is_four_hundred(aws):
    """DescribeLoadBalancers returns 400 by default and at most (botocore elb/2012-06-01, PageSize)."""
    elb = aws("elb")
    groups = aws("ec2").describe_security_groups(GroupNames=["default"])["SecurityGroups"]
    params = {"Listeners": [listener(25, 25)], "SecurityGroups": [groups[0]["GroupId"]]}
    for number in range(401):
        elb.create_load_balancer(LoadBalancerName=f"mx-{number}", **params)
    first = elb.describe_load_balancers()
    assert len(first["LoadBalancerDescriptions"]) == 400
    assert len(elb.describe_load_balancers(Marker=first["NextMarker"])["LoadBalancerDescriptions"]) == 1


def test_registration_answers_with_the_instances(aws, elb, refused):
    """Both calls answer with the balancer's instances; an unknown one is InvalidInstance (ELB API reference)."""
    ids = [
        each["InstanceId"]
        for each in aws("ec2").run_instances(ImageId="ami-12c6146b", MinCount=2, MaxCount=2)["Instances"]
    ]
    both = [{"InstanceId": each} for each in ids]
    answer = elb.register_instances_with_load_balancer(LoadBalancerName="mx", Instances=both + both[:1])
    assert answer["Instances"] == both
    answer = elb.deregister_instances_from_load_balancer(LoadBalancerName="mx", Instances=both[:1])
    assert answer["Instances"] == both[1:]
    bogus = {"LoadBalancerName": "mx", "Instances": [{"InstanceId": "i-00000000000000000"}]}
    assert refused(elb.register_instances_with_load_balancer, **bogus) == ("InvalidInstance", 400)


def test_without_a_balancer_the_sample_policies_are_listed(elb):
    """DescribeLoadBalancerPolicies without a name describes the samples, never one's own (ELB API reference)."""
    proxy(elb)
    names = [each["PolicyName"] for each in elb.describe_load_balancer_policies()["PolicyDescriptions"]]
    assert names == ["ELBSecurityPolicy-2016-08"]


def policies(elb):
    return [
        each["PolicyName"] for each in elb.describe_load_balancer_policies(LoadBalancerName="mx")["PolicyDescriptions"]
    ]


@pytest.mark.parametrize(
    "attributes",
    [
        [],
        [{"AttributeName": "ProxyProtocol", "AttributeValue": "yes"}],
        [{"AttributeName": "ProxyProtocol", "AttributeValue": ""}],
        [{"AttributeName": "ProxyProtocolV2", "AttributeValue": "true"}],
        [
            {"AttributeName": "ProxyProtocol", "AttributeValue": "true"},
            {"AttributeName": "Other", "AttributeValue": "1"},
        ],
    ],
)
def test_the_header_s_policy_has_one_attribute_true_or_false(elb, refused, attributes):
    """ProxyProtocolPolicyType: ProxyProtocol, Boolean, cardinality ONE (ELB API, DescribeLoadBalancerPolicyTypes);
    anything else is an InvalidConfigurationRequest (botocore elb/2012-06-01, CreateLoadBalancerPolicy)."""
    wrong = PROXY | {"PolicyAttributes": attributes, "PolicyName": "p"}
    code = refused(elb.create_load_balancer_policy, LoadBalancerName="mx", **wrong)
    assert code == ("InvalidConfigurationRequest", 409)
    assert policies(elb) == []


@pytest.mark.parametrize("name", ["proxy_1", "proxy protocol", "a.b", "ü"])
def test_a_policy_s_name_is_letters_digits_and_hyphens(elb, refused, name):
    """ "Policy names must consist of alphanumeric characters and dashes (-)" (ELB API, CreateLBCookieStickinessPolicy);
    the code is assumed."""
    wrong = {"LoadBalancerName": "mx", "PolicyName": name, **PROXY}
    assert refused(elb.create_load_balancer_policy, **wrong) == ("ValidationError", 400)
    assert policies(elb) == []


def test_a_balancer_has_so_many_policies_and_no_more(elb, refused):
    """TooManyPolicies (botocore elb/2012-06-01, CreateLoadBalancerPolicy); AWS tells no number, 100 is assumed."""
    for number in range(100):
        proxy(elb, f"p-{number}")
    one_more = {"LoadBalancerName": "mx", "PolicyName": "p-100", **PROXY}
    assert refused(elb.create_load_balancer_policy, **one_more) == ("TooManyPolicies", 400)
    proxy(elb, "p-99")  # is there already
    elb.delete_load_balancer_policy(LoadBalancerName="mx", PolicyName="p-0")
    proxy(elb, "p-100")
    assert len(policies(elb)) == 100


def test_a_policy_for_listeners_cannot_be_set_on_an_instance_port(elb, refused, backends):
    """Cookie stickiness is of listeners: InvalidConfigurationRequest (ELB API, SetLoadBalancerPoliciesOfListener and
    SetLoadBalancerPoliciesForBackendServer)."""
    elb.create_lb_cookie_stickiness_policy(LoadBalancerName="mx", PolicyName="lb-cookie")
    elb.create_app_cookie_stickiness_policy(LoadBalancerName="mx", PolicyName="app-cookie", CookieName="c")
    proxy(elb)
    for name in ("lb-cookie", "app-cookie"):
        params = {"LoadBalancerName": "mx", "InstancePort": 25, "PolicyNames": ["proxy", name]}
        code = refused(elb.set_load_balancer_policies_for_backend_server, **params)
        assert code == ("InvalidConfigurationRequest", 409)
    assert backends() == {}


def test_a_page_is_within_its_bounds_and_begins_at_a_marker_that_was_given(elb, refused):
    """PageSize 1 to 400 (botocore elb/2012-06-01, DescribeLoadBalancers); a Marker is one from an earlier answer, and
    the code for any other is assumed."""
    assert refused(elb.describe_load_balancers, PageSize=401) == ("ValidationError", 400)
    assert refused(elb.describe_load_balancers, Marker="gone") == ("ValidationError", 400)


def test_tags_of_aws_are_nobody_s_to_set(elb, refused):
    """ "Do not use the aws: prefix in your tag names" (User Guide for Classic Load Balancers, tag restrictions); the
    code is assumed."""
    tags = [{"Key": "mine", "Value": "x"}, {"Key": "aws:cloudformation:stack-name", "Value": "x"}]
    assert refused(elb.add_tags, LoadBalancerNames=["mx"], Tags=tags) == ("ValidationError", 400)
    (described,) = elb.describe_tags(LoadBalancerNames=["mx"])["TagDescriptions"]
    assert described["Tags"] == []


def test_a_balancer_has_an_interface_with_its_groups_as_long_as_it_is_there(aws, elb):
    """User guide: a load balancer's interfaces are described as `ELB` and its name."""

    def interfaces():
        found = aws("ec2").describe_network_interfaces()["NetworkInterfaces"]
        return [{g["GroupId"] for g in each["Groups"]} for each in found if each["Description"] == "ELB mx"]

    [described] = elb.describe_load_balancers(LoadBalancerNames=["mx"])["LoadBalancerDescriptions"]
    assert interfaces() == [set(described["SecurityGroups"])]
    vpc = aws("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]
    other = aws("ec2").create_security_group(GroupName="other", Description="other", VpcId=vpc)["GroupId"]
    elb.apply_security_groups_to_load_balancer(LoadBalancerName="mx", SecurityGroups=[other])
    assert interfaces() == [{other}]
    elb.delete_load_balancer(LoadBalancerName="mx")
    assert interfaces() == []
