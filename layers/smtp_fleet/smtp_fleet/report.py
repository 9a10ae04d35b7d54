"""How the doors speak: one structured line a time, with a constant phrase and stable keys."""

from __future__ import annotations

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
