"""What was measured as the tables of docs/performance.md, between its two marks; the rest is written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.cold import Start
from bench.figures import Run, Used, medians
from bench.plot import Bar, Panel
from bench.surges import Surges, table
from bench.sweeps import OURS, Runs

PAGE, PLOT = Path("docs/performance.md"), Path("docs/performance.svg")
BEGIN, END = "<!-- measured: written by make bench -->", "<!-- end of measured -->"


@dataclass(frozen=True)
class Found:
    """All that one run of `make bench` measured; sizes in bytes, warm in microseconds by function."""

    where: str
    one: Runs
    sweeps: dict[int, dict[str, list[Run]]]
    surges: Surges
    starts: Sequence[Start]
    warm: dict[str, float]
    size: int
    plain_size: int


def tables(found: Found) -> str:
    """The tables, each with its heading."""
    ours = _bars(found), _one(found.one), _sweeps(found.sweeps), table(found.surges), _starts(found)
    return "\n\n".join([found.where, *ours])


def write(found: Found) -> None:
    """Put the tables into the page."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n\n{tables(found)}\n\n{END}{rest.partition(END)[2]}")


def reads(runs: Sequence[Run]) -> int:
    """The reads on ELB and tagging of the last run."""
    return runs[-1].calls - runs[-1].writes


def _bars(found: Found) -> str:
    sweep = max(found.sweeps)
    ratio = max(s.ours.cpu / s.bare.cpu for s in found.starts)
    rows = [
        (f"reads on ELB and tagging, sweep of {sweep:,}", "18", f"{reads(found.sweeps[sweep][OURS])}",
         reads(found.sweeps[sweep][OURS]) <= 18),
        ("cold start, CPU against the bare handler, the worst of the functions", "1.10", f"{ratio:.2f}", ratio <= 1.1),
        ("warm overhead of an invocation, the worse of the two", "150 µs", f"{max(found.warm.values()):.0f} µs",
         max(found.warm.values()) <= 150),
        ("layer, zipped", "1.5 MB", f"{found.size / 1e6:.2f} MB", found.size <= 1_500_000),
    ]  # fmt: skip
    lines = [f"| {what} | {bar} | {is_} | {'yes' if met else '**no**'} |" for what, bar, is_, met in rows]
    return "\n".join(["## The bars", "", "| | at most | measured | met |", "|---|---:|---:|---|", *lines])


def _used(runs: Sequence[Run]) -> Used:
    return medians([run.used for run in runs])


def _one(runs: Runs) -> str:
    names = list(dict.fromkeys(name for name, _ in runs))
    base = _used(runs["bare boto3", "new"]).cpu
    lines = []
    for name in names:
        new, right = _used(runs[name, "new"]), _used(runs[name, "right"])
        cells = [
            f"{_calls(runs[name, 'new'])}", f"{_calls(runs[name, 'right'])}",
            f"{new.cpu:.2f}", f"{right.cpu:.2f}", f"{new.cpu / base:.1f}", f"{max(new.peak, right.peak):.0f}",
        ]  # fmt: skip
        lines.append(f"| {name} | {' | '.join(cells)} |")
    head = [
        "## One balancer", "",
        "| | calls, new | calls, already right | CPU s, new | CPU s, right | against bare boto3 | peak MB |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]  # fmt: skip
    return "\n".join([*head, *lines])


def _calls(runs: Sequence[Run]) -> str:
    last = runs[-1]
    return f"{last.calls}" + (f" + {last.others}" if last.others else "")


def _sweeps(sweeps: dict[int, dict[str, list[Run]]]) -> str:
    lines = []
    for count, runs in sweeps.items():
        for name, each in runs.items():
            what = _used(each)
            lines.append(f"| {count:,} | {name} | {_calls(each)} | {what.cpu:.2f} | {what.peak:.0f} |")
    head = ["## Sweeps", "", "| balancers | | calls | CPU s | peak MB |", "|---:|---|---:|---:|---:|"]
    return "\n".join([*head, *lines])


def _starts(found: Found) -> str:
    lines = []
    for s in found.starts:
        ratios = f"{s.ours.cpu / s.bare.cpu:.2f} | {s.plain.cpu / s.bare.cpu:.2f}"
        times = f"{s.ours.cpu * 1000:.0f} | {s.bare.cpu * 1000:.0f}"
        warm = f"{found.warm[s.name]:.0f}" if s.name in found.warm else "-"
        peaks = f"{s.ours.peak:.0f} | {s.bare.peak:.0f}"
        lines.append(f"| {_short(s)} | {s.clients} | {s.calls} | {times} | {ratios} | {peaks} | {warm} |")
    head = [
        "## Cold start and warm overhead", "",
        "| | clients | calls | CPU ms | bare | ratio | ratio, not compiled | peak MB | bare | warm µs |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]  # fmt: skip
    size = f"The layer is {found.size / 1e6:.2f} MB zipped; {found.plain_size / 1e6:.2f} MB without compiled files."
    return "\n".join([*head, *lines, "", size])


def _short(start: Start) -> str:
    return start.name.removesuffix("Function")


def panels(found: Found) -> list[Panel]:
    """What the plot shows: the CPU of a new balancer, the reads of the largest sweep, the cold starts."""
    news = {name.replace("`", ""): runs for (name, state), runs in found.one.items() if state == "new"}
    cpu = [(name, _used(runs).cpu, f"{_used(runs).cpu:.2f} s", name == OURS) for name, runs in news.items()]
    count, runs = max(found.sweeps.items())
    swept = [(name, float(reads(each)), f"{reads(each)}", name == OURS) for name, each in runs.items()]
    starts = [bar for s in found.starts for bar in _pair(s)]
    return [
        ("A new balancer: CPU of the whole job", cpu),
        (f"A sweep of {count:,} balancers: reads on ELB and tagging", swept),
        ("Cold start: CPU", starts),
    ]


def _pair(start: Start) -> list[Bar]:
    ours, bare = start.ours.cpu * 1000, start.bare.cpu * 1000
    return [(_short(start), ours, f"{ours:.0f} ms", True), (f"{_short(start)}, bare", bare, f"{bare:.0f} ms", False)]
