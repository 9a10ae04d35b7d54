"""`make up`: the Region in the foreground, for any AWS client, with a live stream of what happens in it."""

from __future__ import annotations

import argparse
import re
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from rich.console import Console

from local import stream
from local.balancers import Loopback
from local.bus import Rule
from local.instances import Instances, StandIns, obstacle
from local.region import OPERATOR, SECRET, Record, Region
from local.strict import ssm

out = Console(highlight=False)
News = SimpleQueue[Any]


class Clock:
    """Fires the scheduled rules, each at its own rate; it runs only while it is asked."""

    def __init__(self, region: Region) -> None:
        self._fire = region.fire
        now = time.monotonic()
        self._due = {rule.name: (rule, now + period(rule)) for rule in region.bus.rules if rule.schedule}

    def left(self) -> float | None:
        """Seconds until the next rule is due."""
        return max(0.0, min(at for _, at in self._due.values()) - time.monotonic()) if self._due else None

    def strike(self) -> None:
        """Fire what is due."""
        for name, (rule, at) in list(self._due.items()):
            if at <= time.monotonic():
                self._due[name] = rule, at + period(rule)
                self._fire(rule)


def period(rule: Rule) -> float:
    """The seconds between two firings of a scheduled rule."""
    found = re.fullmatch(r"rate\((\d+(?:\.\d+)?) (minute|hour|day)s?\)", rule.schedule or "")
    if not found or float(found[1]) <= 0:
        raise NotImplementedError(f"{rule.name}: the schedule {rule.schedule}")
    return float(found[1]) * {"minute": 60, "hour": 3600, "day": 86_400}[found[2]]


def exports(region: Region) -> list[str]:
    """The lines that point any AWS client at the Region: boto3 reads AWS_DEFAULT_REGION, most others AWS_REGION."""
    return [
        f"export AWS_ENDPOINT_URL={region.endpoint}",
        f"export AWS_ACCESS_KEY_ID={OPERATOR}",
        f"export AWS_SECRET_ACCESS_KEY={SECRET}",
        f"export AWS_DEFAULT_REGION={region.template.region}",
        f"export AWS_REGION={region.template.region}",
    ]


def watched(region: Region, news: News) -> None:
    """Has every record, and every verdict of a command, put into the news."""
    execute = region.executor
    assert execute is not None

    def told(instance: str, content: Any, parameters: Any, command: str) -> ssm.Answer:
        answer = execute(instance, content, parameters, command)
        _put(news, *stream.verdict(instance, answer))
        return answer

    region.executor, region.on_record = told, news.put


def live(region: Region, news: News, real: bool) -> None:
    """Tell what happens, and let the schedules come round, until a signal ends it."""
    clock = Clock(region)
    for line in exports(region):
        out.print(line, soft_wrap=True)
    for rule in region.bus.rules:
        if rule.schedule:
            out.print(f"# {rule.name} fires every {period(rule):g} s", soft_wrap=True)
    if real:
        mail = "# mail: through the address that the stream shows for each balancer (its DNSName resolves nowhere)"
        out.print(mail, soft_wrap=True)
    out.print("# Ctrl-C ends it and leaves nothing behind", soft_wrap=True)
    while True:
        try:
            record = news.get(timeout=clock.left())
        except Empty:
            clock.strike()
            continue
        for line in stream.lines(record, region.functions):
            stream.show(out, record.at, line)


def run(parameters: dict[str, str], agent_delay: float = 2.0) -> None:
    """Keep a Region with these parameters until a signal comes."""
    why, news = obstacle(), News()
    if why:
        out.print(f"# stand-ins answer for the instances, without mail: {why}. With mail: sudo make up", soft_wrap=True)
    with ExitStack() as stack:
        region = stack.enter_context(Region(Path("template.yaml"), parameters))
        instances: Instances | StandIns
        if why:
            instances = StandIns(region, agent_delay)
        else:
            loopback = stack.enter_context(closing(Loopback()))
            instances = Instances(region, agent_delay, loopback, partial(_put, news))
        stack.callback(instances.close)
        watched(region, news)
        stack.callback(_deaf)  # first of all: nothing may interrupt the cleaning up
        live(region, news, real=not why)


def _put(news: News, label: str, line: str) -> None:
    news.put(Record(time.time(), label, label, line))


def _deaf() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Ended(BaseException):
    """A signal asked for the end."""


def _end(*_: object) -> None:
    _deaf()
    raise Ended


def _told(argv: Sequence[str] | None) -> dict[str, str]:
    parser = argparse.ArgumentParser(prog="make up", usage="make up [SETTLE=seconds] [CHECK=minutes]")
    parser.add_argument("--settle", type=_number("whole seconds from 1 to 3600", 1, 3600, int))
    parser.add_argument("--check", type=_number("minutes from 0.01 to 60", 0.01, 60, float))
    given = parser.parse_args(argv)
    named = {"SettleSeconds": given.settle, "CheckMinutes": given.check}
    return {name: f"{value:g}" for name, value in named.items() if value is not None}


def _number(what: str, least: float, most: float, kind: Callable[[str], float]) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = -1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"expected {what}, not {text!r}")
        return value

    return read


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C or SIGTERM, then leave nothing behind."""
    parameters = _told(argv)
    for number in SIGNALS:
        signal.signal(number, _end)
    try:
        run(parameters)
    except Ended:
        out.print("\nstopped; nothing is left behind")
    return 0


if __name__ == "__main__":
    sys.exit(main())
