"""Systems Manager: managed nodes, documents, commands and their invocations, with the refusals of AWS."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

from local.strict import Happening
from tests.account.wire import Refused, page

if TYPE_CHECKING:
    from tests.account.account import Account

OUTPUT = 2500
"""Characters of an invocation's output that ListCommandInvocations shows."""

KEYS = frozenset({"InvokedAfter", "InvokedBefore", "Status", "DocumentName"})
"""CommandFilterKey of the service model; ListCommands knows one more."""

FINAL = ("Success", "Failed", "TimedOut", "Cancelled")


@dataclass(frozen=True)
class Answer:
    """What becomes of an invocation, in the words of ListCommandInvocations."""

    status: str
    details: str
    output: str = ""


@dataclass(frozen=True)
class Course:
    """How an invocation goes: seconds until it reaches its agent, seconds that it runs, and what it does at its end."""

    reaches: float
    runs: float
    ends: Callable[[], Answer]


Agent = Callable[[str, dict[str, list[str]]], Course]


@dataclass
class Invocation:
    """One command on one instance."""

    command: Command
    instance_id: str
    answer: Answer = Answer("Pending", "Pending")
    ended: float = 0


@dataclass
class Command:
    """A command as SendCommand took it; over the quota it has no invocations, and never runs."""

    command_id: str
    asked: dict[str, Any]
    requested: float
    over_quota: bool = False
    invocations: list[Invocation] = field(default_factory=list)

    @property
    def status(self) -> str:
        """Pending, InProgress or the worst end."""
        found = {each.answer.status for each in self.invocations}
        order = ("InProgress", "Pending", "Failed", "TimedOut", "Cancelled", "Success")
        return next((each for each in order if each in found), "Failed")


class SystemsManager:
    """The managed nodes and commands of the account; `agent` tells how a command goes on an instance."""

    operations = (
        "CreateDocument",
        "DescribeDocument",
        "DescribeInstanceInformation",
        "ListCommandInvocations",
        "ListCommands",
        "SendCommand",
    )

    def __init__(self, account: Account) -> None:
        self._account = account
        self._serial = count(1)
        self._tokens, self._filled = float(account.pace.burst), account.clock.now
        self._pending = 0
        self._documents: dict[str, dict[str, Any]] = {}
        self.nodes: dict[str, str] = {}
        self.commands: dict[str, Command] = {}
        self.agent: Agent = lambda instance, parameters: Course(0, 0, lambda: Answer("Failed", "Undeliverable"))

    # ---- documents

    def create_document(self, *, Name: str, Content: str, DocumentType: str, DocumentFormat: str = "JSON") -> Any:
        self._documents[Name] = json.loads(Content)
        return {"DocumentDescription": {"Name": Name}}

    def describe_document(self, *, Name: str) -> Any:
        self._document(Name)
        return {"Document": {"Name": Name, "LatestVersion": "1", "DefaultVersion": "1"}}

    def _document(self, name: str) -> dict[str, Any]:
        if name not in self._documents:
            raise Refused("InvalidDocument", f"Document with name {name} does not exist.")
        return self._documents[name]

    # ---- nodes

    def register(self, instance_id: str, ping: str = "Online") -> None:
        """The agent of an instance calls for the first time, or its ping status changes."""
        self.nodes[instance_id] = ping

    def _is_node(self, instance_id: str) -> bool:
        known = instance_id in self._account.ec2.instances
        return instance_id in self.nodes and (self._account.ec2.is_running(instance_id) or not known)

    def describe_instance_information(
        self, *, Filters: list[dict[str, Any]], MaxResults: int = 10, NextToken: str = ""
    ) -> Any:
        [told] = Filters
        if told["Key"] != "InstanceIds":
            raise NotImplementedError(f"the account does not know the filter {told['Key']}")
        if not 5 <= MaxResults <= 50:
            raise Refused("ValidationException", "1 validation error detected: maxResults must be 5 to 50")
        if len(told["Values"]) > 100:
            raise Refused("ValidationException", "1 validation error detected: at most 100 values")
        found = [
            {"InstanceId": i, "PingStatus": self.nodes[i], "PlatformType": "Linux", "ResourceType": "EC2Instance"}
            for i in dict.fromkeys(told["Values"])
            if self._is_node(i)
        ]
        shown, token = page(found, MaxResults, NextToken)
        return {"InstanceInformationList": shown} | ({"NextToken": token} if token else {})

    # ---- commands

    def send_command(
        self,
        *,
        DocumentName: str,
        InstanceIds: list[str],
        DocumentVersion: str = "$DEFAULT",
        Parameters: dict[str, list[str]] | None = None,
        Comment: str = "",
        TimeoutSeconds: int = 3600,
        MaxConcurrency: str = "50",
        MaxErrors: str = "0",
    ) -> Any:
        self._spend()
        _check_limits(InstanceIds, Comment, TimeoutSeconds)
        document = self._document(DocumentName)
        if DocumentVersion not in ("$DEFAULT", "$LATEST", "1"):
            raise Refused("InvalidDocumentVersion", f"The document version {DocumentVersion} does not exist.")
        given = Parameters or {}
        _check_parameters(document.get("parameters") or {}, given)
        if lost := [i for i in InstanceIds if not self._is_node(i)]:
            raise Refused("InvalidInstanceId", f"Instances [[{', '.join(lost)}]] not in a valid state for account")
        now = self._account.clock.now
        asked = {"Comment": Comment, "DocumentName": DocumentName, "DocumentVersion": DocumentVersion}
        asked |= {"InstanceIds": list(InstanceIds), "Parameters": given, "TimeoutSeconds": TimeoutSeconds}
        command = Command(f"00000000-0000-4000-9000-{next(self._serial):012x}", asked, now)
        self.commands[command.command_id] = command
        command.over_quota = self._pending + len(InstanceIds) > self._account.pace.quota
        if not command.over_quota:
            command.invocations = [Invocation(command, i) for i in InstanceIds]
            told = _command(command)
            for invocation in command.invocations:
                self._begin(invocation)
            return {"Command": told}
        return {"Command": _command(command)}

    def _spend(self) -> None:
        """One call of the Region's rate; there is none to spend where there is no burst."""
        pace, now = self._account.pace, self._account.clock.now
        if not pace.burst:
            return
        self._tokens = min(pace.burst, self._tokens + (now - self._filled) * pace.rate)
        self._filled = now
        if self._tokens < 1:
            raise Refused("ThrottlingException", "Rate exceeded")
        self._tokens -= 1

    def _begin(self, invocation: Invocation) -> None:
        asked, clock = invocation.command.asked, self._account.clock
        self._pending += 1
        course = self.agent(invocation.instance_id, asked["Parameters"])
        if course.reaches > asked["TimeoutSeconds"]:
            clock.at(clock.now + asked["TimeoutSeconds"], partial(self._late, invocation, "DeliveryTimedOut"))
        else:
            clock.at(clock.now + course.reaches, partial(self._reach, invocation, course))

    def _reach(self, invocation: Invocation, course: Course) -> None:
        clock = self._account.clock
        if not self._is_node(invocation.instance_id):
            over = invocation.command.requested + invocation.command.asked["TimeoutSeconds"]
            clock.at(over, partial(self._late, invocation, "DeliveryTimedOut"))
            return
        self._change(invocation, Answer("InProgress", "InProgress"))
        limit = self._limit(invocation.command)
        if course.runs > limit:
            clock.at(clock.now + limit, partial(self._late, invocation, "ExecutionTimedOut"))
        else:
            clock.at(clock.now + course.runs, partial(self._end, invocation, course))

    def _end(self, invocation: Invocation, course: Course) -> None:
        if self._is_node(invocation.instance_id):
            self._change(invocation, course.ends())
        else:  # nobody is left to answer: AWS waits for the execution to time out
            over = self._account.clock.now + self._limit(invocation.command)
            self._account.clock.at(over, partial(self._late, invocation, "ExecutionTimedOut"))

    def _late(self, invocation: Invocation, details: str) -> None:
        self._change(invocation, Answer("TimedOut", details))

    def _limit(self, command: Command) -> int:
        [step, *_] = self._document(command.asked["DocumentName"])["mainSteps"]
        return int(step["inputs"].get("timeoutSeconds", 3600))

    def _change(self, invocation: Invocation, answer: Answer) -> None:
        invocation.answer = answer
        if answer.status in FINAL:
            self._pending -= 1
            invocation.ended = self._account.clock.now
        command = invocation.command
        detail = {"command-id": command.command_id, "document-name": command.asked["DocumentName"]}
        detail |= {"instance-id": invocation.instance_id, "status": answer.status}
        detail["requested-date-time"] = _moment(command.requested).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        self._account.happens(Happening("aws.ssm", "EC2 Command Invocation Status-change Notification", detail))

    # ---- history

    def list_command_invocations(
        self,
        *,
        CommandId: str = "",
        InstanceId: str = "",
        Details: bool = False,
        Filters: Iterable[dict[str, str]] = (),
        MaxResults: int = 50,
        NextToken: str = "",
    ) -> Any:
        _check_filters(Filters, KEYS)
        found = [
            _invocation(invocation, Details)
            for command in self._shown(CommandId)
            for invocation in command.invocations
            if InstanceId in ("", invocation.instance_id)
        ]
        shown, token = _page([each for each in found if _fits(Filters, each)], MaxResults, NextToken)
        return {"CommandInvocations": shown} | ({"NextToken": token} if token else {})

    def list_commands(
        self,
        *,
        CommandId: str = "",
        InstanceId: str = "",
        Filters: Iterable[dict[str, str]] = (),
        MaxResults: int = 50,
        NextToken: str = "",
    ) -> Any:
        _check_filters(Filters, KEYS | {"ExecutionStage"})
        found = [
            _command(command)
            for command in self._shown(CommandId)
            if not InstanceId or InstanceId in command.asked["InstanceIds"]
        ]
        shown, token = _page([each for each in found if _fits(Filters, each)], MaxResults, NextToken)
        return {"Commands": shown} | ({"NextToken": token} if token else {})

    def _shown(self, command_id: str) -> list[Command]:
        """The newest first; one that was just sent is not shown yet."""
        if command_id:
            known = [self.commands[command_id]] if command_id in self.commands else []
        else:
            known = list(self.commands.values())[::-1]
        now = self._account.clock.now
        return [command for command in known if command.requested + self._account.pace.shown <= now]


def _check_limits(ids: list[str], comment: str, limit: int) -> None:
    for wrong, what in (
        (len(ids) > 50, "instanceIds must have at most 50 members"),
        (len(comment) > 100, "comment must have at most 100 characters"),
        (not 30 <= limit <= 2_592_000, "timeoutSeconds must be between 30 and 2592000"),
    ):
        if wrong:
            raise Refused("ValidationException", f"1 validation error detected: {what}")
    if len(set(ids)) < len(ids):
        raise Refused("DuplicateInstanceId", "An instance ID is given twice.")


def _check_parameters(declared: dict[str, Any], given: dict[str, list[str]]) -> None:
    unknown = [name for name in given if name not in declared]
    missing = [name for name, rule in declared.items() if name not in given and "default" not in rule]
    many = [name for name, values in given.items() if len(values) != 1]
    if unknown or missing or many:
        raise Refused("InvalidParameters", f"unknown {unknown}, missing {missing}, not one value {many}")


def _check_filters(filters: Iterable[dict[str, str]], keys: frozenset[str]) -> None:
    for told in filters:
        if told["key"] not in keys:
            raise Refused("InvalidFilterKey", f"The specified key {told['key']} is not valid.")


def _page(found: list[Any], size: int, token: str) -> tuple[list[Any], str]:
    if not 1 <= size <= 50:
        raise Refused("ValidationException", "1 validation error detected: maxResults must be 1 to 50")
    return page(found, size, token)


def _fits(filters: Iterable[dict[str, str]], shown: dict[str, Any]) -> bool:
    for told in filters:
        key, value = told["key"], told["value"]
        if key in ("InvokedAfter", "InvokedBefore"):
            later = shown["RequestedDateTime"] >= datetime.fromisoformat(value)
            if later != (key == "InvokedAfter"):
                return False
        elif key == "ExecutionStage":
            if value != ("Executing" if shown["Status"] in ("Pending", "InProgress") else "Complete"):
                return False
        elif shown[key] != value:
            return False
    return True


def _moment(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def _common(command: Command) -> dict[str, Any]:
    asked = {key: command.asked[key] for key in ("Comment", "DocumentName", "DocumentVersion")}
    return asked | {"CommandId": command.command_id, "RequestedDateTime": _moment(command.requested)}


def _command(command: Command) -> dict[str, Any]:
    ended = [each for each in command.invocations if each.answer.status in FINAL]
    told = _common(command) | {"InstanceIds": command.asked["InstanceIds"], "Parameters": command.asked["Parameters"]}
    told |= {"Status": command.status, "StatusDetails": "RateExceeded" if command.over_quota else command.status}
    failed = sum(each.answer.status != "Success" for each in ended)
    return told | {"TargetCount": len(command.invocations), "CompletedCount": len(ended), "ErrorCount": failed}


def _invocation(invocation: Invocation, details: bool) -> dict[str, Any]:
    answer = invocation.answer
    told = _common(invocation.command) | {"InstanceId": invocation.instance_id, "CommandPlugins": []}
    told |= {"Status": answer.status, "StatusDetails": answer.details}
    if details and answer.status not in ("Pending",) and answer.details not in ("DeliveryTimedOut", "Undeliverable"):
        plugin = {"Status": answer.status, "StatusDetails": answer.details, "Output": answer.output[:OUTPUT]}
        ended = {"ResponseFinishDateTime": _moment(invocation.ended)} if invocation.ended else {}
        told["CommandPlugins"] = [plugin | ended]
    return told
