"""Who was configured, when, why and with what result: the SSM command history of our document."""

from __future__ import annotations

import argparse
import csv
import io
import json
import time
from collections.abc import Callable
from dataclasses import asdict, astuple, dataclass, fields
from itertools import chain
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from console import commands, door, moment, page, told
from console.fleets import Fleets, Unwritten
from console.history import Choice, Entry, Gap, gaps
from console.join import join
from console.obstacle import Obstacle
from console.sheet import command, is_wide, sheet
from console.stack import Stack
from smtp_fleet.fleet import Fleet

EXAMPLES = """examples:
  python -m console audit --since 2h                     the last two hours
  python -m console audit --failed --balancer mx-1       what went wrong behind mx-1
  python -m console audit --since 7d --html week.html    one page, to keep or to send
  python -m console audit --instance i-0123 --csv > i-0123.csv

times are UTC: 30m, 2h, 7d ago, 2026-11-24 or 2026-11-24T03:00; kept for the stack's LogRetentionDays
exit code: 0 told, 1 it could not be told, and why"""


@dataclass(frozen=True)
class Audit:
    """What is told: the entries that were asked for, and the gaps in the evidence; `at` in seconds since 1970.

    `kept` is for how many days the history is.
    """

    at: float
    region: str
    kept: int
    entries: tuple[Entry, ...]
    gaps: tuple[Gap, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.epilog, parser.formatter_class = EXAMPLES, argparse.RawDescriptionHelpFormatter
    parser.add_argument("--stack", metavar="NAME", default="smtp-fleet", help="the deployed stack; default smtp-fleet")
    parser.add_argument("--region", metavar="REGION", help="where it is; default: the one of your AWS settings")
    parser.add_argument("--since", metavar="TIME", default="", help="from then on; default: all that is kept")
    parser.add_argument("--until", metavar="TIME", default="", help="up to then; default: now")
    parser.add_argument("--balancer", metavar="NAME", default="", help="instances behind it")
    parser.add_argument("--instance", metavar="ID", default="", help="one instance")
    parser.add_argument("--failed", action="store_true", help="only what did not end as it was asked")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="for programs")
    form.add_argument("--csv", action="store_true", help="for spreadsheets")
    form.add_argument("--html", metavar="FILE", type=Path, help="write one page that needs no network")


def main(asked: argparse.Namespace, client: Callable[..., Any], out: Console, err: Console) -> int:
    """Run the command; 0 told, 1 an error."""

    def look() -> int:
        now = time.time()
        choice = Choice(
            moment.read(asked.since, now), moment.read(asked.until, now), asked.balancer, asked.instance, asked.failed
        )
        with door.at_work(err, "reading the command history and the log"):
            found = read(door.in_region(client, asked.region), asked.stack, choice, now)
        _print(found, asked, out)
        return door.NOTHING

    return door.run(look, err)


def read(client: Callable[[str], Any], name: str, choice: Choice, now: float) -> Audit:
    """The audit as of `now`; gaps are judged by all evidence of the time, whatever else is chosen."""
    stack = Stack(client("cloudformation"), name)
    parameters, resources = stack.told(), stack.resources()
    settings = told.mind_settings(parameters, resources["Ledger"])
    fleets = Fleets(client, settings, Unwritten(client("dynamodb"), resources["Ledger"]), lambda: int(now))
    observed = fleets.observe(fleets.tagged())
    behind, ssm, logs, span = _behind(observed), client("ssm"), client("logs"), (choice.since, choice.until)
    history = commands.read(ssm, resources["ConfigurePostfixDocument"], *span)
    sent = commands.logged(logs, resources["ConfigurePostfixLogs"], commands.SENT, *span)
    answered = commands.logged(logs, resources["ReconcileFleetLogs"], commands.ANSWERED, *span)
    functions = (resources["ReconcileFleetFunction"], resources["ConfigurePostfixFunction"])
    entries = join(history, chain(sent, answered), behind, functions)
    watched = {} if choice.until else _watched(observed, choice.since)
    missing = gaps(entries, now, settings.check_interval, watched, behind)
    whose = Choice(balancer=choice.balancer, instance=choice.instance)
    return Audit(
        at=now,
        region=ssm.meta.region_name,
        kept=int(parameters.get("LogRetentionDays", 30)),
        entries=tuple(e for e in entries if choice.takes(e)),
        gaps=tuple(gap for gap in missing if whose.concerns(gap.instance, gap.balancers)),
    )


def _watched(fleets: list[Fleet], since: float) -> dict[str, float]:
    """The instances behind a balancer that sends, each since when evidence is due: its launch, or the time asked for.

    One in a warm pool may be stopped: it is asked once it waits at the hook again.
    """
    sending = [fleet for fleet in fleets if any(b.sends(port) for b in fleet.balancers for port in b.backend)]
    members = [m for fleet in sending for m in fleet.members if not m.pooled]
    return {m.machine.instance_id: max(float(m.launched_at), since) for m in members}


def _behind(fleets: list[Fleet]) -> dict[str, frozenset[str]]:
    """The balancers of each instance that is there: registered with it, or in a group behind it."""
    found: dict[str, set[str]] = {}
    for fleet in fleets:
        for balancer in fleet.balancers:
            grouped = {i for g in fleet.groups if balancer.name in g.balancers for i in g.states}
            for instance in balancer.instances | grouped:
                found.setdefault(instance, set()).add(balancer.name)
    return {instance: frozenset(names) for instance, names in found.items()}


def _print(found: Audit, asked: argparse.Namespace, out: Console) -> None:
    if asked.json:
        out.print(json.dumps(asdict(found), indent=2), soft_wrap=True)
    elif asked.csv:
        out.print(as_csv(found.entries), end="", soft_wrap=True)
    elif asked.html:
        try:
            asked.html.write_text(page.page(found.entries, found.gaps, found.region, found.at), encoding="utf-8")
        except OSError as error:
            raise Obstacle(f"{asked.html} cannot be written: {error.strerror}") from None
        out.print(f"{len(found.entries)} commands in {asked.html}", soft_wrap=True)
    else:
        show(found, out)


def as_csv(entries: tuple[Entry, ...]) -> str:
    """The entries as CSV; a cell that a spreadsheet would take for a formula is kept a text by a leading quote."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["time", *(f.name for f in fields(Entry)[1:])])
    for entry in entries:
        cells = [moment.show(entry.at), *astuple(entry)[1:]]
        writer.writerow([_cell(" ".join(c) if isinstance(c, tuple) else c) for c in cells])
    return text.getvalue()


def _cell(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def show(found: Audit, out: Console) -> None:
    """Print it for people."""
    if not found.entries:
        out.print(f"no command of ours in this time: the history is kept for {found.kept} days", soft_wrap=True)
    else:
        out.print(_table(found, out))
    for gap in found.gaps:
        span = f"{moment.show(gap.begin)} to {moment.show(gap.end)}"
        out.print(f"gap: no evidence about {gap.instance} from {span}", style="red", soft_wrap=True)


def _table(found: Audit, out: Console) -> Table:
    heads = ("time", "instance", "behind", "asked", "cause", "answer", "is", "s", "command")
    table, at = sheet(*heads, whole=("time", "instance", "command")), moment.show if is_wide(out) else moment.brief
    for e in found.entries:
        answer = f"{e.outcome}: {e.reason}" if e.is_failed and e.reason else e.outcome
        answer = f"{answer}, changed" if e.changed else answer
        row = (at(e.at), e.instance, " ".join(e.balancers), f"{e.verb} {e.ports}", e.who, answer, e.speaks)
        style = "red" if e.is_failed else None
        table.add_row(*row, f"{e.seconds:g}", command(e.command, found.region, out), style=style)
    return table
