"""The functions' doors: thin, and quick to start."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from local.template import Template

TEMPLATE = Template(Path("template.yaml"))
VARIABLES = {
    variable: str(value)
    for function in TEMPLATE.resources("AWS::Serverless::Function", "Environment").values()
    for variable, value in function["Environment"]["Variables"].items()
}
ENVIRONMENT = VARIABLES | {"PATH": os.defpath, "AWS_DEFAULT_REGION": "us-east-1", "PYTHONPATH": "layers/smtp_fleet"}
FUNCTIONS = sorted(Path("functions").iterdir())


def start(function, code, **environment):
    program = f"import sys; sys.path.insert(0, {str(function)!r}); {code}"
    return subprocess.run(
        [sys.executable, "-c", program], env=ENVIRONMENT | environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda path: path.name)
def test_nothing_heavy_is_loaded_at_the_start(function):
    told = start(function, "import app; print(*sys.modules)")
    assert told.returncode == 0, told.stderr
    heavy = {"pydantic", "aws_xray_sdk", "jsonschema", "fastjsonschema"}
    assert not heavy & set(told.stdout.split())


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda path: path.name)
def test_a_missing_setting_stops_the_start_and_is_named(function):
    told = start(function, "import app", TAG_KEY="", DOCUMENT_NAME="")
    assert told.returncode != 0
    assert "='': expected a value" in told.stderr


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda path: path.name)
def test_a_door_is_one_small_file(function):
    assert [path.name for path in function.iterdir() if path.suffix == ".py"] == ["app.py"]
    assert len((function / "app.py").read_text().splitlines()) <= 40


GUARD = """
import app
from smtp_fleet import retirement
app.rows.index = retirement.observe = lambda *_: 1 / 0
retirement.answer = lambda request, against: print("told", list(against))
context = type("Context", (), dict.fromkeys(
    ["function_name", "memory_limit_in_mb", "invoked_function_arn", "aws_request_id"], "1"))()
app.handler({"RequestType": KIND}, context)
"""


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("Create", "told []"),
        ("Update", "told []"),
        ("Delete", "told ['could not see what is left (ZeroDivisionError)']"),
    ],
)
def test_the_guard_looks_only_before_a_deletion_and_lets_nothing_go_that_it_cannot_see(kind, told):
    done = start(Path("functions/guard_stack"), f"KIND = {kind!r}\n{GUARD}")
    assert done.returncode == 0, done.stderr
    assert told in done.stdout.splitlines()


def test_what_broke_is_an_error_with_its_trace_and_all_else_is_not():
    program = """
from aws_lambda_powertools import Logger
from smtp_fleet.report import saying
say = saying(Logger())
say("on", load_balancers=["mx-1"])
say("event not understood", error="text")
try:
    1 / 0
except ZeroDivisionError as error:
    say("broken", error=error, load_balancers=["mx-1"])
"""
    lines = list(map(json.loads, start(Path("functions/guard_stack"), program).stdout.splitlines()))
    assert [(line["level"], line["message"]) for line in lines] == [
        ("INFO", "on"),
        ("INFO", "event not understood"),
        ("ERROR", "broken"),
    ]
    assert lines[0]["load_balancers"] == lines[2]["load_balancers"] == ["mx-1"]
    assert lines[2]["error"] == "division by zero"
    assert "ZeroDivisionError" in lines[2]["exception"]
