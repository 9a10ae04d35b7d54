"""How every command ends: an exit code, and what went wrong in one line; and how it shows that it is at work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Timer

from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from console import obstacle
from console.obstacle import Obstacle
from smtp_fleet.settings import SettingsError

NOTHING, ERROR, SOMETHING, STOPPED = 0, 1, 2, 130
"""Exit codes: nothing to do, could not be told and why, something to do or to look into, Ctrl-C."""

SOON = 2.0
"""Seconds after which somebody who waits is told for what."""


def run(command: Callable[[], int], err: Console) -> int:
    """The exit code of a command; what keeps it from going on is printed in one line."""
    try:
        return command()
    except (BotoCoreError, ClientError) as error:
        err.print(str(obstacle.of(error)), style="red", soft_wrap=True)
    except (Obstacle, SettingsError) as error:
        err.print(str(error), style="red", soft_wrap=True)
    except KeyboardInterrupt:
        err.print("\nstopped: nothing was changed", style="yellow", soft_wrap=True)
        return STOPPED
    return ERROR


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
