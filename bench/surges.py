"""Surges of launches on the account in memory and its clock, where peers have nothing to show: simulated seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from smtp_fleet.ssm import BATCH
from tests.storm.run import sky
from tests.surge.surge import Ended, ended, share

CASES = ((1_000, 10), (10_000, 60))
"""Launches, and the seconds in which they come."""

Surges = dict[tuple[int, int], Ended]
PARTS = (0.5, 0.99, 1.0)


def measure(tell: Callable[[str], None]) -> Surges:
    """Every case, one after the other; raises where an instance is lost."""
    found = {}
    with sky(1) as pool:
        for launches, seconds in CASES:
            tell(f"{launches:,} launches in {seconds} s")
            found[launches, seconds] = surge = pool.submit(ended, launches, seconds).result()
            if surge.lost:
                raise RuntimeError(f"{len(surge.lost)} of {launches:,} launches are lost: {surge.lost[:5]}")
    return found


def table(surges: Surges) -> str:
    """The table, with its heading."""
    lines = []
    for (launches, seconds), surge in surges.items():
        calls = f"{launches // BATCH} | {surge.sent - surge.throttled} + {surge.throttled} | {len(surge.lost)}"
        waits = [_waits(each) for each in (surge.bound, surge.configured, surge.in_service)]
        lines.append(f"| {launches:,} in {seconds} s | {calls} | {' | '.join(waits)} |")
    head = [
        "## Surges of launches", "",
        "| launches | full commands | sent + throttled | lost | at best: p50, p99, worst | configured | in service |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]  # fmt: skip
    return "\n".join([*head, *lines])


def _waits(waits: Sequence[float]) -> str:
    return ", ".join(f"{share(waits, part):.0f}" for part in PARTS) + " s"
