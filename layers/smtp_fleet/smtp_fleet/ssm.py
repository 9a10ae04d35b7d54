"""Systems Manager: which agents are online, our document sent to them, and what became of it; decides nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from smtp_fleet.evidence import Ask, Invocation
from smtp_fleet.faults import THROTTLES, Throttled, code
from smtp_fleet.settings import HandSettings

BATCH = 50
"""SendCommand takes at most 50 instance ids, DescribeInstanceInformation gives at most 50 a page (API reference)."""

DELIVERY_TIMEOUT = 60
"""Seconds for a command to reach an agent that was online moments ago."""


class NotSendable(Exception):
    """Some of the instances take no commands (any more), so Systems Manager refused the whole call.

    `instance_ids` are those that its message names; it may name none.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.instance_ids = frozenset(re.findall(r"\bi-[0-9a-f]{8,17}\b", message))


class Answers:
    """What became of the commands that were sent."""

    def __init__(self, client: Any) -> None:
        self._ssm = client

    def invocations(self, command_id: str) -> dict[str, Invocation]:
        """Each instance's part of a command; empty for a moment after it was sent (eventual consistency)."""
        pages = self._ssm.get_paginator("list_command_invocations").paginate(CommandId=command_id, Details=True)
        return {i["InstanceId"]: invocation(i) for page in pages for i in page["CommandInvocations"]}


class Commands:
    """Our document, sent by Run Command."""

    def __init__(self, client: Any, settings: HandSettings) -> None:
        self._ssm = client
        self._settings = settings

    def online(self, instance_ids: Iterable[str]) -> frozenset[str]:
        """Those of the instances whose agent is registered and online; an unregistered one is simply not told.

        Raises Throttled where the Region's rate is spent.
        """
        ids = sorted(instance_ids)
        try:
            return frozenset(
                information["InstanceId"]
                for start in range(0, len(ids), BATCH)
                for information in self._ssm.describe_instance_information(
                    Filters=[{"Key": "InstanceIds", "Values": ids[start : start + BATCH]}], MaxResults=BATCH
                )["InstanceInformationList"]
                if information["PingStatus"] == "Online"
            )
        except self._ssm.exceptions.ClientError as error:
            raise _told(error) from error

    def sent(self, ask: Ask, cause: str, since: int) -> dict[str, str]:
        """The command of this very ask by instance id, as the history tells, sent at `since` or later (seconds).

        The comment is made of the ask alone, so that a command whose sender died before it wrote the id down is found.
        """
        filters = [
            {"key": "InvokedAfter", "value": datetime.fromtimestamp(since, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")},
            {"key": "DocumentName", "value": self._settings.document_name},
        ]
        pages = self._ssm.get_paginator("list_commands").paginate(Filters=filters)
        return {
            instance: command["CommandId"]
            for page in pages
            for command in page["Commands"]
            if command["Comment"] == comment(ask, cause)
            for instance in command["InstanceIds"]
        }

    def send(self, ask: Ask, instance_ids: list[str], cause: str) -> str:
        """Send one ask to at most 50 instances, and return the command's id; `cause` is for the command history.

        Raises NotSendable where one of them takes none, and Throttled where the Region's rate is spent.
        """
        try:
            answer = self._ssm.send_command(
                DocumentName=self._settings.document_name,
                DocumentVersion=self._version,
                InstanceIds=instance_ids,
                Parameters=self.parameters(ask),
                Comment=comment(ask, cause),
                TimeoutSeconds=DELIVERY_TIMEOUT,
                MaxConcurrency=str(BATCH),
                MaxErrors="100%",  # the default cancels the rest after one failure
            )
        except self._ssm.exceptions.InvalidInstanceId as error:
            raise NotSendable(str(error)) from error
        except self._ssm.exceptions.ClientError as error:
            # Not in the operation's list of errors: the rate of calls, and the quota of pending invocations.
            raise _told(error) from error
        return str(answer["Command"]["CommandId"])

    def parameters(self, ask: Ask) -> dict[str, list[str]]:
        """What the document is told: a verb, digits and fixed words."""
        return {
            "Verb": [ask.verb.value],
            "Ports": [_ports(ask)],
            "Epoch": [str(ask.epoch)],
            "FrontEnd": [self._settings.front_end],
            "TrustedClients": [self._settings.trusted_clients],
        }

    @cached_property
    def _version(self) -> str:
        """A stack update makes a new version without moving the default one, so the latest is named."""
        described = self._ssm.describe_document(Name=self._settings.document_name)
        return str(described["Document"]["LatestVersion"])


def comment(ask: Ask, cause: str) -> str:
    """What the command history shows of an ask, machine-readable (at most 100 characters)."""
    return f"smtp-fleet {ask.verb.value} ports={_ports(ask).replace(' ', ',')} epoch={ask.epoch} cause={cause}"[:100]


def _told(error: Any) -> Exception:
    return Throttled(str(error)) if code(error) in THROTTLES else error


def _ports(ask: Ask) -> str:
    return " ".join(map(str, sorted(ask.ports))) or "none"


def invocation(told: dict[str, Any]) -> Invocation:
    """One instance's part of a command as ListCommandInvocations tells it with details."""
    plugins = told.get("CommandPlugins", ())
    ends = [p["ResponseFinishDateTime"].timestamp() for p in plugins if p.get("ResponseFinishDateTime")]
    return Invocation(
        instance_id=told["InstanceId"],
        status=told["Status"],
        details=told.get("StatusDetails", ""),
        output="".join(plugin.get("Output", "") for plugin in plugins),
        seconds=round(max(0.0, max(ends) - told["RequestedDateTime"].timestamp()), 1) if ends else 0.0,
    )
