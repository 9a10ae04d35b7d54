"""Who is measured, and what each does about one balancer and about all of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.figures import Run, Used
from bench.lambdas import fresh, used
from bench.world import KEY, POLICY, counting
from local.region import OPERATOR, SECRET, Region
from local.strict import Call

ELB = {"elb", "elbv2", "resourcegroupstaggingapi"}
WANTED = "BackendServerDescriptions[?InstancePort==`25`].PolicyNames[]"


@dataclass(frozen=True)
class Contender:
    """A peer: its name, and the commands that it runs for one balancer, and for all (none: it cannot)."""

    name: str
    venv: str
    one: Any
    all: list[list[str]] = field(default_factory=list)

    def environment(self, region: Region) -> dict[str, str]:
        """The Region for its SDK, its own programs, and a home that nobody else uses."""
        program = Path(self.venv, "bin").resolve()
        return {
            "AWS_ENDPOINT_URL": region.endpoint,
            "AWS_ACCESS_KEY_ID": OPERATOR,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_REGION": "us-east-1",
            "AWS_PAGER": "",
            "ANSIBLE_PYTHON_INTERPRETER": str(program / "python"),
            "ANSIBLE_LOCALHOST_WARNING": "False",
            "LC_ALL": "C.UTF-8",
            "PATH": f"{program}:{os.defpath}",
        }

    def run(self, region: Region, commands: Iterable[list[str]]) -> Run:
        """Run commands one after another, each in a process of its own; the CPU adds up, the largest peak counts."""
        cpu, peak, said, code = 0.0, 0.0, [], 0
        with tempfile.TemporaryDirectory() as home, counting() as seen:
            Path(home, "policy.json").write_text(json.dumps(CUSTODIAN))
            for command in commands:
                told = Path(home, "told")
                done = subprocess.run(
                    [sys.executable, "-S", str(Path("bench/meter.py").resolve()), str(told), *command],
                    env=self.environment(region) | {"HOME": home},
                    cwd=home,
                    capture_output=True,
                    text=True,
                    check=False,
                )
                figures = json.loads(told.read_text())
                cpu, peak, code = cpu + figures["cpu"], max(peak, figures["peak"]), done.returncode
                said.append(done.stdout + done.stderr)
        return counted(seen, Used(cpu, peak), "\n".join(said), code)


def counted(seen: list[Call], what: Used, said: str, code: int = 0) -> Run:
    """One run, its calls told apart by service."""
    calls = [call for call in seen if call.service in ELB]
    return Run(what, len(calls), sum(call.is_write for call in calls), len(seen) - len(calls), said, code)


def ours(region: Region, layer: Path, event: dict[str, Any]) -> Run:
    """A fresh process of reconcile_fleet, under awslambdaric, on one event."""
    lines: list[Any] = []
    function = fresh(region.functions["ReconcileFleetFunction"], layer, on_line=lambda _, line: lines.append(line))
    with counting() as seen:
        figures = used(function, batch(event))
    return counted(seen, figures, "\n".join(map(json.dumps, lines)))


def batch(body: Any) -> dict[str, Any]:
    """A batch of one message, as SQS hands it to a function."""
    return {"Records": [{"messageId": "m", "body": json.dumps(body)}]}


def wake(name: str) -> dict[str, Any]:
    """The event that wakes the mind for one balancer."""
    return {"source": "smtp-fleet", "detail-type": "Wake", "detail": {"balancers": [name], "cause": "bench"}}


CUSTODIAN = {
    "policies": [
        {
            "name": "smtp",
            "resource": "aws.elb",
            "filters": [{f"tag:{KEY}": "present"}, {"type": "value", "key": f"length({WANTED})", "value": 0}],
        }
    ]
}
CUSTODIAN_RUN = ["custodian", "run", "-s", "out", "--cache-period", "0", "--region", "us-east-1", "policy.json"]


def recipe(name: str) -> list[list[str]]:
    """The three commands: create the policy, set it as the only one, look."""
    attribute = "AttributeName=ProxyProtocol,AttributeValue=true"
    at = ["--load-balancer-name", name]
    return [
        ["aws", "elb", "create-load-balancer-policy", *at, "--policy-name", POLICY,
         "--policy-type-name", "ProxyProtocolPolicyType", "--policy-attributes", attribute],
        ["aws", "elb", "set-load-balancer-policies-for-backend-server", *at, "--instance-port", "25",
         "--policy-names", POLICY],
        ["aws", "elb", "describe-load-balancers", "--load-balancer-names", name],
    ]  # fmt: skip


def play(name: str) -> list[list[str]]:
    """The module elb_classic_lb for one balancer, whose listeners it must be told in full."""
    listener = {"protocol": "tcp", "load_balancer_port": 25, "instance_protocol": "tcp", "instance_port": 25}
    asked = {
        "name": name,
        "state": "present",
        "zones": ["us-east-1a"],
        "listeners": [listener | {"proxy_protocol": True}],
    }
    return [["ansible", "localhost", "-m", "amazon.aws.elb_classic_lb", "-a", json.dumps(asked)]]


BOTO = ["python", str(Path("bench/boto.py").resolve())]
PEERS = [
    Contender("bare boto3", sys.prefix, lambda name: [[*BOTO, name]], [BOTO]),
    Contender("the recipe: 3 AWS CLI commands", ".venv-bench/cli", recipe),
    Contender("Ansible `elb_classic_lb`", ".venv-bench/ansible", play),
    Contender("Cloud Custodian, finds only", ".venv-bench/c7n", lambda name: [CUSTODIAN_RUN], [CUSTODIAN_RUN]),
]
