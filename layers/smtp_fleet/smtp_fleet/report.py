"""How the doors speak: structured lines of a constant phrase and stable keys, and metrics in the same stream."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any


def saying(logger: Any) -> Callable[..., None]:
    """A `say` that writes to `logger`; only what broke is an error and carries its trace."""

    def say(phrase: str, error: Exception | str = "", **keys: Any) -> None:
        if isinstance(error, Exception):
            logger.error(phrase, exc_info=error, error=str(error), **keys)
        else:
            logger.info(phrase, **keys, **({"error": error} if error else {}))

    return say


def seconds_left(context: Any) -> Callable[[], float]:
    """How many seconds are left of the invocation that a Lambda `context` is about, at the moment of asking."""
    return lambda: float(context.get_remaining_time_in_millis()) / 1000


def counting(metrics: Any) -> Callable[[str, float, str], None]:
    """A `count` that adds to `metrics` (CloudWatch embedded metric format): a name, a value and its unit."""
    # A round that did nothing has nothing to count, and that is no reason for a warning in the log.
    warnings.filterwarnings("ignore", "No application metrics to publish")

    def count(name: str, value: float = 1, unit: str = "Count") -> None:
        metrics.add_metric(name=name, unit=unit, value=value)

    return count
