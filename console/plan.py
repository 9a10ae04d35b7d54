"""What SMTP Fleet would do here, and why, before anything of it is deployed, or as a stack would go on: reads only."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from console import door, obstacle, told
from console.course import Course, course
from console.fleets import Fleets, NothingKnown, Unwritten
from console.obstacle import Obstacle
from console.premises import Premises
from console.sheet import sheet
from console.stack import Stack
from console.status import show_mends
from smtp_fleet.fleet import Fleet
from smtp_fleet.mend import Mend
from smtp_fleet.settings import MindSettings

EXAMPLES = """examples:
  python -m console plan --policy > read-only.json     the policy that this command needs, for IAM
  python -m console plan --region eu-west-1 --region us-east-1
  python -m console plan --stack smtp-fleet            once it is deployed: what would still be done
  python -m console plan --json | jq '.[].fleets[].course.end'

exit code: 0 nothing to do, 2 something to do, 1 it could not be told, and why"""

FLAGS = {"TagKey": "tag-key", "MailPorts": "mail-ports", "PolicyName": "policy-name"}
"""The template's parameters that may be given here, too."""

OF_A_STACK = frozenset({"dynamodb:BatchGetItem", "ssm:ListCommandInvocations"}) | {
    f"cloudformation:Describe{what}" for what in ("Stacks", "StackResources")
}
NEEDED = frozenset(
    action
    for action in obstacle.ACTIONS.values()
    if action.partition(":")[0] not in ("cloudformation", "dynamodb", "sqs")
    and action.partition(":")[2].startswith(("Describe", "Get"))
)
"""What this command calls, the former only where a stack is deployed: nobody else was asked anything."""


@dataclass(frozen=True)
class Today:
    """A balancer today: on which mail ports it forwards, and on which of these its clients' addresses are lost."""

    name: str
    instance_ports: tuple[int, ...]
    lost_on: tuple[int, ...]


@dataclass(frozen=True)
class Outlook:
    """What would come of one fleet; `supposed`: no balancer of it is tagged, so as if all were tagged `enabled`."""

    balancers: tuple[Today, ...]
    supposed: bool
    instances: tuple[str, ...]
    without_agent: tuple[str, ...]
    groups_to_hook: tuple[str, ...]
    course: Course
    mends: tuple[Mend, ...]


@dataclass(frozen=True)
class Region:
    """One Region; `trail` is empty where no trail makes events of API calls."""

    region: str
    trail: str
    fleets: tuple[Outlook, ...]

    @property
    def is_done(self) -> bool:
        """Whether nothing is to be done here."""
        idle = all(not (f.course.steps or f.course.findings or f.mends or f.course.blocked) for f in self.fleets)
        return idle and bool(self.trail or not self.fleets)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.epilog, parser.formatter_class = EXAMPLES, argparse.RawDescriptionHelpFormatter
    parser.add_argument("--region", action="append", metavar="REGION", help="may be given more than once")
    parser.add_argument("--stack", metavar="NAME", help="a deployed stack: its parameters count, and what it knows")
    for name, flag in FLAGS.items():
        parser.add_argument(f"--{flag}", metavar="VALUE", help=f"the template's {name}; default {told.DEFAULTS[name]}")
    parser.add_argument("--policy", action="store_true", help="print the IAM policy that this needs, and do nothing")
    parser.add_argument("--json", action="store_true", help="for programs")


def main(asked: argparse.Namespace, client: Callable[..., Any], out: Console, err: Console) -> int:
    """Run the command; 0 nothing to do, 2 something to do, 1 an error in any Region."""

    def command() -> int:
        if asked.policy:
            out.print(json.dumps(policy(bool(asked.stack)), indent=2), soft_wrap=True)
            return door.NOTHING
        found, missed = [], []
        for region in asked.region or [None]:
            try:
                found.append(_region(client, region, asked, err))
            except obstacle.TOLD as error:
                missed.append(f"{region}: {obstacle.of(error)}" if region else str(obstacle.of(error)))
        if asked.json and found:
            out.print(json.dumps([asdict(region) for region in found], indent=2), soft_wrap=True)
        elif not asked.json:
            for region in found:
                show(region, out)
        for line in missed:
            door.complain(err, line)
        done = all(region.is_done for region in found)
        return door.ERROR if missed else door.NOTHING if done else door.SOMETHING

    return door.run(command, err)


def policy(of_a_stack: bool) -> dict[str, Any]:
    """The IAM policy for this command: it can change nothing."""
    needed = NEEDED | OF_A_STACK if of_a_stack else NEEDED
    statement = {"Sid": "ReadOnly", "Effect": "Allow", "Action": sorted(needed), "Resource": "*"}
    return {"Version": "2012-10-17", "Statement": [statement]}


def _region(client: Callable[..., Any], region: str | None, asked: argparse.Namespace, err: Console) -> Region:
    here = door.in_region(client, region)
    with door.at_work(err, f"reading {region or 'the Region'}"):
        return read(here, *_told(here, asked), int(time.time()))


def _told(client: Callable[[str], Any], asked: argparse.Namespace) -> tuple[MindSettings, Unwritten | NothingKnown]:
    """The settings, and what is known: of the stack, or the template's and nothing."""
    given = {name: value for name, flag in FLAGS.items() if (value := getattr(asked, flag.replace("-", "_")))}
    if not asked.stack:
        return told.mind_settings(given), NothingKnown()
    if given:
        raise Obstacle("--stack tells the parameters: leave --tag-key, --mail-ports and --policy-name out")
    stack = Stack(client("cloudformation"), asked.stack)
    parameters, table = stack.told(), stack.resources()["Ledger"]
    return told.mind_settings(parameters, table), Unwritten(client("dynamodb"), table)


def read(client: Callable[[str], Any], settings: MindSettings, ledger: Unwritten | NothingKnown, now: int) -> Region:
    """What would come of every classic balancer of a Region that forwards a mail port."""
    here, fleets = Premises(client), Fleets(client, settings, ledger, lambda: now)
    # A tag may name other ports.
    found = fleets.as_if_enabled(here.mail_balancers(settings.mail_ports) | fleets.tagged().keys())
    online = here.online({m.machine.instance_id for fleet, _ in found for m in fleet.members})
    return Region(
        region=client("elb").meta.region_name,
        trail=here.trail(),
        fleets=tuple(_outlook(fleet, supposed, settings, online, fleets) for fleet, supposed in found),
    )


def _outlook(fleet: Fleet, supposed: bool, settings: MindSettings, online: frozenset[str], fleets: Fleets) -> Outlook:
    instances = tuple(m.machine.instance_id for m in fleet.members)
    return Outlook(
        balancers=tuple(_today(b.name, b.behind(settings.mail_ports), b.sends) for b in fleet.balancers),
        supposed=supposed,
        instances=instances,
        without_agent=tuple(i for i in instances if i not in online),
        groups_to_hook=tuple(g.name for g in fleet.groups if g.hook is None and g.matches(settings.group_name_pattern)),
        course=course(fleet, settings, online),
        mends=fleets.mends(fleet),
    )


def _today(name: str, ports: frozenset[int], sends: Callable[[int], bool]) -> Today:
    return Today(name, tuple(sorted(ports)), tuple(sorted(port for port in ports if not sends(port))))


def show(found: Region, out: Console) -> None:
    """Print it for people."""
    out.print(f"Region {found.region}", style="bold")
    if not found.fleets:
        out.print("no classic load balancer forwards a mail port here")
        return
    if found.trail:
        out.print(f"trail {found.trail} makes events of API calls", style="green", soft_wrap=True)
    else:
        what = "no trail logs the management calls here: deploy with CreateTrail=true, or only the sweep sees a tag"
        out.print(what, style="yellow", soft_wrap=True)
    out.print(_overview(found.fleets))
    for fleet in found.fleets:
        out.print()
        _show_fleet(fleet, out)


def _overview(fleets: tuple[Outlook, ...]) -> Table:
    """A line for each balancer and port that it forwards mail to."""
    table = sheet("load balancer", "instance port", "clients' addresses", "instances", "would end in", "to mend")
    for fleet in fleets:
        for today in fleet.balancers:
            for port in today.instance_ports:
                seen = Text("lost", style="red") if port in today.lost_on else Text("seen", style="green")
                counts = (str(len(fleet.instances)), fleet.course.end, str(len(fleet.mends) or ""))
                table.add_row(today.name, str(port), seen, *counts)
    return table


def _show_fleet(fleet: Outlook, out: Console) -> None:
    for today in fleet.balancers:
        for port in today.instance_ports:
            lost = port in today.lost_on
            what = "its clients' addresses are lost today" if lost else "sends the header: addresses are seen"
            out.print(f"{today.name}, instance port {port}: {what}", style="bold", soft_wrap=True)
    groups = ", ".join(fleet.groups_to_hook) or "none"
    out.print(f"{len(fleet.instances)} instances; groups that would get the hook: {groups}", soft_wrap=True)
    if fleet.without_agent:
        named = ", ".join(fleet.without_agent)
        out.print(f"no Systems Manager agent is online on {named}", style="red", soft_wrap=True)
    out.print("if tagged `enabled`:" if fleet.supposed else "as it is tagged:")
    for number, step in enumerate(fleet.course.steps, start=1):
        out.print(f"  {number}. {step.why}", style="cyan", soft_wrap=True)
        for line in step.does:
            out.print(f"     {line}", soft_wrap=True)
    out.print(f"  then: {fleet.course.end}", style="red" if fleet.course.blocked else "green", soft_wrap=True)
    for finding in fleet.course.findings:
        out.print(f"  finding: {finding}", style="red", soft_wrap=True)
    show_mends(fleet.mends, out)
