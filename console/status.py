"""How each tagged load balancer and its instances stand: which step, waiting for whom, and what is wrong."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from console import door, told, words
from console.fleets import Fleets, Unwritten
from console.sheet import command, sheet
from console.stack import Stack
from console.standing import FleetStanding, Host, standing
from smtp_fleet.mend import Mend

EXAMPLES = """examples:
  python -m console status                    every fleet of stack smtp-fleet in this Region
  python -m console status --region eu-west-1 --stack mail --json | jq '.fleets[].row'

exit code: 0 all is well, 2 something is to be looked into, 1 it could not be told, and why"""

DEAD_LETTERS = ("WakesDeadLetters", "AsksDeadLetters")
"""The stack's dead-letter queues, by their names in the template."""


@dataclass(frozen=True)
class Status:
    """All that the command tells; `at` in seconds since 1970."""

    at: int
    region: str
    fleets: tuple[FleetStanding, ...]
    mends: tuple[Mend, ...]
    dead_letters: dict[str, int]

    @property
    def is_well(self) -> bool:
        """Whether nobody has to look into anything."""
        return not (self.mends or any(self.dead_letters.values()) or any(f.findings for f in self.fleets))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.epilog, parser.formatter_class = EXAMPLES, argparse.RawDescriptionHelpFormatter
    parser.add_argument("--stack", metavar="NAME", default="smtp-fleet", help="the deployed stack; default smtp-fleet")
    parser.add_argument("--region", metavar="REGION", help="where it is; default: the one of your AWS settings")
    parser.add_argument("--json", action="store_true", help="for programs")


def main(asked: argparse.Namespace, client: Callable[..., Any], out: Console, err: Console) -> int:
    """Run the command; 0 all is well, 2 something is to be looked into, 1 an error."""

    def look() -> int:
        with door.at_work(err, "reading the Region"):
            found = read(door.in_region(client, asked.region), asked.stack, int(time.time()))
        if asked.json:
            out.print(json.dumps(asdict(found), indent=2), soft_wrap=True)
        else:
            show(found, out)
        return door.NOTHING if found.is_well else door.SOMETHING

    return door.run(look, err)


def read(client: Callable[[str], Any], name: str, now: int) -> Status:
    """How things stand at `now`, in seconds since 1970."""
    cloudformation = client("cloudformation")
    stack = Stack(cloudformation, name)
    parameters, resources = stack.told(), stack.resources()
    table = resources["Ledger"]
    settings = told.mind_settings(parameters, table)
    fleets = Fleets(client, settings, Unwritten(client("dynamodb"), table), lambda: now)
    observed = fleets.observe(fleets.tagged())
    return Status(
        at=now,
        region=cloudformation.meta.region_name,
        fleets=tuple(standing(fleet, settings) for fleet in observed),
        mends=tuple(mend for fleet in observed for mend in fleets.mends(fleet)),
        dead_letters={queue: _waiting(client("sqs"), resources[queue]) for queue in DEAD_LETTERS},
    )


def _waiting(sqs: Any, url: str) -> int:
    what = "ApproximateNumberOfMessages"
    return int(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[what])["Attributes"][what])


def show(found: Status, out: Console) -> None:
    """Print it for people."""
    for fleet in found.fleets:
        _show_fleet(fleet, found.at, found.region, out)
    if not found.fleets:
        out.print(f"no load balancer in {found.region} is tagged, and none sends by our policy")
    show_mends(found.mends, out)
    for queue, waiting in found.dead_letters.items():
        if waiting:
            out.print(f"dead letters: {waiting} in {queue}: see docs/operate.md", style="red", soft_wrap=True)
    if found.is_well:
        out.print("nothing to look into", style="green")


def _show_fleet(fleet: FleetStanding, now: int, region: str, out: Console) -> None:
    for line in fleet.balancers:
        out.print(line, style="bold", soft_wrap=True)
    again = f" (looks again within {words.ago(fleet.again_in)})" if fleet.again_in else ""
    style = "yellow" if fleet.not_yet else "red" if fleet.findings else "green"
    out.print(f"  now: {fleet.row}{again}", style=style, soft_wrap=True)
    for host in fleet.waits:
        since = words.ago(now - host.asked_at)
        out.print(f"  waiting for {host.instance} for {since}: {host.asked}", style="yellow", soft_wrap=True)
    for finding in fleet.findings:
        out.print(f"  finding: {finding}", style="red", soft_wrap=True)
    if fleet.hosts:
        out.print(_table(fleet.hosts, now, region, out))
    out.print()


def _table(hosts: tuple[Host, ...], now: int, region: str, out: Console) -> Table:
    heads = ("instance", "group", "state", "speaks", "last asked", "by", "when", "answer", "command")
    table = sheet(*heads, whole=("instance", "command"))
    for h in hosts:
        when = f"{words.ago(now - h.asked_at)} ago" if h.asked_at else "never"
        answer = ": ".join(filter(None, (h.outcome, h.reason))) or ("none yet" if h.asked_at else "")
        shown = command(h.command, region, out)
        table.add_row(h.instance, h.group, _state(h, now), h.speaks, h.asked, h.cause, when, answer, shown)
    return table


def _state(host: Host, now: int) -> str:
    return f"{host.state} for {words.ago(now - host.launched_at)}" if host.waits_at_hook else host.state


def show_mends(found: tuple[Mend, ...], out: Console) -> None:
    """Print what is to be mended by hand, each with its commands."""
    for mend in found:
        detail = f" ({mend.detail})" if mend.detail else ""
        out.print(f"mend: {mend.what}{detail}", style="yellow", soft_wrap=True)
        for line in mend.commands:
            out.print(f"  {line}", soft_wrap=True)
