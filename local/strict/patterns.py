"""EventBridge's pattern language, as moto has it."""

import json
from functools import cache
from typing import Any

from moto.events.models import EventPattern


def matches(pattern: dict[str, Any], event: dict[str, Any]) -> bool:
    """True if a rule with this pattern takes the event."""
    return bool(_loaded(json.dumps(pattern)).matches_event(event))


@cache
def _loaded(pattern: str) -> EventPattern:
    return EventPattern.load(pattern)
