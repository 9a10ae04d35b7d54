"""Systems Manager that refuses what AWS refuses and runs the rest: the executor is told to, the status follows it."""

import json
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Condition, Semaphore, Thread
from typing import Any
from uuid import uuid4

import re2
from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult
from moto.ec2.exceptions import InvalidInstanceIdError
from moto.ec2.models import ec2_backends
from moto.ssm.exceptions import InvalidDocument, SSMException
from moto.ssm.models import ssm_backends
from moto.ssm.responses import SimpleSystemManagerResponse

from local.strict.overlay import lay
from local.strict.watch import announce, one_at_a_time


@dataclass(frozen=True)
class Answer:
    """What became of an invocation, in the words of GetCommandInvocation."""

    status: str
    status_details: str
    response_code: int
    stdout: str = ""
    stderr: str = ""


Executor = Callable[[str, dict[str, Any], dict[str, list[str]], str], Answer]
executor: Executor | None = None  # (instance id, document content, parameters, command id); without one: Undeliverable

_changed = Condition()
_under_way: set[tuple[str, str]] = set()
_at_once = Semaphore(50)  # MaxConcurrency's default


@dataclass
class Invocation:
    """One command on one instance."""

    command: "Command"
    instance_id: str
    answer: Answer = Answer("Pending", "Pending", -1)
    started: datetime | None = None
    ended: datetime | None = None


@dataclass
class Command:
    """A command as SendCommand accepted it."""

    asked: dict[str, Any]
    content: dict[str, Any]
    parameters: dict[str, list[str]]  # with the document's defaults
    command_id: str = field(default_factory=lambda: str(uuid4()))
    requested: datetime = field(default_factory=lambda: datetime.now(UTC))
    invocations: list[Invocation] = field(default_factory=list)

    @property
    def step(self) -> str:
        """The name of the document's first step."""
        return str(self.content["mainSteps"][0]["name"])


KEPT = timedelta(days=30)
"""For which Systems Manager keeps the command history (user guide, Run Command)."""


def age(seconds: float, region: str, account: str) -> None:
    """Have every command be older by so much: one that is no longer kept is not told any more."""
    span = timedelta(seconds=seconds)
    for command in _state(ssm_backends[account][region], "commands").values():
        command.requested -= span
        for each in command.invocations:
            each.started, each.ended = (moment and moment - span for moment in (each.started, each.ended))


def _kept(backend: Any) -> list[Command]:
    """The commands that are still told, the latest first."""
    every = [*_state(backend, "commands").values()][::-1]
    return [command for command in every if command.requested > datetime.now(UTC) - KEPT]


def _state(backend: Any, name: str) -> dict[str, Any]:
    return backend.__dict__.setdefault(name, {})  # goes with the backend when moto is reset


def register_agent(
    instance_id: str, ping_status: str = "Online", region: str = "us-east-1", account: str = "123456789012"
) -> None:
    """Makes the instance a managed node, as the first call of its agent does; again, to change its ping status."""
    facts = {"InstanceId": instance_id, "PingStatus": ping_status, "LastPingDateTime": datetime.now(UTC)}
    facts |= {"AgentVersion": "3.3.2299.0", "PlatformType": "Linux", "ResourceType": "EC2Instance"}
    with one_at_a_time:
        _state(ssm_backends[account][region], "nodes")[instance_id] = facts


def drain(timeout: float) -> bool:
    """Waits until no invocation is under way; False if the time is up first."""
    with _changed:
        return _changed.wait_for(lambda: not _under_way, timeout)


def under_way() -> int:
    """How many invocations have not ended."""
    return len(_under_way)


def _nodes(backend: Any) -> dict[str, dict[str, Any]]:
    """The registered nodes, without those that are stopped or terminated."""
    machines, nodes = ec2_backends[backend.account_id][backend.region_name], {}
    for instance_id, facts in _state(backend, "nodes").items():
        try:
            running = machines.get_instance(instance_id).is_running()
        except InvalidInstanceIdError:
            running = True  # registered without EC2, as unit tests do
        if running:
            nodes[instance_id] = facts
    return nodes


def _change(invocation: Invocation, answer: Answer) -> None:
    command, moment = invocation.command, datetime.now(UTC)
    with one_at_a_time:
        invocation.answer = answer
        if answer.status == "InProgress":
            invocation.started = moment
        else:
            invocation.ended = moment
    detail = {"command-id": command.command_id, "document-name": command.asked["DocumentName"]}
    detail |= {"instance-id": invocation.instance_id, "status": answer.status}
    detail["requested-date-time"] = command.requested.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    announce("aws.ssm", "EC2 Command Invocation Status-change Notification", detail)


def _execute(invocation: Invocation) -> None:
    command = invocation.command
    with _at_once:
        answer = Answer("Failed", "Undeliverable", -1)
        try:
            if executor:
                _change(invocation, Answer("InProgress", "InProgress", -1))
                answer = executor(invocation.instance_id, command.content, command.parameters, command.command_id)
        except Exception:
            answer = Answer("Failed", "Failed", 1, "", traceback.format_exc())
        _change(invocation, answer)
    with _changed:
        _under_way.discard((command.command_id, invocation.instance_id))
        _changed.notify_all()


def _refuse(code: str, message: str) -> ServiceException:
    return SSMException(code, message)


def _resolve(backend: Any, asked: dict[str, Any]) -> Any:
    """The asked version of the asked document, by name or by ARN."""
    documents = backend._documents.get(asked["DocumentName"].split(":document/")[-1])
    if not documents:
        raise InvalidDocument(f"Document with name {asked['DocumentName']} does not exist.")
    version = asked.get("DocumentVersion", "$DEFAULT")
    version = {"$DEFAULT": documents.default_version, "$LATEST": documents.latest_version}.get(version, version)
    if version not in documents.versions:
        raise _refuse("InvalidDocumentVersion", f"The document version {version} is not valid or does not exist.")
    document = documents.versions[version]
    if asked.get("DocumentHash", document.hash) != document.hash:
        raise InvalidDocument("The document hash does not match.")
    return document


def _complaints(declared: dict[str, Any], given: dict[str, list[str]]) -> Iterator[str]:
    yield from (f"{name} is not a parameter of the document" for name in set(given) - set(declared))
    for name, rule in declared.items():
        if name not in given and "default" not in rule:
            yield f"{name} is required"
        values = given.get(name, [])
        if name in given and rule.get("type") == "String" and len(values) != 1:
            yield f"{name} takes exactly one value"
        for value in values:
            if "allowedPattern" in rule and not re2.search(rule["allowedPattern"], value):
                yield f"{name} does not match {rule['allowedPattern']}"
            if value not in rule.get("allowedValues", [value]):
                yield f"{name} is not one of {rule['allowedValues']}"
            if not int(rule.get("minChars", 0)) <= len(value) <= int(rule.get("maxChars", 1 << 16)):
                yield f"{name} is too short or too long"


def _parameters(content: dict[str, Any], given: dict[str, list[str]]) -> dict[str, list[str]]:
    declared = content.get("parameters") or {}
    if complaints := list(_complaints(declared, given)):
        raise _refuse("InvalidParameters", "; ".join(complaints))
    defaults = {name: rule["default"] for name, rule in declared.items() if "default" in rule}
    return {name: value if isinstance(value, list) else [str(value)] for name, value in defaults.items()} | given


def _check_limits(asked: dict[str, Any]) -> None:
    # The constraints of the service model (botocore ssm/2014-11-06, SendCommandRequest).
    ids, comment, limit = asked.get("InstanceIds") or [], asked.get("Comment", ""), asked.get("TimeoutSeconds", 3600)
    for wrong, what in (
        (len(ids) > 50, "instanceIds must have at most 50 members"),
        (len(comment) > 100, "comment must have at most 100 characters"),
        (not 30 <= limit <= 2592000, "timeoutSeconds must be between 30 and 2592000"),
    ):
        if wrong:
            raise _refuse("ValidationException", f"1 validation error detected: {what}")
    if len(set(ids)) < len(ids):
        raise _refuse("DuplicateInstanceId", "An instance ID is given twice.")
    if asked.get("Targets") or not ids:
        raise NotImplementedError("SendCommand by Targets")


def _output(answer: Answer) -> str:
    """Both streams as ListCommandInvocations shows them: 2,500 characters."""
    out, err, room = answer.stdout, answer.stderr, 2500
    rule, cut_out, cut_err = "\n----------ERROR-------\n", "\n---Output truncated---", "\n---Error truncated----"
    if err:
        room -= len(rule)
        keep = room - min(len(err), max(room // 2, room - len(out)))
        limit = room - min(len(out), keep)
        err = rule + (err if len(err) <= limit else err[: limit - len(cut_err)] + cut_err)
        room = keep
    return (out if len(out) <= room else out[: room - len(cut_out)] + cut_out) + err


def _status(command: Command) -> str:
    found = [each.answer.status for each in command.invocations]
    order = ["InProgress", "Pending", "Failed", "TimedOut", "Cancelled", "Success"]
    return "InProgress" if len({*found}) > 1 and "Pending" in found else next(each for each in order if each in found)


def _command(command: Command) -> dict[str, Any]:
    ended = [each for each in command.invocations if each.ended]
    shown = {key: command.asked.get(key, "") for key in ("Comment", "DocumentName", "DocumentVersion", "MaxErrors")}
    shown |= {"CommandId": command.command_id, "InstanceIds": command.asked["InstanceIds"]}
    shown |= {"Parameters": command.asked.get("Parameters") or {}, "RequestedDateTime": command.requested}
    shown["ExpiresAfter"] = command.requested + timedelta(seconds=command.asked.get("TimeoutSeconds", 3600))
    counts = len(command.invocations), len(ended), sum(each.answer.status != "Success" for each in ended)
    shown |= dict(zip(("TargetCount", "CompletedCount", "ErrorCount"), counts, strict=True))
    return shown | {"Status": _status(command), "StatusDetails": _status(command)}


def _invocation(invocation: Invocation, details: bool) -> dict[str, Any]:
    command, answer = invocation.command, invocation.answer
    shown = {key: command.asked.get(key, "") for key in ("Comment", "DocumentName", "DocumentVersion")}
    shown |= {"CommandId": command.command_id, "InstanceId": invocation.instance_id}
    shown |= {"RequestedDateTime": command.requested, "CommandPlugins": []}
    shown |= {"Status": answer.status, "StatusDetails": answer.status_details}
    if details and invocation.started:
        plugin = {"Name": command.step, "Status": answer.status, "StatusDetails": answer.status_details}
        plugin |= {"ResponseCode": answer.response_code, "Output": _output(answer)}
        plugin |= {"ResponseStartDateTime": invocation.started, "ResponseFinishDateTime": invocation.ended}
        shown["CommandPlugins"] = [plugin]
    return shown


def _page(asked: dict[str, Any], shown: list[dict[str, Any]], smallest: int, default: int) -> tuple[Any, str | None]:
    size, token = asked.get("MaxResults", default), asked.get("NextToken") or "0"
    if not token.isdecimal():
        raise _refuse("InvalidNextToken", "The specified token is not valid.")
    start = int(token)
    if not smallest <= size <= 50:
        raise _refuse("ValidationException", f"1 validation error detected: maxResults must be {smallest} to 50")
    return shown[start : start + size], str(start + size) if len(shown) > start + size else None


_KEYS = {"InvokedAfter", "InvokedBefore", "Status", "DocumentName"}  # CommandFilterKey but ExecutionStage
# InstanceInformationStringFilter: the keys that are known of a node here, as they are shown.
_NODE_KEYS = {"InstanceIds": "InstanceId", "PlatformTypes": "PlatformType"}
_NODE_KEYS |= dict(zip(*[("AgentVersion", "PingStatus", "ResourceType")] * 2, strict=True))


def _check_filters(asked: dict[str, Any], keys: set[str]) -> None:
    """The keys that the service model names, and times that are some."""
    for each in asked.get("Filters") or []:
        if each["key"] not in keys:
            raise _refuse("InvalidFilterKey", f"The specified key {each['key']} is not valid.")
        if each["key"].startswith("Invoked"):
            try:
                datetime.fromisoformat(each["value"])
            except ValueError:
                raise _refuse("ValidationException", f"{each['value']} is not a timestamp") from None


def _fits(asked: dict[str, Any], shown: dict[str, Any]) -> bool:
    for each in asked.get("Filters") or []:
        if each["key"] in {"InvokedAfter", "InvokedBefore"}:
            later = shown["RequestedDateTime"] >= datetime.fromisoformat(each["value"])
            if later != (each["key"] == "InvokedAfter"):
                return False
        elif each["key"] == "ExecutionStage":
            if each["value"] != ("Executing" if shown["Status"] in {"Pending", "InProgress"} else "Complete"):
                return False
        elif shown[each["key"]] != each["value"]:
            return False
    return asked.get("CommandId", shown["CommandId"]) == shown["CommandId"]


class _Response:
    def send_command(self: Any) -> Any:
        asked, backend = json.loads(self.body), self.ssm_backend
        _check_limits(asked)
        document = _resolve(backend, asked)
        parameters = _parameters(document.content_json, asked.get("Parameters") or {})
        if lost := [each for each in asked["InstanceIds"] if each not in _nodes(backend)]:
            where = f"not in a valid state for account {backend.account_id}"
            raise _refuse("InvalidInstanceId", f"Instances [[{', '.join(lost)}]] {where}")
        command = Command(asked, document.content_json, parameters)
        command.invocations = [Invocation(command, each) for each in asked["InstanceIds"]]
        _state(backend, "commands")[command.command_id] = command
        answer = _command(command)
        _under_way.update((command.command_id, each) for each in asked["InstanceIds"])
        for invocation in command.invocations:
            Thread(target=_execute, args=(invocation,), daemon=True).start()
        return ActionResult({"Command": answer})

    def list_commands(self: Any) -> Any:
        asked, known = json.loads(self.body), _kept(self.ssm_backend)
        _check_filters(asked, _KEYS | {"ExecutionStage"})
        shown = [_command(each) for each in known if asked.get("InstanceId") in {None, *each.asked["InstanceIds"]}]
        page, token = _page(asked, [each for each in shown if _fits(asked, each)], 1, 50)
        return ActionResult({"Commands": page, "NextToken": token})

    def list_command_invocations(self: Any) -> Any:
        asked, known = json.loads(self.body), _kept(self.ssm_backend)
        _check_filters(asked, _KEYS)  # "ExecutionStage: ... (ListCommands operations only)"
        wanted = [i for each in known for i in each.invocations if asked.get("InstanceId") in {None, i.instance_id}]
        shown = [_invocation(each, asked.get("Details", False)) for each in wanted]
        page, token = _page(asked, [each for each in shown if _fits(asked, each)], 1, 50)
        return ActionResult({"CommandInvocations": page, "NextToken": token})

    def get_command_invocation(self: Any) -> Any:
        asked = json.loads(self.body)
        command = _state(self.ssm_backend, "commands").get(asked["CommandId"])
        for each in command.invocations if command else []:
            if each.instance_id == asked["InstanceId"] and asked.get("PluginName") in {None, command.step}:
                shown = _invocation(each, details=False) | {"PluginName": command.step}
                shown |= {"ResponseCode": each.answer.response_code}
                shown |= {"StandardOutputContent": each.answer.stdout[:24000]}
                return ActionResult(shown | {"StandardErrorContent": each.answer.stderr[:8000]})
        raise _refuse("InvocationDoesNotExist", "")

    def describe_instance_information(self: Any) -> Any:
        asked, found = json.loads(self.body), list(_nodes(self.ssm_backend).values())
        for each in asked.get("Filters") or []:
            if len(each["Values"]) > 100:
                raise _refuse(
                    "ValidationException", "1 validation error detected: values must have at most 100 members"
                )
            if each["Key"] not in _NODE_KEYS:
                raise _refuse("InvalidFilterKey", f"The specified key {each['Key']} is not valid.")
            found = [facts for facts in found if facts[_NODE_KEYS[each["Key"]]] in each["Values"]]
        page, token = _page(asked, found, 5, 10)
        return ActionResult({"InstanceInformationList": page, "NextToken": token})


def apply() -> None:
    """Lays the corrections over moto's Systems Manager."""
    lay(_Response, SimpleSystemManagerResponse)
