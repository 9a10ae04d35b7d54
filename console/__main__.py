"""The operator's commands: `python -m console retire`."""

from __future__ import annotations

import argparse
import sys
from functools import partial

import boto3
from botocore.config import Config
from rich.console import Console

from console import retire


def main() -> int:
    """Run one command; the result is the exit code: 0 done, 1 not done and why, 130 stopped."""
    parser = argparse.ArgumentParser(prog="python -m console", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    retire.add_arguments(commands.add_parser("retire", help=retire.__doc__, description=retire.__doc__))
    client = partial(boto3.client, config=Config(retries={"mode": "standard", "max_attempts": 5}))
    out, err = (Console(markup=False, highlight=False, emoji=False, stderr=stderr) for stderr in (False, True))
    return retire.main(parser.parse_args(), client, out, err)


if __name__ == "__main__":
    sys.exit(main())
