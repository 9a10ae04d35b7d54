"""Every command explains itself with examples, shows that it is at work only to who waits, and breaks in one line."""

import io
import subprocess
import sys
from threading import Event

import pytest
from rich.console import Console

from console import door

ENVIRONMENT = {"PYTHONPATH": "layers/smtp_fleet", "AWS_EC2_METADATA_DISABLED": "true", "HOME": "/nonexistent"}
KEYS = {"AWS_ACCESS_KEY_ID": "A" * 20, "AWS_SECRET_ACCESS_KEY": "A"}


def program(*arguments, **environment):
    told = [sys.executable, "-m", "console", *arguments]
    return subprocess.run(told, env=ENVIRONMENT | environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("command", ["plan", "status", "audit"])
def test_each_command_explains_itself_with_examples(command):
    ran = program(command, "--help")
    assert ran.returncode == 0
    assert f"python -m console {command}" in ran.stdout.partition("examples:")[2]
    assert "exit code: 0" in ran.stdout


@pytest.mark.parametrize("command", ["plan", "status", "audit"])
def test_as_a_program_each_breaks_in_one_line(command):
    no_region, no_credentials = program(command), program(command, AWS_DEFAULT_REGION="us-east-1")
    assert (no_region.returncode, no_region.stdout) == (1, "")
    assert no_region.stderr == "no Region: set AWS_DEFAULT_REGION to the Region of the stack\n"
    assert (no_credentials.returncode, no_credentials.stdout) == (1, "")
    assert no_credentials.stderr == "no AWS credentials: set AWS_PROFILE, or run `aws configure`\n"


def test_a_region_that_means_nothing_is_one_line():
    ran = program("plan", "--region", "not a region", **KEYS)
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (1, "", 1)
    assert "Is AWS_DEFAULT_REGION or --region a Region" in ran.stderr


@pytest.mark.parametrize(("terminal", "shown"), [(True, True), (False, False)])
def test_only_who_waits_at_a_terminal_is_told_for_what(monkeypatch, terminal, shown):
    told, waited = io.StringIO(), Event()
    err = Console(file=told, force_terminal=terminal, width=80)
    status = err.status("reading the Region")
    start = status.start
    monkeypatch.setattr(status, "start", lambda: (start(), waited.set()))
    monkeypatch.setattr(err, "status", lambda what: status)
    monkeypatch.setattr(door, "SOON", 0.01)
    with door.at_work(err, "reading the Region"):
        assert waited.wait(10)
    assert ("reading the Region" in told.getvalue()) is shown


def test_what_is_quick_shows_nothing():
    told = io.StringIO()
    with door.at_work(Console(file=told, force_terminal=True, width=80), "reading the Region"):
        pass
    assert "reading" not in told.getvalue()


def stop():
    raise KeyboardInterrupt


def test_stopped_it_says_that_nothing_was_changed():
    told = io.StringIO()
    assert door.run(stop, Console(file=told)) == door.STOPPED
    assert told.getvalue() == "\nstopped: nothing was changed\n"
