"""`make invoke` shows what the rules and functions make of an event: rules, log lines, calls, and how it ended."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from local import invoke

EVENTS = sorted(Path("events").glob("*.json"))
TEST_NOTIFICATION = Path("events/ignored/lifecycle-test-notification.json")  # comes by SNS or SQS: it is no event
IGNORED = sorted(set(Path("events/ignored").glob("*.json")) - {TEST_NOTIFICATION})
ABOUT_THE_FLEET = {
    "add-tags", "command-invocation-ended", "create-auto-scaling-group", "create-load-balancer",
    "create-load-balancer-listeners", "detach-load-balancers", "instance-launch-lifecycle-action",
    "instance-launch-successful", "set-load-balancer-policies", "sweep",
}  # fmt: skip
"""They lead the whole way in the default world."""
ONE = "i-0123456789abcdef0"
CREATE = "events/create-load-balancer.json"
MX = {"tags": {"smtp-proxy-protocol": "enabled"}, "listeners": [{"port": 25, "instance_port": 25}]}
OURS = {"EnableProxyProtocol": {"type": "ProxyProtocolPolicyType", "attributes": {"ProxyProtocol": "true"}}}
HELD = {"load_balancers": ["mx-1"], "hooks": {"smtp-fleet": {}}}


@pytest.fixture
def run(capsys, tmp_path):
    """Invokes with an event and a world, and gives the exit code, what it found and what it says beside."""

    def run(event, given=None):
        arguments = [str(event), "--json"]
        if given is not None:
            path = tmp_path / "world.json"
            path.write_text(json.dumps(given))
            arguments += ["--world", str(path)]
        code = invoke.main(arguments)
        said = capsys.readouterr()
        return code, json.loads(said.out) if said.out else None, said.err

    return run


def operations(found):
    return [call["operation"] for call in found["calls"]]


def changes(found):
    """What was changed, but for the ledger, the queues and the lease in it."""
    quiet = {"sqs", "dynamodb"}
    writes = [c for c in found["calls"] if not c["operation"].startswith(("Describe", "Get", "List"))]
    return [call["operation"] for call in writes if call["service"] not in quiet]


@pytest.mark.parametrize("path", EVENTS, ids=lambda path: path.stem)
def test_each_sample_event_wakes_the_mind_in_the_default_world(run, path):
    code, found, _ = run(path)
    assert code == 0
    assert len(found["rules"]) == 1
    assert found["functions"]["ReconcileFleetFunction"]["error"] is None
    assert found["functions"]["ReconcileFleetFunction"]["logs"]
    if path.stem in ABOUT_THE_FLEET:
        assert changes(found) == [
            "CreateLoadBalancerPolicy",
            "SetLoadBalancerPoliciesForBackendServer",
            "SendCommand",
            "CompleteLifecycleAction",
        ]


def test_an_untagged_balancer_costs_two_reads(run):
    _, found, _ = run("events/create-load-balancer-untagged.json")
    assert [c["operation"] for c in found["calls"] if c["service"] != "dynamodb"] == [
        "DescribeTags",
        "DescribeLoadBalancers",
    ]
    assert list(found["functions"]) == ["ReconcileFleetFunction"]


@pytest.mark.parametrize("path", IGNORED, ids=lambda path: path.stem)
def test_an_event_of_somebody_else_wakes_nobody_and_is_no_mistake(run, path):
    assert run(path) == (0, {"rules": [], "functions": {}, "calls": []}, "")


def test_it_says_that_no_rule_takes_an_event(capsys):
    assert invoke.main([str(IGNORED[0])]) == 0
    assert capsys.readouterr().out == "rules: none takes it, so no function is woken\n"


def test_a_scheduled_event_comes_by_the_schedule(run):
    code, found, _ = run("events/sweep.json", {})
    assert (code, found["rules"]) == (0, ["SweepRule"])
    assert "GetResources" in operations(found)


def test_a_new_balancer_gets_the_policy_and_is_looked_at_again(run):
    code, found, _ = run(CREATE, {"load_balancers": {"mx-1": MX}})
    assert code == 0
    assert changes(found) == ["CreateLoadBalancerPolicy", "SetLoadBalancerPoliciesForBackendServer"]
    said = [line["message"] for line in found["functions"]["ReconcileFleetFunction"]["logs"] if "message" in line]
    assert [line for line in said if line in ("nobody behind it: attaching", "on")] == [
        "nobody behind it: attaching",
        "on",
    ]


def test_what_is_right_already_is_left_alone(run):
    right = MX | {"policies": OURS, "instance_ports": {"25": ["EnableProxyProtocol"]}}
    hook = {"default_result": "ABANDON", "timeout": 900}
    world = {
        "load_balancers": {"mx-1": right},
        "groups": {"mx": HELD | {"hooks": {"smtp-fleet": hook}, "instances": {ONE: "InService"}}},
        "instances": {ONE: {"postfix": {"speaks": {"25": "proxy"}}}},
        "ledger": {
            "hooks": {"mx": 600},
            "machines": {ONE: {"asked": [25], "speaks": {"25": "proxy"}, "admitted": True}},
        },
    }
    code, found, _ = run(CREATE, world)
    assert (code, changes(found)) == (0, [])
    assert "ConfigurePostfixFunction" not in found["functions"]


def test_an_instance_that_cannot_is_never_let_in(run):
    world = {
        "load_balancers": {"mx-1": MX},
        "groups": {"mx": HELD | {"instances": {ONE: "Pending:Wait"}}},
        "instances": {ONE: {"postfix": {"class": "refused", "reason": "docker-proxy owns port 25"}}},
        "ledger": {"hooks": {"mx": 600}},
    }
    code, found, _ = run(CREATE, world)
    assert code == 0
    assert "SendCommand" in changes(found)
    completed = [c["params"] for c in found["calls"] if c["operation"] == "CompleteLifecycleAction"]
    assert all(params["LifecycleActionResult"] != "CONTINUE" for params in completed)
    assert "docker-proxy owns port 25" in json.dumps(found["functions"]["ReconcileFleetFunction"]["logs"])


def test_one_on_its_way_into_a_warm_pool_is_asked_and_let_in(run):
    world = {
        "load_balancers": {"mx-1": MX},
        "groups": {"mx": HELD | {"instances": {ONE: "Warmed:Pending:Wait"}}},
        "instances": {ONE: {}},
        "ledger": {"hooks": {"mx": 600}},
    }
    code, found, _ = run(CREATE, world)
    assert code == 0
    assert "DescribeWarmPool" in operations(found)
    [completed] = [c for c in found["calls"] if c["operation"] == "CompleteLifecycleAction"]
    assert (completed["params"]["LifecycleActionResult"], completed["error"]) == ("CONTINUE", None)


def test_a_planned_wait_is_told_and_not_waited_for(run):
    world = {
        "load_balancers": {"mx-1": MX},
        "groups": {"mx": HELD | {"instances": {ONE: "Pending:Wait"}}},
        "instances": {ONE: {"agent": "none"}},
        "ledger": {"hooks": {"mx": 600}},
    }
    code, found, beside = run(CREATE, world)
    assert (code, "SendCommand" in operations(found)) == (0, False)
    # Up to 10 s from when it was planned: a busy machine has used some of them up.
    assert re.search(r"ConfigurePostfixFunction is to look again in ([3-9]|10) s: not waited for", beside)


def test_a_function_that_breaks_is_named_with_its_error(run, monkeypatch):
    broken = {"ReconcileFleetFunction": {"Handler": "app.no_such_handler"}}
    monkeypatch.setattr(invoke, "hastened", lambda template: broken)
    code, found, _ = run(CREATE, {"load_balancers": {"mx-1": MX}})
    assert code == 1
    assert "no_such_handler" in found["functions"]["ReconcileFleetFunction"]["error"]
    assert found["calls"] == []


NO_EVENTS = [
    (b"{", "expected JSON"),
    (b"\xff", "expected JSON in UTF-8"),
    (b"[" * 200_000 + b"]" * 200_000, "expected JSON, nested at most 100 deep"),
    (b"[]", "expected an event, which is an object, not a JSON list"),
    (b"{}", "expected an event, which has a text under 'source'"),
    (b'{"source": "aws.ec2"}', "expected an event, which has a text under 'detail-type'"),
    (b'{"source": "a", "detail-type": "b", "detail": 1}', "expected an event, whose 'detail' is an object"),
    (None, "No such file or directory"),
]


@pytest.mark.parametrize(("content", "complaint"), NO_EVENTS, ids=[complaint for _, complaint in NO_EVENTS])
def test_a_file_that_is_no_event_is_told_in_one_line(run, tmp_path, content, complaint):
    path = tmp_path / "event.json"
    if content is not None:
        path.write_bytes(content)
    code, found, said = run(path)
    assert (code, found) == (2, None)
    assert said.startswith(f"{path}: ")
    assert complaint in said
    assert said.count("\n") == 1


def test_a_test_notification_is_no_event(run):
    code, found, said = run(TEST_NOTIFICATION)
    assert (code, found) == (2, None)
    assert said == f"{TEST_NOTIFICATION}: expected an event, which has a text under 'source'\n"


def test_a_mistaken_world_is_told_in_one_line_and_nothing_runs(run, monkeypatch):
    monkeypatch.setattr(invoke, "run", None)
    code, found, said = run(CREATE, {"load_balancers": {"mx-1": {"listeners": 25}}})
    assert (code, found) == (2, None)
    assert said.endswith('load_balancers["mx-1"].listeners: expected a list of 1 or more, not 25\n')
    assert said.count("\n") == 1


def test_what_a_function_says_as_it_breaks_is_no_markup(capsys):
    """An error is text from anywhere: neither a style nor a closing tag that opens nothing, which would end it all."""
    broken = {"error": "KeyError: [/nothing] [bold]x[/bold]", "logs": []}
    invoke._sum_up({"functions": {"F": broken}, "calls": []}, ["[red]later"])
    assert capsys.readouterr().out == "F: KeyError: [/nothing] [bold]x[/bold], 0 log lines\n0 calls\n[red]later\n"


def make(*arguments):
    """As a user calls it, not as a part of the `make test` that may be running."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    argv = ["make", "-s", "-o", ".venv/.done", "invoke", *arguments]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)


def test_make_prints_exactly_one_object(tmp_path):
    path = tmp_path / "a world's.json"
    path.write_text(json.dumps({"load_balancers": {"mx-1": MX}}))
    done = make(f"EVENT={CREATE}", f"WORLD={path}", "JSON=1")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert list(found) == ["rules", "functions", "calls"]
    assert [list(function) for function in found["functions"].values()] == [["error", "logs"]]
    assert {tuple(call) for call in found["calls"]} == {("service", "operation", "params", "error")}
    [created] = [call for call in found["calls"] if call["operation"] == "CreateLoadBalancerPolicy"]
    assert (created["service"], created["error"]) == ("elb", None)
    assert created["params"]["PolicyTypeName"] == "ProxyProtocolPolicyType"


def test_make_without_an_event_says_how():
    done = make()
    assert done.returncode == 2
    assert "usage: make invoke EVENT=" in done.stderr


def test_the_story_for_people_names_rules_decisions_and_calls(capsys):
    assert invoke.main([CREATE]) == 0
    told = capsys.readouterr().out
    assert told.startswith("rules: LoadBalancerRule\n")
    for part in (
        "event    CreateLoadBalancer → LoadBalancerRule",
        "decides  every launch is held: attaching",
        "does     elb:CreateLoadBalancerPolicy LoadBalancerName=mx-1",
        f"asks     {ONE}: smtp-fleet expect ports=25",
        "does     autoscaling:CompleteLifecycleAction",
        "ReconcileFleetFunction: no error",
    ):
        assert part in told
    assert "\x1b" not in told  # no colour but on a terminal
