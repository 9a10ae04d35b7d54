"""`make bench`: measures everything in one run, and writes docs/performance.md and its plot."""

import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench import cold, package, page, plot, surges, sweeps, world
from local.region import Region

ROUNDS = {"one": 5, "sweep": 3, "cold": 15}
SWEEPS = (1_000, 5_000)
WARM = ("ReconcileFleetFunction", "ConfigurePostfixFunction")  # the guard runs once in a stack's life

START = time.monotonic()


def tell(what: str) -> None:
    """One line of progress."""
    print(f"{time.monotonic() - START:5.0f} s  {what} …", flush=True)


def where() -> str:
    """The machine, the versions and the date."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    ours = ("boto3", "aws-lambda-powertools", "awslambdaric", "moto")
    theirs = {"cli": "awscli", "ansible": "ansible", "c7n": "c7n"}
    versions = [f"{name} {version(name)}" for name in ours] + [_version(v, name) for v, name in theirs.items()]
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} x {model[1] if model else platform.machine()}, "
        f"Linux {platform.release().split('-')[0]}, Python {platform.python_version()}, {', '.join(versions)}."
    )


def _version(venv: str, name: str) -> str:
    asked = f"from importlib.metadata import version; print(version({name!r}))"
    return f"{name} " + subprocess.check_output([f".venv-bench/{venv}/bin/python", "-c", asked], text=True).strip()


def warm(region: Region, layer: Path) -> dict[str, float]:
    """What each function adds to a warm invocation, in microseconds."""
    found = {}
    for name in WARM:
        tell(f"warm overhead of {name}")
        function = region.functions[name]
        environment = function.variables | {"PYTHONPATH": str(layer)}
        command = [sys.executable, "bench/warm.py", str(function.folder)]
        found[name] = float(subprocess.check_output(command, env=environment, text=True))
    return found


def measure(folder: Path) -> page.Found:
    """Everything, in Regions of its own."""
    tell("building the layer, with compiled files and without")
    layer, plain = package.build(folder / "layer", sys.executable), package.build(folder / "plain", "false")
    swept = {}
    with world.deploy() as region:
        one = sweeps.one(region, layer, ROUNDS["one"], tell)
    for count in SWEEPS:
        with world.deploy(Audit="true") as region:
            swept[count] = sweeps.sweep(region, layer, count, ROUNDS["sweep"], tell)
    with world.deploy() as region:
        starts = cold.measure(region, layer, plain, ROUNDS["cold"], tell)
        overhead = warm(region, layer)
    launched = surges.measure(tell)
    sizes = package.size(folder / "layer"), package.size(folder / "plain")
    return page.Found(where(), one, swept, launched, starts, overhead, *sizes)


def main() -> None:
    """Measure, and write."""
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder))
    page.write(found)
    page.PLOT.write_text(plot.chart(page.panels(found)))
    print(page.tables(found))


if __name__ == "__main__":
    main()
