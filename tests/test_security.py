"""docs/security.md names for each threat the measure and the test that holds it; and the supply chain is as it says."""

import re
from pathlib import Path

import pytest

from local.script import script

TEXT = Path("docs/security.md").read_text()
NAMED = sorted(set(re.findall(r"`([\w/]+\.py)::(\w+)`", TEXT)))
THREATS = (
    "Forged headers",
    "Forged, repeated and stale events",
    "Tags by a stranger",
    "The command and its parameters",
    "What is read by people",
    "Supply chain",
)
LOCKS = [Path("layers/smtp_fleet/requirements.txt"), *Path("requirements").glob("*.txt")]


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_a_measure_s_test_exists(file, name):
    assert f"\ndef {name}(" in Path("tests", file).read_text()


def test_every_threat_has_its_measures_and_every_measure_its_test():
    sections = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))
    assert tuple(sections) == THREATS
    for section in sections.values():
        _header, *rows = [line for line in section.splitlines() if line.startswith("| ")]
        assert rows
        for row in rows:
            threat, measure, tests = row.strip("| ").split(" | ")
            assert threat
            assert measure
            assert re.fullmatch(r"`[\w/]+\.py::\w+`(, `[\w/]+\.py::\w+`)*", tests)


@pytest.mark.parametrize("lock", LOCKS, ids=str)
def test_every_dependency_is_pinned_by_its_hash(lock):
    pins = re.split(r"\n(?=\S)", lock.read_text().strip())
    assert pins
    for pin in pins:
        assert re.match(r"[A-Za-z0-9._-]+==\S+( ; .+)? \\\n", pin), pin
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", pin), pin


def test_nothing_is_installed_but_what_is_pinned():
    makefiles = [Path("Makefile"), Path("local/programs"), Path("layers/smtp_fleet/Makefile")]
    installs = [
        line
        for path in makefiles
        for line in path.read_text().replace("\\\n", " ").splitlines()
        if "pip install" in line
    ]
    assert len(installs) == 2
    assert all("--require-hashes" in line and "--no-deps" in line for line in installs)


def test_the_layer_holds_our_package_and_powertools():
    lock = Path("layers/smtp_fleet/requirements.txt").read_text()
    assert set(re.findall(r"^([\w-]+)==", lock, re.MULTILINE)) == {
        "aws-lambda-powertools",
        "jmespath",
        "typing-extensions",
    }


def test_the_script_fetches_nothing():
    """No program that talks to anybody else; Bash itself reaches one address, the instance's own."""
    programs = r"curl|wget|nc|ncat|socat|ssh|scp|ftp|apt|apt-get|yum|dnf|pip|git|aws"
    assert not re.findall(rf"(?:^|[|&;(]\s*|\s)(?:{programs})\s+\S", script(), re.MULTILINE)
