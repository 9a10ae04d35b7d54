"""The document as a file: its size, its shape, and what shellcheck thinks of its script."""

import json
import re
import subprocess
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "documents" / "configure-postfix.yaml"


def test_shellcheck_finds_nothing(script):
    checked = subprocess.run(["shellcheck", "-"], input=script, text=True, capture_output=True, check=False)
    assert checked.stdout == ""
    assert checked.returncode == 0


def test_parameters_stand_once_and_only_at_the_top(content, script):
    lines = script.splitlines()
    assert lines[0] == "#!/bin/bash"
    tokens = re.findall(r"\{\{\s*(\w+)\s*\}\}", script)
    assert sorted(tokens) == sorted(content["parameters"])
    last = max(number for number, line in enumerate(lines) if "{{" in line)
    assert all(re.match(r"#|set |[A-Z_]+='|$", line) for line in lines[: last + 1])
    assert script.count("{{") == len(tokens)


def test_it_fits_with_room_to_spare(content):
    assert len(json.dumps(content)) < 40_000


def test_cloudformation_can_include_it():
    assert not re.search(r"[:-] +!\w", DOCUMENT.read_text())


def test_it_is_one_step_of_schema_2_2(content):
    (step,) = content["mainSteps"]
    assert content["schemaVersion"] == "2.2"
    assert (step["action"], step["name"]) == ("aws:runShellScript", "configurePostfix")
    assert step["inputs"]["timeoutSeconds"] == "300"
