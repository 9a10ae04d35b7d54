"""The template says what the code does: rules and events, environment and settings, parameters and document."""

import ast
import itertools
import json
from pathlib import Path

import botocore.session
import pytest
import re2
import yaml

from local.strict.patterns import matches
from local.template import Template
from smtp_fleet import settings, ssm
from smtp_fleet.evidence import Ask, Invocation, Verb, believe
from smtp_fleet.fleet import HOOK_NAME
from smtp_fleet.mind import LEASE

TEMPLATE = Template(Path("template.yaml"))
RULES = TEMPLATE.resources("AWS::Events::Rule")
ASPECTS = ("CodeUri", "Description", "Environment", "Policies", "Events", "Timeout", "RecursiveLoop")
FUNCTIONS = TEMPLATE.resources("AWS::Serverless::Function", *ASPECTS)
DOCUMENT = yaml.safe_load(Path("documents/configure-postfix.yaml").read_text())

WOKEN_BY = {
    "add-tags": "LoadBalancerRule",
    "create-load-balancer": "LoadBalancerRule",
    "create-load-balancer-untagged": "LoadBalancerRule",
    "create-load-balancer-listeners": "LoadBalancerRule",
    "set-load-balancer-policies": "LoadBalancerRule",
    "create-auto-scaling-group": "GroupRule",
    "detach-load-balancers": "GroupRule",
    "instance-launch-lifecycle-action": "LaunchRule",
    "instance-launch-successful": "LaunchRule",
    "command-invocation-ended": "InvocationRule",
}


CHANGES = {
    "LoadBalancerRule": {
        "CreateLoadBalancer",
        "DeleteLoadBalancer",
        "CreateLoadBalancerListeners",
        "DeleteLoadBalancerListeners",
        "AddTags",
        "RemoveTags",
        "SetLoadBalancerPoliciesForBackendServer",
        "DeleteLoadBalancerPolicy",
        "RegisterInstancesWithLoadBalancer",
        "DeregisterInstancesFromLoadBalancer",
    },
    "GroupRule": {
        "CreateAutoScalingGroup",
        "UpdateAutoScalingGroup",
        "DeleteAutoScalingGroup",
        "AttachLoadBalancers",
        "DetachLoadBalancers",
        "AttachLoadBalancerTargetGroups",
        "DetachLoadBalancerTargetGroups",
        "AttachTrafficSources",
        "DetachTrafficSources",
        "AttachInstances",
        "DetachInstances",
        "EnterStandby",
        "ExitStandby",
        "PutLifecycleHook",
        "DeleteLifecycleHook",
        "ResumeProcesses",
    },
}
"""The calls that change what a fleet is, by the rule that takes them."""


def woken(event):
    return [name for name, rule in RULES.items() if "EventPattern" in rule and matches(rule["EventPattern"], event)]


def model(service):
    return botocore.session.get_session().get_service_model(service)


@pytest.mark.parametrize("path", sorted(Path("events").glob("*.json")), ids=lambda path: path.stem)
def test_each_sample_event_wakes_by_exactly_one_rule(path):
    expected = [] if path.stem == "sweep" else [WOKEN_BY[path.stem]]  # the sweep comes by a schedule, not by a pattern
    assert woken(json.loads(path.read_text())) == expected


@pytest.mark.parametrize("path", sorted(Path("events/ignored").glob("*.json")), ids=lambda path: path.stem)
def test_an_event_of_somebody_else_wakes_nobody(path):
    assert woken(json.loads(path.read_text())) == []


@pytest.mark.parametrize(
    ("rule", "service", "named"),
    [
        ("LoadBalancerRule", "elb", {"LoadBalancerName", "LoadBalancerNames"}),
        ("GroupRule", "autoscaling", {"AutoScalingGroupName"}),
    ],
)
def test_a_rule_takes_each_call_that_changes_a_fleet_unless_it_failed_and_no_other(rule, service, named):
    sample = json.loads(Path("events/create-load-balancer.json").read_text())
    api, pattern = model(service), RULES[rule]["EventPattern"]
    assert CHANGES[rule] <= set(api.operation_names)
    for call in api.operation_names:
        detail = {"eventName": call, "eventSource": pattern["detail"]["eventSource"][0]}
        event = sample | {"source": pattern["source"][0], "detail": sample["detail"] | detail}
        assert woken(event) == ([rule] if call in CHANGES[rule] else [])
        assert woken(event | {"detail": event["detail"] | {"errorCode": "AccessDenied"}}) == []
        if call in CHANGES[rule]:  # the event has the request's own members, the first letter lowered
            assert named.intersection(api.operation_model(call).input_shape.members)


@pytest.mark.parametrize(
    ("detail_type", "hook", "taken"),
    [
        ("EC2 Instance-launch Lifecycle Action", HOOK_NAME, True),
        ("EC2 Instance-launch Lifecycle Action", "somebody-else-s", False),
        ("EC2 Instance-terminate Lifecycle Action", HOOK_NAME, False),
        ("EC2 Instance Launch Successful", None, True),
        ("EC2 Instance Terminate Successful", None, True),
        ("EC2 Instance Launch Unsuccessful", None, False),
    ],
)
def test_a_launch_under_our_hook_and_whoever_came_or_went_wakes(detail_type, hook, taken):
    detail = {"AutoScalingGroupName": "mx", "EC2InstanceId": "i-0123456789abcdef0"}
    detail |= {"LifecycleHookName": hook} if hook else {}
    event = {"source": "aws.autoscaling", "detail-type": detail_type, "detail": detail}
    assert woken(event) == (["LaunchRule"] if taken else [])


@pytest.mark.parametrize("status", model("ssm").shape_for("CommandInvocationStatus").enum)
def test_an_invocation_wakes_in_those_states_that_the_mind_takes_for_an_end(status):
    event = json.loads(Path("events/command-invocation-ended.json").read_text())
    event["detail"]["status"] = status
    final = believe(Ask(Verb.LOOK, frozenset({25}), 1), Invocation("i-1", status, status, "")) is not None
    assert woken(event) == (["InvocationRule"] if final else [])


def test_the_sweep_comes_each_five_minutes_by_default_and_by_a_schedule_that_is_one():
    assert RULES["SweepRule"]["ScheduleExpression"] == "rate(5 minutes)"
    assert TEMPLATE.declared["CheckMinutes"]["MinValue"] >= 2  # one minute would be `rate(1 minute)`


def test_what_no_rule_can_deliver_is_kept_beside_what_no_function_could_handle():
    queues = TEMPLATE.resources("AWS::SQS::Queue")
    wakes, dead = (TEMPLATE.resolve({"Fn::GetAtt": [name, "Arn"]}) for name in ("WakesQueue", "WakesDeadLetters"))
    for rule in RULES.values():
        [target] = rule["Targets"]
        assert (target["Arn"], target["DeadLetterConfig"]) == (wakes, {"Arn": dead})
    for name in ("Wakes", "Asks"):  # a dead letter's age counts from when it was first sent
        assert queues[f"{name}Queue"]["MessageRetentionPeriod"] == 86_400
        assert queues[f"{name}DeadLetters"]["MessageRetentionPeriod"] == 14 * 86_400
    assert all(properties["SqsManagedSseEnabled"] is True for properties in queues.values())


def test_the_first_dead_letter_rings():
    alarms = TEMPLATE.resources("AWS::CloudWatch::Alarm")
    for name in ("WakesDeadLetters", "AsksDeadLetters"):
        alarm = alarms[f"{name}Alarm"]
        assert alarm["Dimensions"] == [{"Name": "QueueName", "Value": TEMPLATE.name(name)}]
        assert (alarm["MetricName"], alarm["Statistic"]) == ("ApproximateNumberOfMessagesVisible", "Maximum")
        assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("GreaterThanThreshold", 0)


def test_the_launch_rule_listens_to_the_hook_that_the_code_puts():
    pattern = RULES["LaunchRule"]["EventPattern"]
    assert pattern["$or"][0]["detail"]["LifecycleHookName"] == [HOOK_NAME]


@pytest.mark.parametrize(
    ("function", "told"),
    [
        ("ReconcileFleetFunction", settings.MindSettings),
        ("ConfigurePostfixFunction", settings.HandSettings),
        ("GuardStackFunction", settings.GuardSettings),
    ],
)
def test_the_environment_is_what_the_settings_read_and_its_defaults_are_good(function, told):
    variables = FUNCTIONS[function]["Environment"]["Variables"]
    ours = {name: str(value) for name, value in variables.items() if not name.startswith("POWERTOOLS_")}
    assert set(ours) == settings.names(told)
    assert settings.read(told, ours)


def test_a_description_is_what_the_function_says_of_itself():
    for function in FUNCTIONS.values():
        module = ast.parse(Path(function["CodeUri"], "app.py").read_text())
        assert function["Description"] == ast.get_docstring(module)


def statements(template=TEMPLATE):
    for name, function in template.resources("AWS::Serverless::Function", *ASPECTS).items():
        for policy in function["Policies"]:
            for statement in policy["Statement"]:
                actions = statement["Action"]
                yield name, statement, [actions] if isinstance(actions, str) else actions


def test_each_grant_has_its_purpose_and_only_reads_are_for_everything():
    for _, statement, actions in statements():
        assert statement["Sid"]
        assert not [action for action in actions if "*" in action]
        if statement["Resource"] == "*":
            assert all(action.split(":")[1].startswith(("Describe", "List", "Get")) for action in actions)


def test_a_command_can_be_sent_with_our_document_only():
    resources = [s["Resource"] for _, s, actions in statements() if "ssm:SendCommand" in actions]
    document = TEMPLATE.name("ConfigurePostfixDocument")
    assert sorted(resources) == [
        "arn:aws:ec2:us-east-1:123456789012:instance/*",
        f"arn:aws:ssm:us-east-1:123456789012:document/{document}",
    ]


def test_only_our_own_rules_may_send_wakes():
    [policy] = TEMPLATE.resources("AWS::SQS::QueuePolicy").values()
    [statement] = policy["PolicyDocument"]["Statement"]
    rules = {TEMPLATE.resolve({"Fn::GetAtt": [name, "Arn"]}) for name in RULES}
    queues = {TEMPLATE.resolve({"Fn::GetAtt": [name, "Arn"]}) for name in ("WakesQueue", "WakesDeadLetters")}
    assert set(statement["Resource"]) == queues
    assert (statement["Principal"], statement["Action"]) == ({"Service": "events.amazonaws.com"}, "sqs:SendMessage")
    assert set(statement["Condition"]["ArnEquals"]["aws:SourceArn"]) == rules
    assert statement["Condition"]["StringEquals"] == {"aws:SourceAccount": TEMPLATE.account}


def test_what_is_changed_is_of_the_fleet_or_the_stack_s_own():
    """The groups by the pattern of their names; nothing of EC2 is changed, tags included."""
    here = "us-east-1:123456789012"
    writes = {
        "autoscaling": [f"arn:aws:autoscaling:{here}:autoScalingGroup:*:autoScalingGroupName/mail-*"],
        "elasticloadbalancing": [f"arn:aws:elasticloadbalancing:{here}:loadbalancer/*"],
        "dynamodb": [f"arn:aws:dynamodb:{here}:table/{TEMPLATE.name('Ledger')}"],
        "sqs": [f"arn:aws:sqs:{here}:{TEMPLATE.name(name)}" for name in ("AsksQueue", "WakesQueue")],
        "ssm": [
            f"arn:aws:ssm:{here}:document/{TEMPLATE.name('ConfigurePostfixDocument')}",
            f"arn:aws:ec2:{here}:instance/*",
        ],
    }
    for _, statement, actions in statements(Template(Path("template.yaml"), {"GroupNamePattern": "mail-*"})):
        told = statement["Resource"]
        resources = {told} if isinstance(told, str) else set(told)
        for service, call in (action.split(":") for action in actions):
            assert call.startswith(("Describe", "List", "Get", "BatchGet")) or resources <= set(writes[service]), call


def test_each_action_that_is_granted_is_one():
    """For the calls used, an action is named as its operation."""
    apis = {"elasticloadbalancing": ["elb", "elbv2"], "tag": ["resourcegroupstaggingapi"]}
    for _, _, actions in statements():
        for service, call in (action.split(":") for action in actions):
            assert any(call in model(api).operation_names for api in apis.get(service, [service])), call


def test_the_log_of_each_function_is_kept_for_as_long_as_is_said():
    told = Template(Path("template.yaml"), {"LogRetentionDays": "7"})
    groups = told.resources("AWS::Logs::LogGroup")
    for function in told.resources("AWS::Serverless::Function", "LoggingConfig").values():
        [properties] = [p for name, p in groups.items() if told.name(name) == function["LoggingConfig"]["LogGroup"]]
        assert properties["RetentionInDays"] == "7"


DEFAULTS = {
    "TagKey": "smtp-proxy-protocol",
    "MailPorts": "25",
    "PolicyName": "EnableProxyProtocol",
    "FrontEnd": "postscreen",
    "TrustedClients": "none",
    "LiveCutover": "at-once",
    "CutoverBudgetSeconds": "45",
    "SettleSeconds": "60",
    "HookTimeoutSeconds": "900",
    "AgentWaitSeconds": "720",
    "CheckMinutes": "5",
    "CheckIntervalSeconds": "3600",
    "GroupNamePattern": "*",
    "Audit": "false",
    "Paused": "false",
    "AlarmTopicArn": "",
    "LogRetentionDays": "90",
    "CreateTrail": "false",
}


def test_each_parameter_has_a_good_default_and_its_place_in_the_console():
    assert TEMPLATE.parameters == DEFAULTS
    groups = TEMPLATE.body["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    assert sorted(name for group in groups for name in group["Parameters"]) == sorted(DEFAULTS)


def test_a_hook_s_timeout_is_one_that_auto_scaling_takes():
    """PutLifecycleHook: 30 to 7200 seconds."""
    timeout = TEMPLATE.declared["HookTimeoutSeconds"]
    assert 30 <= timeout["MinValue"] < timeout["MaxValue"] <= 7200


def test_every_message_outlives_the_function_and_ends_in_a_watched_queue():
    queues = TEMPLATE.resources("AWS::SQS::Queue")
    watched = {
        dimension["Value"]
        for alarm in TEMPLATE.resources("AWS::CloudWatch::Alarm").values()
        for dimension in alarm.get("Dimensions", [])
    }
    for function in FUNCTIONS.values():
        for source in function.get("Events", {}).values():
            queue = source["Properties"]["Queue"].rpartition(":")[2]
            [properties] = [p for name, p in queues.items() if TEMPLATE.name(name) == queue]
            assert properties["VisibilityTimeout"] >= 6 * function["Timeout"]
            assert properties["RedrivePolicy"]["deadLetterTargetArn"].rpartition(":")[2] in watched
            assert source["Properties"]["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
            assert function["RecursiveLoop"] == "Allow"


def test_what_the_guard_guards_is_deleted_after_it():
    """CloudFormation deletes a resource before those that it depends on."""
    guard = TEMPLATE.body["Resources"]["RetirementGuard"]
    sources = {f"{name}{source}" for name, function in FUNCTIONS.items() for source in function.get("Events", {})}
    working = {
        name
        for name, resource in TEMPLATE.body["Resources"].items()
        if resource["Type"].startswith(("AWS::Events::", "AWS::Serverless::Function", "AWS::CloudWatch::"))
    }
    assert set(guard["DependsOn"]) >= (working | sources) - {"GuardStackFunction"}


@pytest.mark.parametrize("wanted", ["true", "false"])
def test_a_trail_is_created_only_on_request_and_goes_after_the_guard(wanted):
    """Without it the events would stop while the guard refuses."""
    told = Template(Path("template.yaml"), {"CreateTrail": wanted})
    trails, buckets = told.resources("AWS::CloudTrail::Trail"), told.resources("AWS::S3::Bucket")
    assert (set(trails), set(buckets)) == (({"Trail"}, {"TrailBucket"}) if wanted == "true" else (set(), set()))
    [guard] = told.resources("AWS::CloudFormation::CustomResource").values()
    assert guard.get("Trail") == (told.name("Trail") if wanted == "true" else None)
    for statement in told.body["Resources"]["TrailBucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]:
        assert statement["Principal"] == {"Service": "cloudtrail.amazonaws.com"}
        assert told.resolve(statement["Condition"])["StringEquals"]["aws:SourceAccount"] == told.account


def test_the_lease_outlasts_the_function_by_a_minute():
    assert FUNCTIONS["ReconcileFleetFunction"]["Timeout"] + 60 <= LEASE


@pytest.mark.parametrize(
    ("verb", "ports", "front_end", "trusted"),
    list(
        itertools.product(
            Verb,
            [frozenset(), frozenset({25}), frozenset({25, 465, 587, 65535})],
            ["postscreen", "keep"],
            ["none", "10.0.0.0/8", "10.0.0.0/8 192.0.2.1 2001:db8::/32"],
        )
    ),
)
def test_what_is_sent_fits_the_document(verb, ports, front_end, trusted):
    told = settings.HandSettings("document", front_end, trusted, "ledger", "asks")
    sent = ssm.Commands(None, told).parameters(Ask(verb, ports, 1_800_000_000))
    for name, [value] in sent.items():
        assert re2.fullmatch(DOCUMENT["parameters"][name]["allowedPattern"], value)
    required = {name for name, p in DOCUMENT["parameters"].items() if "default" not in p}
    assert required <= set(sent) <= set(DOCUMENT["parameters"])


def test_what_the_stack_may_be_told_fits_the_document():
    trusted, front_end = TEMPLATE.declared["TrustedClients"], TEMPLATE.declared["FrontEnd"]
    assert trusted["AllowedPattern"] == DOCUMENT["parameters"]["TrustedClients"]["allowedPattern"]
    assert re2.fullmatch(DOCUMENT["parameters"]["FrontEnd"]["allowedPattern"], front_end["Default"])


@pytest.mark.parametrize("ports", [frozenset(), frozenset({25}), frozenset(range(10_000, 10_016))])
def test_a_comment_fits_into_the_command_history(ports):
    comment = ssm.comment(Ask(Verb.EXPECT, ports, 10**15), "SetLoadBalancerPoliciesForBackendServer")
    assert len(comment) <= 100
    assert re2.fullmatch("[ -~]+", comment)
