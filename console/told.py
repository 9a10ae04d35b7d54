"""What the functions of a stack are told, or would be by the template's defaults, for commands that look on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from smtp_fleet import settings
from smtp_fleet.settings import MindSettings

DEFAULTS = {
    "TagKey": "smtp-proxy-protocol",
    "MailPorts": "25",
    "GroupNamePattern": "*",
    "PolicyName": "EnableProxyProtocol",
    "Audit": "false",
    "Paused": "false",
    "LiveCutover": "at-once",
    "CutoverBudgetSeconds": "45",
    "SettleSeconds": "60",
    "HookTimeoutSeconds": "900",
    "AgentWaitSeconds": "720",
    "CheckIntervalSeconds": "3600",
}
"""What the template has for the parameters that the mind reads."""


def mind_settings(parameters: Mapping[str, str], table: str = "none") -> MindSettings:
    """The settings of reconcile_fleet under these parameters, the template's defaults for the others.

    It sends to no queue here, so those have no address.
    """
    known = {name: parameters.get(name, value) for name, value in DEFAULTS.items()}
    told: dict[str, Any] = {_variable(name): value for name, value in known.items()}
    return settings.read(
        MindSettings, told | {"LEDGER_TABLE": table, "WAKES_QUEUE_URL": "none", "ASKS_QUEUE_URL": "none"}
    )


def _variable(parameter: str) -> str:
    """The environment variable by which the template hands a parameter on: `TagKey` as `TAG_KEY`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", parameter).upper()
