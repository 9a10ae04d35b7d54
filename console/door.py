"""How every command ends: an exit code, and what went wrong in one line; and how it shows that it is at work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import Timer
from typing import Any

from rich.console import Console

from console import obstacle

NOTHING, ERROR, SOMETHING, STOPPED = 0, 1, 2, 130
"""Exit codes: nothing to do, could not be told and why, something to do or to look into, Ctrl-C."""

SOON = 2.0
"""Seconds after which somebody who waits is told for what."""


def in_region(client: Callable[..., Any], region: str | None) -> Callable[[str], Any]:
    """Clients in the Region that was asked for, if one was."""
    return partial(client, region_name=region) if region else client


def nothing() -> str:
    """What to know after a Ctrl-C of a command that only looks."""
    return "nothing was changed"


def run(command: Callable[[], int], err: Console, stopped: Callable[[], str] = nothing) -> int:
    """The exit code of a command; what keeps it from going on is printed in one line."""
    try:
        return command()
    except obstacle.TOLD as error:
        complain(err, str(obstacle.of(error)))
    except KeyboardInterrupt:
        err.print(f"\nstopped: {stopped()}", style="yellow", soft_wrap=True)
        return STOPPED
    return ERROR


def complain(err: Console, line: str) -> None:
    """Say what is wrong, in one line."""
    err.print(line, style="red", soft_wrap=True)


@contextmanager
def at_work(err: Console, what: str) -> Iterator[None]:
    """Show on a terminal, once it takes long, what is being done."""
    status = err.status(what)
    soon = Timer(SOON, status.start)
    soon.daemon = True
    soon.start()
    try:
        yield
    finally:
        soon.cancel()
        soon.join()
        status.stop()
