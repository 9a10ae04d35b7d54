"""The agent's stand-in does what the real agent was measured to do."""

import pytest

from local.agent import run_document, substitute


@pytest.fixture(scope="module")
def machine(network, new_address):
    from local.machine import Machine

    with Machine(network, "i-0123456789abcdef0", new_address(), postfix=False) as machine:
        yield machine


@pytest.fixture
def run(machine):
    def run(*scripts, parameters=None, definitions=None, **inputs):
        steps = [
            {"action": "aws:runShellScript", "name": f"s{number}", "inputs": {"runCommand": list(lines), **inputs}}
            for number, lines in enumerate(scripts)
        ]
        content = {"schemaVersion": "2.2", "parameters": definitions or {}, "mainSteps": steps}
        given = {"instance_id": "i-1", "command_id": "c-1", "region": "eu-west-1"}
        return run_document(content, parameters or {}, machine, **given)

    return run


WHO = {"Who": {"type": "String", "default": "nobody"}}


def test_output_and_exit_code(run):
    outcome = run(["echo hello {{ Who }}", "echo err >&2", "exit 3"], parameters={"Who": ["bob"]}, definitions=WHO)
    assert (outcome.status, outcome.response_code) == ("Failed", 3)
    assert outcome.stdout == "hello bob\n"
    assert outcome.stderr == "err\nfailed to run commands: exit status 3"


@pytest.mark.parametrize(
    ("script", "status", "code"),
    [
        ("exit 137", "TimedOut", 137),
        ("kill -9 $$", "TimedOut", 137),
        ("false; echo still here", "Success", 0),
        ("exit 256", "Success", 0),
        ("exit 168", "Success", 168),
        ("exit 169", "Failed", 169),
        ("[[ a == a ]] && echo yes", "Failed", 127),
    ],
)
def test_exit_codes(run, script, status, code):
    outcome = run([script])
    assert (outcome.status, outcome.response_code) == (status, code)


def test_a_failed_step_does_not_stop_the_next(run):
    outcome = run(["exit 1"], ["echo b"])
    assert outcome.status == "Failed"
    assert [(step.status, step.stdout) for step in outcome.steps] == [("Failed", ""), ("Success", "b\n")]


def test_168_skips_the_rest(run):
    outcome = run(["exit 168"], ["echo b"])
    assert [step.status for step in outcome.steps] == ["Success", "Skipped"]
    assert outcome.status == "Success"


def test_a_shebang_on_the_first_line_is_honoured(run):
    assert run(["#!/bin/bash", "[[ a == a ]] && echo yes"]).stdout == "yes\n"


def test_a_time_out_kills_the_whole_group(run, machine):
    outcome = run(["trap 'echo trapped' EXIT TERM", "echo begun", "sleep 86399 & sleep 86399"], timeoutSeconds="5")
    assert (outcome.status, outcome.status_details) == ("TimedOut", "ExecutionTimedOut")
    assert (outcome.response_code, outcome.stdout) == (137, "begun\n")
    assert "86399" not in machine.run(["ps", "ax"]).stdout


def test_a_step_lasts_until_its_streams_are_closed(run):
    assert run(["(sleep 0.3; echo late) & echo done"]).stdout == "done\nlate\n"


def test_the_environment_is_bare(run):
    outcome = run(["env | cut -d= -f1 | sort", "umask", "readlink /proc/self/fd/0", "stat -c %a $0", "id -u"])
    names, rest = outcome.stdout.split("0022\n")
    assert rest == "/dev/null\n700\n0\n"
    assert {"AWS_SSM_INSTANCE_ID", "AWS_SSM_REGION_NAME", "SSM_COMMAND_ID", "PATH"} <= set(names.split())
    assert not {"HOME", "USER", "TERM"} & set(names.split())


def test_output_is_cut_at_24000_bytes(run):
    outcome = run(["head -c 30000 /dev/zero | tr '\\0' x; head -c 30000 /dev/zero | tr '\\0' y >&2"])
    for stream in (outcome.stdout, outcome.stderr):
        assert len(stream) == 24_000
        assert stream.endswith("--output truncated--")


def test_substitution_is_one_pass():
    values = {"A": "{{ B }}", "B": "bee", "Pw": "pa$$w", "L": ["x", "y"]}
    assert substitute("A={{ A }} B={{B}}", values) == "A={{ B }} B=bee"
    assert substitute(["emb {{ Pw }}", "{{ Pw }}"], values) == ["emb pa$w", "pa$$w"]
    assert substitute({"c": "{{ L }}", "d": "-{{ L }}"}, values) == {"c": ["x", "y"], "d": '-["x","y"]'}
    assert substitute("{{ Nope }} {{ .State }}", values) == "{{ Nope }} {{ .State }}"


@pytest.mark.parametrize(
    ("pattern", "value", "passes"),
    [
        ("[a-z]+", "bob; touch x", True),
        ("^[a-z]+$", "bob\n", False),
        ("^.+$", "a\nb", False),
        ('^[^"]*$', "a\nb", True),
    ],
)
def test_patterns_are_searched_with_re2(run, pattern, value, passes):
    definitions = {"Who": {"type": "String", "allowedPattern": pattern}}
    outcome = run(["echo ran"], parameters={"Who": value}, definitions=definitions)
    assert bool(outcome.steps) is passes


def test_what_the_agent_rejects_runs_nothing(run, machine):
    content = {"schemaVersion": "2.1", "mainSteps": [{"action": "aws:runShellScript", "name": "a", "inputs": {}}]}
    outcome = run_document(content, {}, machine, instance_id="i-1", command_id="c-1", region="eu-west-1")
    assert (outcome.status, outcome.steps) == ("Failed", ())
    number = {"Who": {"type": "String", "default": 5, "allowedPattern": "^5$"}}
    assert run(["echo {{ Who }}"], definitions=number).steps == ()
