"""A world is read with one clear complaint, and is in the Region what it says, with nobody woken by its making."""

import json
import re
from pathlib import Path

import pytest

from local import stage, world
from local.region import Region
from local.shape import Mistake
from local.template import Template

TEMPLATE = Path("template.yaml")
EXAMPLE = Path("docs/world.example.json")
DECLARED = Template(TEMPLATE).declared
ONE, TWO = "i-0123456789abcdef0", "i-0123456789abcdef1"
LISTENER = {"port": 25, "instance_port": 25}
BALANCERS = {"load_balancers": {"mx-1": {"listeners": [LISTENER]}}}
PROXY = {"type": "ProxyProtocolPolicyType", "attributes": {"ProxyProtocol": "true"}}


def balancer(**facts):
    return {"load_balancers": {"mx-1": {"listeners": [LISTENER], **facts}}, "instances": {ONE: {}}}


def group(**facts):
    return {"groups": {"mail servers/mx": facts}, "instances": {ONE: {}, TWO: {}}}


MISTAKES = [
    ([], "the whole: expected an object, not []"),
    ({"balancers": {}}, "balancers: expected one of parameters, load_balancers, groups, instances, ledger"),
    ({"parameters": {"Settle": "5"}}, "parameters.Settle: expected a parameter of template.yaml"),
    ({"parameters": {"SettleSeconds": 5}}, 'parameters["SettleSeconds"]: expected a text, not 5'),
    ({"parameters": {"MailPorts": "smtp"}}, 'parameters["MailPorts"]: expected a text that matches ^[1-9]'),
    ({"parameters": {"Audit": "yes"}}, 'parameters["Audit"]: expected one of true, false, not "yes"'),
    ({"parameters": {"SettleSeconds": "5 s"}}, 'parameters["SettleSeconds"]: expected a number in quotes, not "5 s"'),
    (
        {"parameters": {"SettleSeconds": "3601"}},
        'parameters["SettleSeconds"]: expected a number from 1 to 3600, in quotes, not "3601"',
    ),
    ({"parameters": {"CheckMinutes": "1"}}, 'parameters["CheckMinutes"]: expected a number from 2 to 60, in quotes'),
    ({"load_balancers": {"mx_1": {}}}, "a name in load_balancers: expected 1 to 32 letters, digits or hyphens"),
    ({"load_balancers": {"mx-1": {}}}, 'load_balancers["mx-1"].listeners: expected, but it is not there'),
    (balancer(listeners=[]), 'load_balancers["mx-1"].listeners: expected a list of 1 or more, not []'),
    (
        balancer(listeners=[{"port": "25", "instance_port": 25}]),
        'load_balancers["mx-1"].listeners[0].port: expected a port from 1 to 65535, not "25"',
    ),
    (balancer(listeners=[LISTENER, LISTENER]), 'load_balancers["mx-1"].listeners[1].port: expected a port of its own'),
    (
        balancer(listeners=[{**LISTENER, "protocol": "UDP"}]),
        "listeners[0].protocol: expected one of TCP, SSL, HTTP, HTTPS",
    ),
    (balancer(tags={"": "x"}), 'a name in load_balancers["mx-1"].tags: expected a key of 1 to 128 characters, not ""'),
    (balancer(tags={"k" * 129: "x"}), 'a name in load_balancers["mx-1"].tags: expected a key of 1 to 128 characters'),
    (balancer(tags={"a": "v" * 257}), 'load_balancers["mx-1"].tags["a"]: expected a text of at most 256 characters'),
    (
        balancer(tags={f"key-{number}": "" for number in range(51)}),
        'load_balancers["mx-1"].tags: expected at most 50, not 51',
    ),
    (balancer(tags={"a": 1}), 'load_balancers["mx-1"].tags["a"]: expected a text of at most 256 characters, not 1'),
    (balancer(policies={"p": {"type": "Proxy"}}), 'policies["p"].type: expected one of AppCookieStickinessPolicyType'),
    (
        balancer(policies={"p": {"type": "ProxyProtocolPolicyType"}}),
        'policies["p"].attributes: expected {"ProxyProtocol": "true"} or "false", not {}',
    ),
    (
        balancer(policies={"p": {"type": "LBCookieStickinessPolicyType"}}, instance_ports={"25": ["p"]}),
        'instance_ports["25"][0]: expected no policy for listeners, not "p"',
    ),
    (balancer(instance_ports={"26": []}), 'instance_ports: expected the instance_port of a listener, not "26"'),
    (balancer(instance_ports={"25": ["p"]}), 'instance_ports["25"][0]: expected a name from its policies, not "p"'),
    (balancer(instances=[TWO]), 'load_balancers["mx-1"].instances[0]: expected a name from instances'),
    (
        group(load_balancers=["mx-9"]),
        'groups["mail servers/mx"].load_balancers[0]: expected a name from load_balancers',
    ),
    (group(hooks={"h": {"timeout": 5}}), 'hooks["h"].timeout: expected seconds from 30 to 7200, not 5'),
    (group(instances={ONE: "Waiting"}), f'instances["{ONE}"]: expected one of Pending, Pending:Wait'),
    (group(instances={ONE: "Pending:Wait"}), 'expected a hook in groups["mail servers/mx"].hooks to wait at'),
    (group(instances={ONE: "Warmed:Pending:Wait"}), 'expected a hook in groups["mail servers/mx"].hooks to wait at'),
    (group(instances={"i-1": "InService"}), "expected an instance id like i-0123456789abcdef0"),
    (
        {"groups": {n: {"instances": {ONE: "InService"}} for n in "ab"}, "instances": {ONE: {}}},
        f'groups["b"].instances: expected {ONE} in one group, but groups["a"] has it too',
    ),
    ({"instances": {ONE: {"agent": "online"}}}, "agent: expected one of Online, ConnectionLost, none"),
    ({"instances": {ONE: {"postfix": {"speaks": {"25": "smtp"}}}}}, "expected one of plain, proxy, unknown"),
    ({"instances": {ONE: {"postfix": {"can": "yes"}}}}, 'postfix.can: expected true or false, not "yes"'),
    ({"instances": {ONE: {"postfix": {"can": True, "class": "ok"}}}}, "postfix: expected can or class, not both"),
    ({"ledger": {"hooks": {"gone": 1}}}, "ledger.hooks: expected a name from groups"),
    ({"ledger": {"machines": {ONE: {"asked": 25}}}}, f'ledger.machines["{ONE}"].asked: expected a list, not 25'),
]


@pytest.mark.parametrize(("mistaken", "complaint"), MISTAKES, ids=[complaint[:50] for _, complaint in MISTAKES])
def test_a_mistake_is_told_in_one_line_with_its_place(tmp_path, mistaken, complaint):
    path = tmp_path / "world.json"
    path.write_text(json.dumps(mistaken))
    with pytest.raises(Mistake) as told:
        world.read(path, DECLARED)
    assert complaint in str(told.value)
    assert str(told.value).startswith(f"{path}: ")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b'{"instances": {},\n "instances": {}}', "instances: expected once, but it is there 2 times"),
        (b'{"instances": \n }', "line 2: expected JSON"),
        (b"\xff", "expected JSON in UTF-8"),
        (b"[" * 200_000 + b"]" * 200_000, "expected JSON, nested at most 100 deep"),
        (b"[" * 101 + b"]" * 101, "expected JSON, nested at most 100 deep"),
        (b'{"a":' * 100 + b"[]" + b"}" * 100, "expected JSON, nested at most 100 deep"),
        (b"[" * 100 + b"1" + b"]" * 100, "the whole: expected an object, not [["),
        (b'{"a":' * 200_000, "expected JSON, nested at most 100 deep"),
        (None, "No such file or directory"),
    ],
)
def test_a_file_that_holds_no_world_is_told_in_one_line(tmp_path, content, complaint):
    path = tmp_path / "world.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Mistake) as told:
        world.read(path, DECLARED)
    assert complaint in str(told.value)
    assert "\n" not in str(told.value)


def test_what_is_just_within_the_limits_is_a_world():
    tags = {"k" * 128: "v" * 256} | {f"key-{number}": "" for number in range(49)}
    given = balancer(tags=tags) | {"parameters": {"SettleSeconds": "3600", "CheckMinutes": "2"}}
    assert world.checked(given, DECLARED)["load_balancers"]["mx-1"]["tags"] == tags


def test_the_example_is_a_world():
    assert world.read(EXAMPLE, DECLARED)["load_balancers"]["mx-1"]["tags"] == {"smtp-proxy-protocol": "enabled"}


def ask(verb, ports):
    return {"Verb": [verb], "Ports": [ports], "Epoch": ["7"]}


def told(answer):
    return json.loads(answer.stdout)


def test_an_able_host_expects_and_lets_go():
    hosts = stage.Hosts({ONE: world.checked({"instances": {ONE: {}}}, {})["instances"][ONE]})
    looked = hosts.answer(ONE, {}, ask("look", "25 587"), "c")
    assert (told(looked)["ports"], told(looked)["changed"]) == ({"25": "plain", "587": "plain"}, False)
    first, again = (told(hosts.answer(ONE, {}, ask("expect", "25"), "c")) for _ in range(2))
    assert (first["ports"], first["changed"], again["changed"]) == ({"25": "proxy"}, True, False)
    let_go = hosts.answer(ONE, {}, ask("expect", "none"), "c")
    assert (told(let_go)["ports"], let_go.status, let_go.response_code) == ({"25": "plain"}, "Success", 0)


@pytest.mark.parametrize(
    ("postfix", "kind", "code"),
    [({"can": False, "reason": "docker"}, "refused", 12), ({"class": "edited"}, "edited", 13), (None, "broken", 11)],
)
def test_a_host_that_cannot_says_so_and_stays_as_it_is(postfix, kind, code):
    hosts = stage.Hosts(world.checked({"instances": {ONE: {"postfix": postfix}}}, {})["instances"])
    answer = hosts.answer(ONE, {}, ask("expect", "25"), "c")
    assert (told(answer)["class"], answer.status, answer.response_code) == (kind, "Failed", code)
    assert (told(answer)["ports"], told(answer)["changed"]) == ({"25": "plain"}, False)


def test_a_lost_command_has_no_verdict():
    hosts = stage.Hosts(world.checked({"instances": {ONE: {"postfix": {"class": "lost"}}}}, {})["instances"])
    answer = hosts.answer(ONE, {}, ask("expect", "25"), "c")
    assert (answer.status, answer.status_details, answer.stdout) == ("TimedOut", "DeliveryTimedOut", "")


FULL = {
    "load_balancers": {
        "mx-1": {
            "tags": {"smtp-proxy-protocol": "25"},
            "listeners": [LISTENER, {"port": 465, "instance_port": 465, "protocol": "SSL"}],
            "policies": {"mine": PROXY},
            "instance_ports": {"25": ["mine"]},
            "instances": ["i-0000000000000000a"],
        }
    },
    "groups": {
        "mail servers/mx": {
            "load_balancers": ["mx-1"],
            "hooks": {"smtp-fleet": {"default_result": "CONTINUE", "timeout": 60}},
            "instances": {
                ONE: "InService",
                TWO: "Pending:Wait",
                "i-0123456789abcdef2": "Standby",
                "i-0123456789abcdef3": "Warmed:Stopped",
                "i-0123456789abcdef4": "Warmed:Pending:Wait",
            },
        }
    },
    "instances": {
        ONE: {},
        TWO: {"agent": "ConnectionLost"},
        "i-0123456789abcdef2": {"agent": "none"},
        "i-0123456789abcdef3": {"agent": "none"},
        "i-0123456789abcdef4": {"agent": "none"},
        "i-0000000000000000a": {},
    },
    "ledger": {
        "hooks": {"mail servers/mx": 60},
        "off": {"mx-1": {"465": 60}},
        "machines": {ONE: {"asked": [25], "speaks": {"25": "proxy"}, "admitted": True}},
    },
}


@pytest.fixture(scope="module")
def built():
    with Region(TEMPLATE) as region:
        stage.build(region, world.checked(FULL, {}))
        yield region


def test_the_balancer_is_as_described(built):
    elb = built.client("elb")
    [mx] = elb.describe_load_balancers()["LoadBalancerDescriptions"]
    assert mx["BackendServerDescriptions"] == [{"InstancePort": 25, "PolicyNames": ["mine"]}]
    assert {i["InstanceId"] for i in mx["Instances"]} == {ONE, "i-0000000000000000a"}  # in service, and by hand
    assert {x["Listener"]["LoadBalancerPort"]: x["Listener"]["Protocol"] for x in mx["ListenerDescriptions"]} == {
        25: "TCP",
        465: "SSL",
    }
    [tags] = elb.describe_tags(LoadBalancerNames=["mx-1"])["TagDescriptions"]
    assert tags["Tags"] == [{"Key": "smtp-proxy-protocol", "Value": "25"}]


def test_the_group_is_as_described(built):
    autoscaling = built.client("autoscaling")
    [group] = autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"]
    states = {i["InstanceId"]: i["LifecycleState"] for i in group["Instances"]}
    pool = autoscaling.describe_warm_pool(AutoScalingGroupName="mail servers/mx")["Instances"]
    warm = {i["InstanceId"]: i["LifecycleState"] for i in pool}
    assert set(warm) == {"i-0123456789abcdef3", "i-0123456789abcdef4"}
    assert states | warm == FULL["groups"]["mail servers/mx"]["instances"]
    assert not set(states) & set(warm)
    assert group["DesiredCapacity"] == 3
    [hook] = autoscaling.describe_lifecycle_hooks(AutoScalingGroupName="mail servers/mx")["LifecycleHooks"]
    assert (hook["DefaultResult"], hook["HeartbeatTimeout"]) == ("CONTINUE", 60)
    complete = {"AutoScalingGroupName": "mail servers/mx", "LifecycleHookName": "smtp-fleet"}
    with pytest.raises(autoscaling.exceptions.ClientError):  # it never waited
        autoscaling.complete_lifecycle_action(**complete, InstanceId=ONE, LifecycleActionResult="CONTINUE")


def test_the_agents_are_as_described(built):
    known = built.client("ssm").describe_instance_information()["InstanceInformationList"]
    assert {each["InstanceId"]: each["PingStatus"] for each in known} == {
        ONE: "Online",
        TWO: "ConnectionLost",
        "i-0000000000000000a": "Online",
    }


def test_the_ledger_holds_the_rows(built):
    rows = built.client("dynamodb").scan(TableName=built.template.name("Ledger"))["Items"]
    named = {row["id"]["S"].rpartition("/vol-")[0] or row["id"]["S"]: row for row in rows}
    assert {"hook/mail servers/mx", "off/mx-1/465", f"machine/{ONE}"} <= named.keys()
    assert named[f"machine/{ONE}"]["proxy"] == {"L": [{"N": "25"}]}
    assert named[f"machine/{ONE}"]["admitted"] == {"BOOL": True}


def test_nobody_was_woken(built):
    assert [record for record in built.log if record.kind in {"invocation", "log"}] == []
    assert built.planned() == []


def test_the_world_in_the_documentation_is_one():
    [shown] = re.findall(r"```json\n(.*?)```", Path("docs/local.md").read_text(), re.DOTALL)
    assert world.checked(json.loads(shown), DECLARED)["ledger"]["hooks"] == {"mail servers/mx": 600}
