"""A stand-in for the SSM agent: it runs a command document on a host the way the real agent was measured to.

It follows what our one document and its tests can tell apart: schema 2.2, `aws:runShellScript`, patterns searched
with RE2, one pass of substitution, the script file and its bare environment, time-outs, exit codes, truncation.
Left out, because the document uses none of it: other plugins, preconditions, onFailure and finallyStep,
`{{ssm:...}}`, ENV_VAR parameters, reboots (194), cancelling, S3 and CloudWatch output. What it says is never proof
about Systems Manager itself: permissions, delivery and the service's own checks happen elsewhere.
"""

import json
import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import re2

OUTPUT_LIMIT = 24_000
TRUNCATED = b"--output truncated--"
DEFAULT_TIMEOUT = 3600
SKIP_REST = {168: "succeeded", 169: "Failed"}
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NAME = re.compile(r"[a-zA-Z0-9]+")
_TOKEN = re.compile(r"\{\{\s*([a-zA-Z0-9]+)\s*\}\}")


class Host(Protocol):
    """Where a document can run: `local.machine.Machine`, or anything of its shape."""

    def popen(
        self, argv: Sequence[str], env: Mapping[str, str] | None = None, **options: Any
    ) -> "subprocess.Popen[bytes]":
        """Start a program in a process group of its own."""

    def run(self, argv: Sequence[str], *, input: str | bytes | None = None) -> Any:
        """Run a program to its end."""


@dataclass(frozen=True)
class Step:
    """What one step came to."""

    name: str
    status: str
    response_code: int
    stdout: str = ""
    stderr: str = ""


@dataclass(frozen=True)
class Outcome:
    """What a document came to on one host, in the words of ListCommandInvocations; a stand-in's word, not SSM's."""

    status: str
    status_details: str
    response_code: int
    stdout: str
    stderr: str
    steps: tuple[Step, ...] = ()


def run_document(
    content: Mapping[str, Any],
    parameters: Mapping[str, str | list[str]],
    machine: Host,
    *,
    instance_id: str,
    command_id: str,
    region: str,
) -> Outcome:
    """Run a document on a host; whatever the agent would reject fails with nothing run."""
    try:
        values = _values(content, parameters)
        steps = _steps(content)
    except ValueError as error:
        return Outcome("Failed", "Failed", 1, "", str(error))
    environment = {
        "PATH": PATH,
        "LANG": "C.UTF-8",
        "AWS_SSM_INSTANCE_ID": instance_id,
        "AWS_SSM_REGION_NAME": region,
        "AWS_SSM_PLATFORM_NAME": "stand-in",
        "SSM_COMMAND_ID": command_id,
    }
    folder = f"/var/lib/amazon/ssm/{instance_id}/document/orchestration/{command_id}"
    done: list[Step] = []
    for step in steps:
        if done and done[-1].response_code in SKIP_REST:
            done.append(Step(step["name"], "Skipped", 0))
            continue
        inputs = substitute(step["inputs"], values)
        done.append(_run_step(step["name"], inputs, machine, f"{folder}/{step['name']}", environment))
    return _sum_up(done)


def substitute(value: Any, values: Mapping[str, Any]) -> Any:
    """Replace every known token once; a string that is nothing but a token takes the value with its type."""
    if isinstance(value, dict):
        return {key: substitute(inner, values) for key, inner in value.items()}
    if isinstance(value, list):
        return [substitute(inner, values) for inner in value]
    if not isinstance(value, str):
        return value
    alone = _TOKEN.fullmatch(value)
    if alone and alone[1] in values:
        return values[alone[1]]
    return _TOKEN.sub(lambda token: _embedded(values[token[1]]) if token[1] in values else token[0], value)


def _embedded(value: Any) -> str:
    if isinstance(value, str):
        return value.replace("$$", "$")
    return json.dumps(value, separators=(",", ":"))


def _values(content: Mapping[str, Any], parameters: Mapping[str, str | list[str]]) -> dict[str, Any]:
    declared: Mapping[str, Any] = content.get("parameters", {})
    values: dict[str, Any] = {}
    errors = []
    for name, definition in declared.items():
        value = parameters.get(name) if _NAME.fullmatch(name) else None
        if isinstance(value, list) and definition["type"] == "String":
            (value,) = value  # SendCommand takes lists, the agent gets the one string
        values[name] = definition.get("default", "null") if value is None else value
        pattern = definition.get("allowedPattern")
        for text in values[name] if isinstance(values[name], list) else [values[name]]:
            if not isinstance(text, str):
                errors.append(f"invalid parameter type: {name}")
            elif pattern and not re2.search(pattern, text):
                errors.append(f"parameter value for {name} does not match the allowed pattern {pattern}")
    if errors:
        raise ValueError("; ".join(errors))
    return values


def _steps(content: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    if content.get("schemaVersion") != "2.2":
        raise ValueError(f"document schema version {content.get('schemaVersion')} is not supported")
    steps: list[Mapping[str, Any]] = content.get("mainSteps") or []
    if not steps:
        raise ValueError("document has no steps")
    for step in steps:
        if step["action"] != "aws:runShellScript" or not isinstance(step["inputs"].get("runCommand"), list):
            raise ValueError(f"this stand-in runs aws:runShellScript with a list of lines, not {step['action']}")
        if not isinstance(step.get("timeoutSeconds", 0), int):
            raise ValueError("timeoutSeconds of a step must be a number")
    return steps


def _run_step(name: str, inputs: Mapping[str, Any], machine: Host, folder: str, environment: Mapping[str, str]) -> Step:
    script = f"{folder}/_script.sh"
    text = "\n".join(inputs["runCommand"]) + "\n"
    save = 'umask 077; mkdir -p "${1%/*}" && cat >"$1" && chmod 0700 "$1"'
    machine.run(["sh", "-c", save, "sh", script], input=text).check_returncode()
    process = machine.popen(
        ["sh", "-c", script], environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        out, err = process.communicate(timeout=_timeout(inputs))
        code = process.returncode % 256 if process.returncode >= 0 else 128 - process.returncode
    except subprocess.TimeoutExpired:
        code, (out, err) = 137, _kill(process)
    if code in SKIP_REST:
        note = b"\nStep exited with code %d. Therefore, marking step as %s. Further document steps will be skipped."
        out += note % (code, SKIP_REST[code].encode())
        err = b"" if code == 168 else err + note % (code, b"Failed")
    elif code not in (0, 137):
        err += f"failed to run commands: exit status {code}".encode()
    status = {0: "Success", 168: "Success", 137: "TimedOut"}.get(code, "Failed")
    return Step(name, status, code, _kept(out), _kept(err))


def _timeout(inputs: Mapping[str, Any]) -> int:
    given = str(inputs.get("timeoutSeconds", DEFAULT_TIMEOUT))
    return int(given) if given.isdigit() and 5 <= int(given) <= 172_800 else DEFAULT_TIMEOUT


def _kill(process: "subprocess.Popen[bytes]") -> tuple[bytes, bytes]:
    os.killpg(process.pid, signal.SIGKILL)
    try:
        return process.communicate(timeout=1)
    except subprocess.TimeoutExpired as late:  # a child that left the group still holds the streams
        return late.stdout or b"", late.stderr or b""


def _kept(stream: bytes) -> str:
    if len(stream) >= OUTPUT_LIMIT:
        stream = stream[: OUTPUT_LIMIT - len(TRUNCATED)] + TRUNCATED
    return stream.decode("utf-8", "replace")


def _sum_up(steps: list[Step]) -> Outcome:
    worst = next((status for status in ("Failed", "TimedOut") if any(step.status == status for step in steps)), None)
    telling = next((step for step in steps if step.status == worst), steps[-1])
    details = "ExecutionTimedOut" if worst == "TimedOut" else worst or "Success"
    return Outcome(
        worst or "Success", details, telling.response_code, telling.stdout, telling.stderr, steps=tuple(steps)
    )
