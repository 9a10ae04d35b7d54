"""The operator's commands: `python -m console plan`, `status`, `audit` and `retire`."""

from __future__ import annotations

import argparse
import sys
from functools import partial

import boto3
from botocore.config import Config
from rich.console import Console

from console import audit, plan, retire, status

COMMANDS = {"plan": plan, "status": status, "audit": audit, "retire": retire}

WIDTH = 160
"""Columns of what is not read on a terminal."""


def main() -> int:
    """Run one command; the result is the exit code, which each command explains in its --help."""
    parser = argparse.ArgumentParser(prog="python -m console", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command", dest="command")
    for name, command in COMMANDS.items():
        command.add_arguments(commands.add_parser(name, help=command.__doc__, description=command.__doc__))
    client = partial(boto3.client, config=Config(retries={"mode": "standard", "max_attempts": 5}))
    out, err = (_console(stderr) for stderr in (False, True))
    told = parser.parse_args()
    return COMMANDS[told.command].main(told, client, out, err)


def _console(stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else WIDTH
    return Console(markup=False, highlight=False, emoji=False, stderr=stderr, width=width)


if __name__ == "__main__":
    sys.exit(main())
