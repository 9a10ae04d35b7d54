"""Takes everything of SMTP Fleet off in this Region, in the safe order, and then deletes its stack."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console

from console import door
from console.obstacle import Obstacle
from console.remains import Remains
from console.stack import Stack
from smtp_fleet import settings
from smtp_fleet.settings import Marks

DEFAULTS = {"TagKey": "smtp-proxy-protocol", "MailPorts": "25", "PolicyName": "EnableProxyProtocol"}
"""What the template has for these parameters, for a Region whose stack is not named."""

EVERY = 5.0
"""Seconds between two looks at what is left."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument("--stack", metavar="NAME", help="the stack to ask for its parameters, and to delete at the end")
    parser.add_argument("--tag-key", metavar="KEY", help=f"without --stack; default {DEFAULTS['TagKey']}")
    parser.add_argument("--mail-ports", metavar="PORTS", help=f"without --stack; default {DEFAULTS['MailPorts']}")
    parser.add_argument("--policy-name", metavar="NAME", help=f"without --stack; default {DEFAULTS['PolicyName']}")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--timeout", type=float, default=20, metavar="MINUTES", help="how long to wait; default 20")


def main(
    told: argparse.Namespace, client: Callable[[str], Any], out: Console, err: Console, every: float = EVERY
) -> int:
    """Run the command; 0 when nothing is left, 1 when something is and why, 130 when it was stopped."""
    retiring = Retirement(told, client, out, every)
    return door.run(retiring.run, err, retiring.stopped)


class Retirement:
    """One run: what it found, what it did, and what it still waits for."""

    def __init__(self, told: argparse.Namespace, client: Callable[[str], Any], out: Console, every: float) -> None:
        self._told, self._client, self._out, self._every = told, client, out, every
        self._begun = self._deleting = False
        self._left: tuple[str, ...] = ()

    def run(self) -> int:
        """The whole of it; raises Obstacle where it cannot go on."""
        stack = Stack(self._client("cloudformation"), self._told.stack) if self._told.stack else None
        marks = self._settings(stack.parameters() if stack else {})
        here = Remains(self._client, marks, stack.resources().get("Ledger", "") if stack else "")
        steps = [f"tag load balancer {name} disabled (it is {told})" for name, told in here.to_disable().items()]
        self._left = here.left()
        if not (steps or self._left or stack):
            self._out.print("nothing of ours is left in this Region")
            return door.NOTHING
        self._ask(steps, stack)
        self._begun = True
        here.disable(self._say)
        self._await("everything is off", here)
        self._out.print("everything is off: no policy and no lifecycle hook of ours is left", style="green")
        if stack:
            self._delete(stack)
        else:
            self._out.print("no stack was named: delete it with --stack NAME, or by `sam delete`")
        return door.NOTHING

    def stopped(self) -> str:
        """What to know after a Ctrl-C: nothing more is changed by us, and what is left."""
        left = "; ".join(self._left)
        if self._deleting:
            return "CloudFormation goes on deleting the stack by itself"
        if not self._begun:
            return "nothing was changed"
        rest = f"; seen last: {left}" if left else ""
        return f"the functions go on taking off what is tagged; the stack is still there{rest}. Run this again to go on"

    def _settings(self, parameters: dict[str, str]) -> Marks:
        told = {"TagKey": self._told.tag_key, "MailPorts": self._told.mail_ports, "PolicyName": self._told.policy_name}
        asked_for = {name: value for name, value in told.items() if value}
        if self._told.stack and asked_for:
            raise Obstacle("--stack tells the parameters: leave --tag-key, --mail-ports and --policy-name out")
        names = {"TagKey": "TAG_KEY", "MailPorts": "MAIL_PORTS", "PolicyName": "POLICY_NAME"}
        values = DEFAULTS | asked_for | {name: parameters[name] for name in names if name in parameters}
        return settings.read(Marks, {names[name]: value for name, value in values.items()})

    def _ask(self, steps: list[str], stack: Stack | None) -> None:
        after = [f"wait until it is gone: {left}" for left in self._left]
        last = [f"delete stack {stack.name}"] if stack else []
        for number, step in enumerate((*steps, *after, *last), start=1):
            self._out.print(f"{number}. {step}", soft_wrap=True)
        if self._told.yes:
            return
        if not self._out.is_terminal:
            raise Obstacle("nobody to ask here: say --yes to do this")
        if self._out.input("Do it? [y/N] ").strip().lower() not in ("y", "yes"):
            raise Obstacle("nothing was changed")

    def _await(self, what: str, here: Remains) -> None:
        """Wait until nothing is left, a line a change."""
        for _ in self._patience(what):
            now = here.left()
            for gone in [line for line in self._left if line not in now]:
                self._say(f"over: {gone}")
            for new in [line for line in now if line not in self._left]:
                self._say(f"still: {new}")
            self._left = now
            if not now:
                return

    def _delete(self, stack: Stack) -> None:
        self._deleting, seen = True, ""
        for _, status in zip(self._patience(f"stack {stack.name} is deleted"), stack.delete(), strict=False):
            if status != seen:
                self._say(f"stack {stack.name}: {status}")
            seen = status
        self._out.print(f"stack {stack.name} is deleted", style="green")

    def _patience(self, what: str) -> Iterator[None]:
        """One turn now, and one every few seconds until the time is up, which is an Obstacle."""
        end = time.monotonic() + self._told.timeout * 60
        while time.monotonic() < end:
            yield
            time.sleep(self._every)
        waited = f"waited {self._told.timeout:g} minutes in vain until {what}"
        if self._left:
            left = "; ".join(self._left)
            raise Obstacle(f"{waited}. Left: {left}. The log of reconcile_fleet says what is in the way")
        raise Obstacle(f"{waited}. Its events in CloudFormation say what is in the way")

    def _say(self, line: str) -> None:
        self._out.print(f"{time.strftime('%H:%M:%S')} {line}", soft_wrap=True)
