"""What docs/operate.md says to do by hand does it: its commands, run by the stock AWS CLI on a strict AWS."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from local.strict import ssm as agents
from local.strict.server import serve
from smtp_fleet.fleet import Index
from tests.smtp_fleet import conftest
from tests.smtp_fleet.conftest import expects
from tests.test_cases import create_policy, set_policies
from tests.test_runbooks import CHAPTERS, sections
from tests.test_template import DOCUMENT

PARTS = sections("###", CHAPTERS["By hand"])
OURS = "EnableProxyProtocol"
stack = conftest.stack


@pytest.fixture
def endpoint():
    """The same account as in this process, for others; it begins empty, so it comes before anything is made."""
    with serve() as address:
        yield address


@pytest.fixture
def by_hand(endpoint, stack):
    """Runs the commands of a part of the page, its words in capitals replaced, and gives what they print."""
    keys = {"AWS_ACCESS_KEY_ID": "B" * 20, "AWS_SECRET_ACCESS_KEY": "B", "AWS_DEFAULT_REGION": "us-east-1"}
    path = {"PATH": f"{Path(sys.executable).parent}:{os.defpath}", "AWS_ENDPOINT_URL": endpoint}

    def run(part, **words):
        block = "\n".join(re.findall(r"^    (.*)$", PARTS[part], re.M))
        block = re.sub(r"\b[A-Z][A-Z_]{3,}\b", lambda word: words[word[0]], block)
        options = {"env": keys | path, "capture_output": True, "text": True, "timeout": 60}
        done = subprocess.run(["bash", "-eu", "-c", block], check=False, **options)
        assert done.returncode == 0, f"{block}\n{done.stderr}"
        return done.stdout

    return run


def serving_and_waiting(stack):
    """A balancer that sends, beside a policy of others, an instance in service behind it, and one that waits."""
    stack.balancer()
    create_policy("theirs", kind="BackendServerAuthenticationPolicyType")
    set_policies("theirs")
    stack.wake("mx-1")
    stack.group()
    stack.wake("mx-1")
    [serving] = stack.scale(1)
    agents.register_agent(serving)
    for _ in range(2):
        stack.wake("mx-1")
        stack.hand().work(stack.received("asks"))
        assert agents.drain(5)
    [waiting] = set(stack.scale(2)) - {serving}
    agents.register_agent(waiting)
    assert stack.states() == {serving: "InService", waiting: "Pending:Wait"}
    assert stack.policies() == {25: ["theirs", OURS]}
    return serving, waiting


def test_all_of_it_is_undone_in_the_order_of_the_page_and_stays_so(by_hand, stack):
    serving, waiting = serving_and_waiting(stack)
    asked = []
    agents.executor = lambda *told: asked.append((told[0], told[2]["Verb"], told[2]["Ports"])) or expects(*told)
    stack.client("ssm").create_document(Name="the-real-one", Content=json.dumps(DOCUMENT), DocumentType="Command")
    words = {"NAME": "mx-1", "PORT": "25", "POLICIES": "theirs", "GROUP": "mx", "DOCUMENT": "the-real-one"}
    steps = re.findall(r"^\d+\. \[.+?\]\(#(.+?)\)", PARTS["Undo all of it"], re.M)
    titles = {title.lower().replace(" ", "-"): title for title in PARTS}
    assert [titles[step] for step in steps[:2]] == ["Stop the functions", "Take the header off"]
    for step in steps[1:]:
        for instance in [serving, waiting] if step == "let-postfix-go" else [waiting]:
            by_hand(titles[step], INSTANCE=instance, RESULT="CONTINUE", **words)
            assert agents.drain(5)
    assert asked == [(serving, ["expect"], ["none"]), (waiting, ["expect"], ["none"])]
    assert_undone(stack, serving, waiting)
    for _ in range(8):
        stack.now += stack.settings.settle
        assert stack.wake() == set()
        stack.hand().work(stack.received("asks"))
        assert agents.drain(5)
    assert_undone(stack, serving, waiting)
    assert all(ports == ["none"] for _, _, ports in asked)
    assert "a group left its fleet: nothing of ours is left" in stack.phrases()
    assert stack.ledger.index() == Index()
    rows = stack.client("dynamodb").scan(TableName="ledger")["Items"]
    assert [row for row in rows if row["id"]["S"].startswith("machine/")] == []


def assert_undone(stack, *instances):
    """Nothing of ours is left, and what others had set is."""
    assert stack.states() == dict.fromkeys(instances, "InService")
    assert stack.policies() == {25: ["theirs"]}
    [balancer] = stack.client("elb").describe_load_balancers()["LoadBalancerDescriptions"]
    assert balancer["Policies"]["OtherPolicies"] == ["theirs"]
    assert stack.client("elb").describe_tags(LoadBalancerNames=["mx-1"])["TagDescriptions"][0]["Tags"] == []
    assert stack.client("autoscaling").describe_lifecycle_hooks(AutoScalingGroupName="mx")["LifecycleHooks"] == []


def test_what_is_looked_at_is_shown(by_hand, stack):
    serving, waiting = serving_and_waiting(stack)
    assert OURS in by_hand("See a balancer", NAME="mx-1")
    assert f"{waiting}\tPending:Wait" in by_hand("See a group", GROUP="mx")
    assert "smtp-fleet expect ports=25" in by_hand("See an instance", INSTANCE=serving)
    assert serving in by_hand("See the ledger", TABLE="ledger", INSTANCE=serving)
