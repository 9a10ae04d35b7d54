"""What a function loads before its first event: no X-Ray SDK, no pydantic, no resources of boto3, no code of others."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from local.template import Template

FUNCTIONS = Template(Path("template.yaml")).resources("AWS::Serverless::Function", "CodeUri", "Environment")
HEAVY = {"aws_xray_sdk", "pydantic"}  # each costs 100 ms of CPU and more at every cold start
DECIDED = {"smtp_fleet.actions", "smtp_fleet.plan"}
# boto3 itself always loads what resources are made by; one that was made is a subclass of their base.
PROGRAM = """
import json, sys, app
from boto3.resources.base import ServiceResource
print(json.dumps([list(sys.modules), [made.__name__ for made in ServiceResource.__subclasses__()]]))
"""


@pytest.fixture(scope="module", params=FUNCTIONS)
def loaded(request):
    """A function's name, the modules that it has loaded, and the resources that it has made."""
    function = FUNCTIONS[request.param]
    given = {name: str(value) for name, value in function["Environment"]["Variables"].items()}
    path = os.pathsep.join(["layers/smtp_fleet", function["CodeUri"]])
    environment = given | {"PATH": os.defpath, "AWS_DEFAULT_REGION": "us-east-1", "PYTHONPATH": path}
    told = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    return request.param, *json.loads(told.stdout)


def test_a_fresh_process_has_no_xray_no_pydantic_and_no_resources_of_boto3(loaded):
    _, modules, resources = loaded
    assert not HEAVY & set(modules)
    assert not resources


def test_only_who_decides_loads_what_can_be_decided(loaded):
    name, modules, _ = loaded
    assert DECIDED & set(modules) == (DECIDED if name == "ReconcileFleetFunction" else set())
