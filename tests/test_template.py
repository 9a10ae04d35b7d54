"""The template says what the code does: rules and events, environment and settings, parameters and document."""

import ast
import itertools
import json
from pathlib import Path

import pytest
import re2
import yaml

from local.strict.patterns import matches
from local.template import Template
from smtp_fleet import settings, ssm
from smtp_fleet.evidence import Ask, Verb
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


def woken(event):
    return [name for name, rule in RULES.items() if "EventPattern" in rule and matches(rule["EventPattern"], event)]


@pytest.mark.parametrize("path", sorted(Path("events").glob("*.json")), ids=lambda path: path.stem)
def test_each_sample_event_wakes_by_exactly_one_rule(path):
    expected = [] if path.stem == "sweep" else [WOKEN_BY[path.stem]]  # the sweep comes by a schedule, not by a pattern
    assert woken(json.loads(path.read_text())) == expected


@pytest.mark.parametrize("path", sorted(Path("events/ignored").glob("*.json")), ids=lambda path: path.stem)
def test_an_event_of_somebody_else_wakes_nobody(path):
    assert woken(json.loads(path.read_text())) == []


def test_each_call_that_a_rule_names_wakes_by_it():
    sample = json.loads(Path("events/create-load-balancer.json").read_text())
    for name in ("LoadBalancerRule", "GroupRule"):
        pattern = RULES[name]["EventPattern"]
        for call in pattern["detail"]["eventName"]:
            event = sample | {"source": pattern["source"][0]}
            event["detail"] = sample["detail"] | {"eventName": call, "eventSource": pattern["detail"]["eventSource"][0]}
            assert woken(event) == [name]


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


def statements():
    for name, function in FUNCTIONS.items():
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
    expected = {TEMPLATE.resolve({"Fn::GetAtt": [name, "Arn"]}) for name in RULES}
    assert set(statement["Condition"]["ArnEquals"]["aws:SourceArn"]) == expected


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
