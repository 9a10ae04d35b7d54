"""Hosts that cannot be judged yet, or have nothing to configure."""

import pytest

from local.agent import substitute
from local.machine import Machine


@pytest.fixture
def machine(network, new_address):
    with Machine(network, "i-0fedcba9876543210", new_address(), postfix=False) as machine:
        yield machine


def cloud_init(machine, body):
    machine.write("/usr/bin/cloud-init", f"#!/bin/sh\n{body}\n".encode())
    machine.run(["chmod", "0755", "/usr/bin/cloud-init"]).check_returncode()


def test_no_postfix_is_a_broken_host(ask):
    answer = ask("look")
    assert answer.said == ("broken", {})
    assert answer.verdict["reason"] == "Postfix is not installed"


def test_no_postfix_while_cloud_init_runs_is_not_yet(ask, machine):
    cloud_init(machine, "exec sleep 30")
    assert ask("look", WaitSeconds="1").said == ("not-ready", {})


def test_no_postfix_once_cloud_init_has_ended_is_broken(ask, machine):
    cloud_init(machine, "exit 1")
    assert ask("look").said == ("broken", {})


def test_a_newer_command_may_pass_while_one_waits_for_cloud_init(ask, machine, content):
    cloud_init(machine, "touch /tmp/waiting; until [ -e /tmp/passed ]; do sleep 0.1; done")
    script = content["mainSteps"][0]["inputs"]["runCommand"][0]
    given = {"Verb": "look", "Ports": "25", "Epoch": "10", "WaitSeconds": "20"}
    script = substitute(script, {"FrontEnd": "keep", "TrustedClients": "none"} | given)
    machine.write("/tmp/first.sh", script.encode())
    environment = {"PATH": "/usr/bin:/bin", "AWS_SSM_INSTANCE_ID": machine.instance_id}
    first = machine.popen(["bash", "/tmp/first.sh"], environment, stdout=-1)
    machine.run(["sh", "-c", "until [ -e /tmp/waiting ]; do sleep 0.05; done"])
    assert ask("look", epoch=11, WaitSeconds="1").said == ("not-ready", {})
    machine.write("/tmp/passed", b"")
    assert b'"class":"older-epoch"' in first.communicate(timeout=20)[0]
