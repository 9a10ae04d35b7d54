"""What a call may come back with that its caller can do something about."""

from __future__ import annotations

from typing import Any

THROTTLES = frozenset({"Throttling", "ThrottlingException", "RateExceeded", "RequestLimitExceeded"})
"""The codes of a rate or a quota that is spent; hardly any operation models them, so they were met in the wild."""


class Throttled(Exception):
    """The service takes no more calls of this kind for now; botocore has tried again before that."""


class NotReadBack(Exception):
    """A write succeeded, but the state read afterwards does not show it."""


def code(error: Any) -> str:
    """The code of a botocore ClientError."""
    return str(error.response["Error"]["Code"])
