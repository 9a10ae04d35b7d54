"""Points in time as an operator writes and reads them; UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from console.obstacle import Obstacle

_UNITS = {"m": 60, "h": 3600, "d": 86_400}


def read(text: str, now: float) -> float:
    """Seconds since 1970 of `2h` (ago), `2026-11-24` or `2026-11-24T03:00`; 0 for nothing; raises Obstacle."""
    if not text:
        return 0
    if ago := re.fullmatch(r"([0-9]{1,6})([mhd])", text):
        return now - int(ago[1]) * _UNITS[ago[2]]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Obstacle(f"{text!r} is no point in time: write 30m, 2h, 7d, 2026-11-24 or 2026-11-24T03:00") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def show(seconds: float) -> str:
    """A point in time for people and programs alike."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def brief(seconds: float) -> str:
    """A point in time where there is little room."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%m-%d %H:%M:%S")
