"""A small world in JSON for `make invoke`: read with one clear complaint at most, built in a Region, and answering it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from local.region import Region
from local.strict import ssm
from local.strict.elb import POLICY_TYPES
from local.strict.given import STATES, in_state, instance_ids
from local.template import Template

INSTANCE = "i-0123456789abcdef0"
ASKED = 600
"""Seconds ago, for everything that the ledger of a world holds."""

CODES = {"ok": 0, "not-ready": 10, "broken": 11, "refused": 12, "edited": 13, "older-epoch": 14, "failed": 15, "lost": -1}
"""The classes of the document's verdict with their exit codes (documents/configure-postfix.yaml); lost has none."""


class WorldError(ValueError):
    """The world has a mistake; the text says where, and what was expected."""
