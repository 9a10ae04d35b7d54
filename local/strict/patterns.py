"""EventBridge's pattern language, as moto has it."""

import json
from typing import Any

from moto.events.models import EventPattern


def matches(pattern: dict[str, Any], event: dict[str, Any]) -> bool:
    """True if a rule with this pattern takes the event."""
    return bool(EventPattern.load(json.dumps(pattern)).matches_event(event))
