"""The functions' doors: thin, and quick to start."""

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
